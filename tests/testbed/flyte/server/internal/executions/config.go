// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/settings"
)

// layer is a place where an execution's settings can stand.
type layer interface {
	GetMaxParallelism() int32
	GetSecurityContext() *core.SecurityContext
	GetRawOutputDataConfig() *admin.RawOutputDataConfig
	GetLabels() *admin.Labels
	GetAnnotations() *admin.Annotations
	GetInterruptible() *wrapperspb.BoolValue
	GetOverwriteCache() bool
	GetEnvs() *admin.Envs
}

// effectiveConfig takes each setting from the first layer that has it: the
// request, the launch plan, the server's configuration. An account by the old
// spelling counts before the configuration's.
func effectiveConfig(spec *admin.ExecutionSpec, plan *admin.LaunchPlan, server *settings.Admin, launchPlan bool) *admin.WorkflowExecutionConfig {
	config := &admin.WorkflowExecutionConfig{}
	merge(config, spec)
	role := spec.GetAuthRole()
	if launchPlan {
		merge(config, plan.GetSpec())
		if role == nil {
			role = planRole(plan.GetSpec())
		}
	}
	if config.GetSecurityContext() == nil {
		config.SecurityContext = account(role.GetAssumableIamRole(), role.GetKubernetesServiceAccount())
	}
	merge(config, Configured(server))
	if config.GetSecurityContext().GetRunAs() == nil {
		config.SecurityContext = &core.SecurityContext{RunAs: &core.Identity{}}
	}
	return config
}

func merge(config *admin.WorkflowExecutionConfig, from layer) {
	if config.GetMaxParallelism() == 0 {
		config.MaxParallelism = from.GetMaxParallelism()
	}
	if runAs := from.GetSecurityContext().GetRunAs(); config.GetSecurityContext() == nil &&
		(runAs.GetK8SServiceAccount() != "" || runAs.GetIamRole() != "" || runAs.GetExecutionIdentity() != "") {
		config.SecurityContext = proto.CloneOf(from.GetSecurityContext())
	}
	if config.GetRawOutputDataConfig().GetOutputLocationPrefix() == "" && from.GetRawOutputDataConfig().GetOutputLocationPrefix() != "" {
		config.RawOutputDataConfig = from.GetRawOutputDataConfig()
	}
	if len(config.GetLabels().GetValues()) == 0 {
		config.Labels = from.GetLabels()
	}
	if len(config.GetAnnotations().GetValues()) == 0 {
		config.Annotations = from.GetAnnotations()
	}
	if config.GetInterruptible() == nil {
		config.Interruptible = from.GetInterruptible()
	}
	config.OverwriteCache = config.GetOverwriteCache() || from.GetOverwriteCache()
	if len(config.GetEnvs().GetValues()) == 0 {
		config.Envs = from.GetEnvs()
	}
}

// planRole is the account of a launch plan in the spellings that it had over time.
func planRole(spec *admin.LaunchPlanSpec) *admin.AuthRole {
	switch {
	case spec.GetAuthRole() != nil:
		return spec.GetAuthRole()
	case spec.GetAuth() != nil:
		return &admin.AuthRole{
			AssumableIamRole:         spec.GetAuth().GetAssumableIamRole(),
			KubernetesServiceAccount: spec.GetAuth().GetKubernetesServiceAccount(),
		}
	}
	return &admin.AuthRole{AssumableIamRole: spec.GetRole()}
}

func account(iamRole, serviceAccount string) *core.SecurityContext {
	if iamRole == "" && serviceAccount == "" {
		return nil
	}
	return &core.SecurityContext{RunAs: &core.Identity{IamRole: iamRole, K8SServiceAccount: serviceAccount}}
}

// Configured is section flyteadmin as a layer.
func Configured(server *settings.Admin) *admin.WorkflowExecutionConfig {
	config := &admin.WorkflowExecutionConfig{
		MaxParallelism:      server.MaxParallelism,
		SecurityContext:     account(server.AssumableIamRole, server.K8SServiceAccount),
		RawOutputDataConfig: &admin.RawOutputDataConfig{OutputLocationPrefix: server.OutputLocationPrefix},
		Labels:              &admin.Labels{Values: server.Labels},
		Annotations:         &admin.Annotations{Values: server.Annotations},
		OverwriteCache:      server.OverwriteCache,
		Envs:                &admin.Envs{},
	}
	if server.Interruptible {
		config.Interruptible = wrapperspb.Bool(true)
	}
	for _, name := range slices.Sorted(maps.Keys(server.Envs)) {
		config.Envs.Values = append(config.Envs.Values, &core.KeyValuePair{Key: name, Value: server.Envs[name]})
	}
	return config
}
