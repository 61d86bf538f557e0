// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/utils"

	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// noCatalog is said to everybody who asks for caching.
const noCatalog = "%s asks for caching, but this test-bed server has no datacatalog: register it without cache, or test with Flyte itself"

// checkTask checks a template before the compiler sees it.
func checkTask(task *core.TaskTemplate, limits settings.TaskResourceSet) error {
	if err := validate.Set(validate.Field{Name: "type", Value: task.GetType()}); err != nil {
		return err
	}
	if task.GetMetadata() == nil {
		return refusal.Missing("metadata")
	}
	if runtime := task.GetMetadata().GetRuntime(); runtime != nil && runtime.GetVersion() == "" {
		return refusal.Missing("runtime version")
	}
	if task.GetInterface() == nil {
		return refusal.Missing("typed interface")
	}
	if task.GetMetadata().GetDiscoverable() {
		return refusal.Invalid(noCatalog, "the task")
	}
	if container := task.GetContainer(); container != nil {
		return checkContainer(container, limits)
	}
	if task.GetK8SPod() != nil {
		return checkPod(task.GetK8SPod(), limits)
	}
	return nil
}

func checkContainer(container *core.Container, limits settings.TaskResourceSet) error {
	if err := validate.Set(validate.Field{Name: "image", Value: container.GetImage()}); err != nil {
		return err
	}
	requests, err := quantities(container.GetResources().GetRequests())
	if err != nil {
		return err
	}
	most, err := quantities(container.GetResources().GetLimits())
	if err != nil {
		return err
	}
	return compare(requests, most, platform(limits))
}

func checkPod(pod *core.K8SPod, limits settings.TaskResourceSet) error {
	if pod.GetPodSpec() == nil {
		return refusal.Invalid("invalid TaskSpecification, pod tasks should specify their target as a K8sPod with a defined pod spec")
	}
	spec := corev1.PodSpec{}
	if err := utils.UnmarshalStructToObj(pod.GetPodSpec(), &spec); err != nil {
		return refusal.Invalid("failed to read the pod spec: %v", err)
	}
	for _, container := range spec.Containers {
		if err := compare(listed(container.Resources.Requests), listed(container.Resources.Limits), platform(limits)); err != nil {
			return err
		}
	}
	return nil
}

type amounts map[core.Resources_ResourceName]resource.Quantity

// quantities reads the resources that the platform limits; others are left alone.
func quantities(entries []*core.Resources_ResourceEntry) (amounts, error) {
	found := amounts{}
	for _, entry := range entries {
		name := entry.GetName()
		switch name {
		case core.Resources_CPU, core.Resources_MEMORY, core.Resources_EPHEMERAL_STORAGE, core.Resources_GPU:
		default:
			continue
		}
		if _, twice := found[name]; twice {
			return nil, refusal.Invalid("%v is specified more than once", name)
		}
		quantity, err := resource.ParseQuantity(entry.GetValue())
		if err != nil {
			return nil, refusal.Invalid("parsing of %v failed for value %s: %v", name, entry.GetValue(), err)
		}
		if name == core.Resources_GPU && quantity.MilliValue()%1000 != 0 {
			return nil, refusal.Invalid("gpu must be a whole number, got %s", entry.GetValue())
		}
		found[name] = quantity
	}
	return found, nil
}

func listed(list corev1.ResourceList) amounts {
	found := amounts{}
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			found[core.Resources_CPU] = quantity
		case corev1.ResourceMemory:
			found[core.Resources_MEMORY] = quantity
		case corev1.ResourceEphemeralStorage:
			found[core.Resources_EPHEMERAL_STORAGE] = quantity
		}
	}
	return found
}

func platform(set settings.TaskResourceSet) amounts {
	found := amounts{}
	for name, quantity := range map[core.Resources_ResourceName]resource.Quantity{
		core.Resources_CPU: set.CPU, core.Resources_MEMORY: set.Memory,
		core.Resources_GPU: set.GPU, core.Resources_EPHEMERAL_STORAGE: set.EphemeralStorage,
	} {
		if !quantity.IsZero() {
			found[name] = quantity
		}
	}
	return found
}

// compare refuses what asks for more than its own limit or the platform's. Like
// flyteadmin it looks at the limit of a resource only if there is a request too,
// and compares CPUs rounded up.
func compare(requests, limits, platform amounts) error {
	for name, request := range requests {
		limit, limited := limits[name]
		most, bounded := platform[name]
		if name == core.Resources_GPU && limited && request.Value() != limit.Value() {
			return refusal.Invalid("for gpu the request [%s] must equal the limit [%s]", request.String(), limit.String())
		}
		if limited && limit.Value() < request.Value() {
			return refusal.Invalid("Requested %v default [%s] is greater than the limit [%s]", name, request.String(), limit.String())
		}
		for what, asked := range map[string]*resource.Quantity{"limit": &limit, "default": &request} {
			if bounded && asked.Value() > most.Value() {
				return refusal.Invalid("Requested %v %s [%s] is greater than current limit set in the platform configuration [%s]: ask for less or raise task_resources.limits",
					name, what, asked.String(), most.String())
			}
		}
	}
	return nil
}
