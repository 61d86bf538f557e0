// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package admin puts AdminService together from what the other packages answer.
package admin

import (
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"

	"flyte.onprem/testbed/flyte/internal/events"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/registry"
)

// Service is AdminService. What no part answers is Unimplemented.
type Service struct {
	*Projects
	*Attributes
	*registry.Service
	Executions
	Events
	rest
}

// Executions and Events give the parts that are all called Service names of their own.
type (
	Executions struct{ *executions.Service }
	Events     struct{ *events.Service }
)

// rest lies one level deeper than all parts, so that any of them is preferred.
type rest struct{ deeper }

type deeper struct {
	service.UnimplementedAdminServiceServer
}
