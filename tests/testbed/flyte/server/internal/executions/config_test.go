// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/settings"
)

func runAs(account string) *core.SecurityContext {
	return &core.SecurityContext{RunAs: &core.Identity{K8SServiceAccount: account}}
}

func TestTheRequestWinsOverThePlanAndThePlanOverTheServer(t *testing.T) {
	server := &settings.Admin{
		MaxParallelism: 25, K8SServiceAccount: "server", OutputLocationPrefix: "s3://server",
		Envs: map[string]string{"A": "server"},
	}
	full := &admin.LaunchPlan{Spec: &admin.LaunchPlanSpec{
		MaxParallelism: 5, SecurityContext: runAs("plan"), Interruptible: wrapperspb.Bool(true),
		RawOutputDataConfig: &admin.RawOutputDataConfig{OutputLocationPrefix: "s3://plan"},
	}}
	for name, test := range map[string]struct {
		spec    *admin.ExecutionSpec
		plan    *admin.LaunchPlan
		account string
		prefix  string
		nodes   int32
	}{
		"request": {&admin.ExecutionSpec{
			MaxParallelism: 2, SecurityContext: runAs("request"),
			RawOutputDataConfig: &admin.RawOutputDataConfig{OutputLocationPrefix: "s3://request"},
		}, full, "request", "s3://request", 2},
		"plan":               {&admin.ExecutionSpec{}, full, "plan", "s3://plan", 5},
		"server":             {&admin.ExecutionSpec{}, &admin.LaunchPlan{}, "server", "s3://server", 25},
		"empty account":      {&admin.ExecutionSpec{SecurityContext: runAs("")}, full, "plan", "s3://plan", 5},
		"old way of request": {&admin.ExecutionSpec{AuthRole: &admin.AuthRole{KubernetesServiceAccount: "old"}}, &admin.LaunchPlan{}, "old", "s3://server", 25},
		"old way of plan": {&admin.ExecutionSpec{}, &admin.LaunchPlan{Spec: &admin.LaunchPlanSpec{
			Auth: &admin.Auth{KubernetesServiceAccount: "older"},
		}}, "older", "s3://server", 25},
	} {
		got := effectiveConfig(test.spec, test.plan, server, true)
		if got.GetSecurityContext().GetRunAs().GetK8SServiceAccount() != test.account ||
			got.GetRawOutputDataConfig().GetOutputLocationPrefix() != test.prefix || got.GetMaxParallelism() != test.nodes {
			t.Errorf("%s: got %v", name, got)
		}
		if got.GetEnvs().GetValues()[0].GetValue() != "server" {
			t.Errorf("%s: got %v", name, got.GetEnvs())
		}
	}
}

func TestASingleTaskDoesNotAskThePlan(t *testing.T) {
	plan := &admin.LaunchPlan{Spec: &admin.LaunchPlanSpec{MaxParallelism: 5, SecurityContext: runAs("plan")}}
	got := effectiveConfig(&admin.ExecutionSpec{}, plan, &settings.Admin{}, false)
	if got.GetMaxParallelism() != 0 || got.GetSecurityContext().GetRunAs() == nil || got.GetSecurityContext().GetRunAs().GetK8SServiceAccount() != "" {
		t.Errorf("got %v", got)
	}
}

func TestATaskGetsDefaultsAndIsCutToTheLimits(t *testing.T) {
	platform := &settings.TaskResources{
		Defaults: settings.TaskResourceSet{CPU: resource.MustParse("500m"), Memory: resource.MustParse("500Mi")},
		Limits:   settings.TaskResourceSet{CPU: resource.MustParse("2"), Memory: resource.MustParse("1Gi")},
	}
	entry := func(name core.Resources_ResourceName, value string) *core.Resources_ResourceEntry {
		return &core.Resources_ResourceEntry{Name: name, Value: value}
	}
	for name, test := range map[string]struct {
		wanted *core.Resources
		want   string
	}{
		"nothing": {nil, "CPU 500m/500m MEMORY 500Mi/500Mi "},
		"requests": {&core.Resources{Requests: []*core.Resources_ResourceEntry{entry(core.Resources_CPU, "1")}},
			"CPU 1/1 MEMORY 500Mi/500Mi "},
		"a limit": {&core.Resources{Limits: []*core.Resources_ResourceEntry{entry(core.Resources_MEMORY, "800Mi")}},
			"CPU 500m/500m MEMORY 800Mi/800Mi "},
		"too much": {&core.Resources{Limits: []*core.Resources_ResourceEntry{entry(core.Resources_MEMORY, "8Gi")}},
			"CPU 500m/500m MEMORY 1Gi/1Gi "},
		"more kinds": {&core.Resources{Requests: []*core.Resources_ResourceEntry{entry(core.Resources_EPHEMERAL_STORAGE, "1Gi")}},
			"CPU 500m/500m MEMORY 500Mi/500Mi EPHEMERAL_STORAGE 1Gi/1Gi "},
	} {
		task := &core.TaskTemplate{Target: &core.TaskTemplate_Container{Container: &core.Container{Resources: test.wanted}}}
		applyResources(task, platform)
		got, resources := "", task.GetContainer().GetResources()
		for i, request := range resources.GetRequests() {
			got += request.GetName().String() + " " + request.GetValue() + "/" + resources.GetLimits()[i].GetValue() + " "
		}
		if got != test.want {
			t.Errorf("%s: got %s, expected %s", name, got, test.want)
		}
	}
	pod := &core.TaskTemplate{Target: &core.TaskTemplate_K8SPod{K8SPod: &core.K8SPod{}}}
	if applyResources(pod, platform); pod.GetContainer() != nil {
		t.Error("a pod task got a container")
	}
}
