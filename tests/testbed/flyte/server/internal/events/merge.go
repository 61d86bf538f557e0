// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"

	"flyte.onprem/testbed/flyte/internal/executions"
)

// mergeLogs puts new links first and keeps old ones of which neither the name
// nor the address came again.
func mergeLogs(old, latest []*core.TaskLog) []*core.TaskLog {
	merged := slices.Clone(latest)
	for _, log := range old {
		again := slices.ContainsFunc(latest, func(other *core.TaskLog) bool {
			return other.GetUri() == log.GetUri() || other.GetName() != "" && other.GetName() == log.GetName()
		})
		if !again {
			merged = append(merged, log)
		}
	}
	return merged
}

// shown are the links that are of use in a phase.
func shown(logs []*core.TaskLog, phase core.TaskExecution_Phase) []*core.TaskLog {
	var useful []*core.TaskLog
	for _, log := range logs {
		waiting := phase == core.TaskExecution_QUEUED || phase == core.TaskExecution_INITIALIZING
		if executions.TaskEnded(phase) && log.GetHideOnceFinished() || waiting && !log.GetShowWhilePending() {
			continue
		}
		useful = append(useful, log)
	}
	return useful
}

// mergeInfo is a JSON merge patch: new values win, null removes.
func mergeInfo(old, latest *structpb.Struct) *structpb.Struct {
	if old == nil || latest == nil {
		return cmp.Or(old, latest)
	}
	merged := proto.CloneOf(old)
	if merged.Fields == nil {
		merged.Fields = map[string]*structpb.Value{}
	}
	for name, value := range latest.GetFields() {
		switch {
		case value.GetStructValue() != nil && merged.Fields[name].GetStructValue() != nil:
			merged.Fields[name] = structpb.NewStructValue(mergeInfo(merged.Fields[name].GetStructValue(), value.GetStructValue()))
		case isNull(value):
			delete(merged.Fields, name)
		default:
			merged.Fields[name] = value
		}
	}
	return merged
}

func isNull(value *structpb.Value) bool {
	_, null := value.GetKind().(*structpb.Value_NullValue)
	return null
}

// mergeMetadata keeps what the new metadata does not say again.
func mergeMetadata(old, latest *event.TaskExecutionMetadata) *event.TaskExecutionMetadata {
	if latest == nil {
		return old
	}
	merged := proto.CloneOf(latest)
	merged.GeneratedName = cmp.Or(latest.GetGeneratedName(), old.GetGeneratedName())
	merged.PluginIdentifier = cmp.Or(latest.GetPluginIdentifier(), old.GetPluginIdentifier())
	merged.InstanceClass = cmp.Or(latest.GetInstanceClass(), old.GetInstanceClass())
	merged.ExternalResources = slices.Clone(old.GetExternalResources())
	for _, resource := range latest.GetExternalResources() {
		merged.ExternalResources = addResource(merged.ExternalResources, resource)
	}
	return merged
}

// addResource keeps the list in the order of index and attempt, by which a
// resource is known.
func addResource(list []*event.ExternalResourceInfo, latest *event.ExternalResourceInfo) []*event.ExternalResourceInfo {
	place, known := slices.BinarySearchFunc(list, latest, func(a, b *event.ExternalResourceInfo) int {
		return cmp.Or(cmp.Compare(a.GetIndex(), b.GetIndex()), cmp.Compare(a.GetRetryAttempt(), b.GetRetryAttempt()))
	})
	if !known {
		return slices.Insert(list, place, latest)
	}
	old := list[place]
	merged := proto.CloneOf(latest)
	merged.ExternalId = cmp.Or(latest.GetExternalId(), old.GetExternalId())
	merged.CacheStatus = cmp.Or(latest.GetCacheStatus(), old.GetCacheStatus())
	merged.Logs = mergeLogs(old.GetLogs(), latest.GetLogs())
	merged.CustomInfo = cmp.Or(latest.GetCustomInfo(), old.GetCustomInfo())
	list[place] = merged
	return list
}
