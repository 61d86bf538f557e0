// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"
	eventerrors "github.com/flyteorg/flyte/flytepropeller/events/errors"

	"flyte.onprem/testbed/flyte/internal/database"
)

func taskEvent(phase core.TaskExecution_Phase, version uint32, at int) *event.TaskExecutionEvent {
	return &event.TaskExecutionEvent{
		TaskId: taskID, ParentNodeExecutionId: nodeID, ProducerId: anyCluster,
		Phase: phase, PhaseVersion: version, OccurredAt: second(at),
	}
}

func (s *Service) task(t *testing.T, e *event.TaskExecutionEvent) error {
	t.Helper()
	_, err := s.CreateTaskEvent(t.Context(), &admin.TaskExecutionEventRequest{Event: e})
	return err
}

// withNode has a node that an attempt can belong to.
func withNode(t *testing.T) (*Service, *tables) {
	t.Helper()
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	if err := s.node(t, nodeEvent(core.NodeExecution_RUNNING, 1)); err != nil {
		t.Fatal(err)
	}
	return s, rows
}

func TestWhichNewsOfAnAttemptMayFollow(t *testing.T) {
	const (
		running = core.TaskExecution_RUNNING
		failed  = core.TaskExecution_FAILED
	)
	for _, test := range []struct {
		phase    core.TaskExecution_Phase
		version  uint32
		code     codes.Code
		terminal bool
	}{
		{running, 1, codes.AlreadyExists, false},
		{running, 0, codes.AlreadyExists, false},
		{running, 2, codes.OK, false},
		{failed, 0, codes.OK, false},
	} {
		s, _ := withNode(t)
		if err := s.task(t, taskEvent(running, 1, 2)); err != nil {
			t.Fatal(err)
		}
		if err := s.task(t, taskEvent(test.phase, test.version, 3)); status.Code(err) != test.code {
			t.Errorf("%v version %d: got %v", test.phase, test.version, err)
		}
	}
	s, _ := withNode(t)
	if err := s.task(t, taskEvent(failed, 0, 2)); err != nil {
		t.Fatal(err)
	}
	if err := s.task(t, taskEvent(running, 5, 3)); !eventerrors.IsEventAlreadyInTerminalStateError(eventerrors.WrapError(err)) {
		t.Errorf("after the end: got %v", err)
	}
}

func TestAnAttemptNeedsItsNode(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	if err := s.task(t, taskEvent(core.TaskExecution_QUEUED, 0, 1)); status.Code(err) != codes.NotFound || len(rows.attempts) != 0 {
		t.Errorf("got %v and %d rows", err, len(rows.attempts))
	}
}

func TestAnAttemptKeepsReasonsLinksAndItsError(t *testing.T) {
	s, rows := withNode(t)
	queued, again, failed := taskEvent(core.TaskExecution_QUEUED, 0, 1), taskEvent(core.TaskExecution_QUEUED, 1, 2), taskEvent(core.TaskExecution_FAILED, 0, 9)
	queued.Reason, again.Reason = "task submitted", "task submitted"
	running := taskEvent(core.TaskExecution_RUNNING, 0, 3)
	running.Logs = []*core.TaskLog{{Name: "pod", Uri: "https://logs.example.com/pod"}, {Name: "live", Uri: "https://logs.example.com/live", HideOnceFinished: true}}
	failed.Reason = "it broke"
	failed.OutputResult = &event.TaskExecutionEvent_Error{Error: &core.ExecutionError{Message: "no such fish"}}
	for _, e := range []*event.TaskExecutionEvent{queued, again, running, failed} {
		if err := s.task(t, e); err != nil {
			t.Fatal(err)
		}
	}
	row := rows.attempts[attemptKey(database.AttemptKeyOf(attemptID))]
	closure := read(t, row.Closure, &admin.TaskExecutionClosure{})
	var reasons, links []string
	for _, reason := range closure.GetReasons() {
		reasons = append(reasons, reason.GetMessage())
	}
	for _, log := range closure.GetLogs() {
		links = append(links, log.GetName())
	}
	if !reflect.DeepEqual(reasons, []string{"task submitted", "it broke"}) || !reflect.DeepEqual(links, []string{"pod"}) {
		t.Errorf("got reasons %v, links %v", reasons, links)
	}
	if closure.GetError().GetMessage() != "no such fish" || closure.GetDuration().GetSeconds() != 6 {
		t.Errorf("got %v after %v", closure.GetError(), closure.GetDuration())
	}
}

func TestMergeInfoIsAMergePatch(t *testing.T) {
	object := func(value map[string]any) *structpb.Struct {
		made, err := structpb.NewStruct(value)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	got := mergeInfo(
		object(map[string]any{"kept": "a", "gone": "b", "deep": map[string]any{"kept": 1, "new": 1}}),
		object(map[string]any{"gone": nil, "deep": map[string]any{"new": 2}}),
	)
	want := map[string]any{"kept": "a", "deep": map[string]any{"kept": 1.0, "new": 2.0}}
	if !reflect.DeepEqual(got.AsMap(), want) {
		t.Errorf("got %v, expected %v", got.AsMap(), want)
	}
	if mergeInfo(nil, got) != got || mergeInfo(got, nil) != got {
		t.Error("one side alone is the result")
	}
}

func TestResourcesStayInOrderAndAreUpdatedInPlace(t *testing.T) {
	old := &event.TaskExecutionMetadata{GeneratedName: "pod-1", ExternalResources: []*event.ExternalResourceInfo{
		{Index: 0, ExternalId: "a"}, {Index: 2, ExternalId: "c"},
	}}
	latest := &event.TaskExecutionMetadata{ExternalResources: []*event.ExternalResourceInfo{
		{Index: 1, ExternalId: "b"}, {Index: 2, Phase: core.TaskExecution_RUNNING}, {Index: 0, RetryAttempt: 1, ExternalId: "a2"},
	}}
	merged := mergeMetadata(old, latest)
	var ids []string
	for _, resource := range merged.GetExternalResources() {
		ids = append(ids, resource.GetExternalId())
	}
	if !reflect.DeepEqual(ids, []string{"a", "a2", "b", "c"}) || merged.GetGeneratedName() != "pod-1" {
		t.Errorf("got %v of %s", ids, merged.GetGeneratedName())
	}
	if got := merged.GetExternalResources()[3].GetPhase(); got != core.TaskExecution_RUNNING {
		t.Errorf("got %v", got)
	}
}
