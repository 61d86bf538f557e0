// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/flytek8s"

	"flyte.onprem/testbed/flyte/internal/settings"
)

// applyResources gives a container what the platform gives to one that asks for
// nothing, and cuts what it asks for to the platform's limits.
func applyResources(task *core.TaskTemplate, platform *settings.TaskResources) {
	container := task.GetContainer()
	if container == nil {
		return
	}
	wanted := container.GetResources()
	container.Resources = &core.Resources{}
	for _, kind := range []struct {
		name         core.Resources_ResourceName
		always       bool
		usual, limit resource.Quantity
	}{
		{core.Resources_CPU, true, platform.Defaults.CPU, platform.Limits.CPU},
		{core.Resources_MEMORY, true, platform.Defaults.Memory, platform.Limits.Memory},
		{core.Resources_EPHEMERAL_STORAGE, false, platform.Defaults.EphemeralStorage, platform.Limits.EphemeralStorage},
		{core.Resources_GPU, false, platform.Defaults.GPU, platform.Limits.GPU},
	} {
		request, limit := amount(wanted.GetRequests(), kind.name), amount(wanted.GetLimits(), kind.name)
		if !kind.always && request.IsZero() && limit.IsZero() && kind.usual.IsZero() {
			continue
		}
		final := flytek8s.AdjustOrDefaultResource(request, limit, kind.usual, kind.limit)
		container.Resources.Requests = append(container.Resources.Requests,
			&core.Resources_ResourceEntry{Name: kind.name, Value: final.Request.String()})
		container.Resources.Limits = append(container.Resources.Limits,
			&core.Resources_ResourceEntry{Name: kind.name, Value: final.Limit.String()})
	}
}

// amount is zero if there is none; registration has refused what is not a quantity.
func amount(entries []*core.Resources_ResourceEntry, name core.Resources_ResourceName) resource.Quantity {
	for _, entry := range entries {
		if entry.GetName() == name {
			quantity, _ := resource.ParseQuantity(entry.GetValue())
			return quantity
		}
	}
	return resource.Quantity{}
}
