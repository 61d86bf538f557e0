// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/settings"
)

var most = settings.TaskResourceSet{
	CPU: resource.MustParse("2"), Memory: resource.MustParse("1Gi"), GPU: resource.MustParse("1"),
}

func entries(pairs ...string) []*core.Resources_ResourceEntry {
	var list []*core.Resources_ResourceEntry
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, &core.Resources_ResourceEntry{
			Name: core.Resources_ResourceName(core.Resources_ResourceName_value[pairs[i]]), Value: pairs[i+1],
		})
	}
	return list
}

func TestResourcesOfAContainer(t *testing.T) {
	for name, test := range map[string]struct {
		requests, limits []*core.Resources_ResourceEntry
		word             string
	}{
		"none":                   {nil, nil, ""},
		"within the limits":      {entries("CPU", "500m", "MEMORY", "512Mi"), entries("CPU", "2", "MEMORY", "1Gi"), ""},
		"more than own limit":    {entries("MEMORY", "512Mi"), entries("MEMORY", "256Mi"), "Requested MEMORY default [512Mi] is greater than the limit"},
		"more than the platform": {entries("MEMORY", "2Gi"), nil, "greater than current limit"},
		"limit above platform":   {entries("CPU", "1"), entries("CPU", "4"), "greater than current limit"},
		"limit without request":  {nil, entries("CPU", "4"), ""},
		"no platform limit":      {entries("EPHEMERAL_STORAGE", "10Ti"), nil, ""},
		"twice":                  {entries("CPU", "1", "CPU", "1"), nil, "more than once"},
		"no quantity":            {entries("CPU", "much"), nil, "parsing of CPU"},
		"half a gpu":             {entries("GPU", "500m"), nil, "whole number"},
		"gpus differ":            {entries("GPU", "1"), entries("GPU", "2"), "must equal"},
	} {
		err := checkContainer(&core.Container{Image: "x", Resources: &core.Resources{Requests: test.requests, Limits: test.limits}}, most)
		if test.word == "" {
			wanted(t, name, err, codes.OK)
		} else {
			wanted(t, name, err, codes.InvalidArgument, test.word)
		}
	}
}

func TestResourcesOfAPod(t *testing.T) {
	pod := func(memory string) *core.K8SPod {
		spec, err := structpb.NewStruct(map[string]any{"containers": []any{map[string]any{
			"name": "main", "resources": map[string]any{"requests": map[string]any{"memory": memory}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return &core.K8SPod{PodSpec: spec}
	}
	wanted(t, "little", checkPod(pod("512Mi"), most), codes.OK)
	wanted(t, "much", checkPod(pod("2Gi"), most), codes.InvalidArgument, "greater than current limit")
	wanted(t, "no spec", checkPod(&core.K8SPod{}, most), codes.InvalidArgument, "pod spec")
}
