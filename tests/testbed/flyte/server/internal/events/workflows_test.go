// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"
	eventerrors "github.com/flyteorg/flyte/flytepropeller/events/errors"

	"flyte.onprem/testbed/flyte/internal/database"
)

func workflowEvent(phase core.WorkflowExecution_Phase) *event.WorkflowExecutionEvent {
	return &event.WorkflowExecutionEvent{ExecutionId: executionID, ProducerId: anyCluster, Phase: phase, OccurredAt: second(10)}
}

func (s *Service) workflow(t *testing.T, e *event.WorkflowExecutionEvent) error {
	t.Helper()
	_, err := s.CreateWorkflowEvent(t.Context(), &admin.WorkflowExecutionEventRequest{Event: e})
	return err
}

func TestWhichPhaseOfAnExecutionMayFollow(t *testing.T) {
	const (
		queued    = core.WorkflowExecution_QUEUED
		running   = core.WorkflowExecution_RUNNING
		failing   = core.WorkflowExecution_FAILING
		failed    = core.WorkflowExecution_FAILED
		succeeded = core.WorkflowExecution_SUCCEEDED
		aborting  = core.WorkflowExecution_ABORTING
		aborted   = core.WorkflowExecution_ABORTED
	)
	accepted := func(err error) bool { return err == nil }
	conflict := func(err error) bool {
		return status.Code(err) == codes.FailedPrecondition && !eventerrors.IsEventAlreadyInTerminalStateError(eventerrors.WrapError(err))
	}
	terminal := func(err error) bool {
		return eventerrors.IsEventAlreadyInTerminalStateError(eventerrors.WrapError(err))
	}
	exists := func(err error) bool { return status.Code(err) == codes.AlreadyExists }
	for _, test := range []struct {
		from, to core.WorkflowExecution_Phase
		want     func(error) bool
	}{
		{core.WorkflowExecution_UNDEFINED, running, accepted},
		{queued, queued, accepted},
		{running, running, exists},
		{running, queued, conflict},
		{running, failing, accepted},
		{failing, failed, accepted},
		{failed, failed, exists},
		{failed, running, terminal},
		{succeeded, aborted, terminal},
		{aborted, queued, terminal},
		{aborting, running, conflict},
		{aborting, aborted, accepted},
		{aborting, succeeded, accepted},
	} {
		s, rows := newService(t, test.from)
		err := s.workflow(t, workflowEvent(test.to))
		if !test.want(err) {
			t.Errorf("%v -> %v: got %v", test.from, test.to, err)
		}
		after := rows.executions[database.ExecutionKeyOf(executionID)].Phase
		if want := map[bool]core.WorkflowExecution_Phase{true: test.to, false: test.from}[err == nil]; after != want.String() {
			t.Errorf("%v -> %v: the row says %s", test.from, test.to, after)
		}
	}
}

func TestEventsOfUnknownExecutionsAndOtherClusters(t *testing.T) {
	s, _ := newService(t, core.WorkflowExecution_RUNNING)
	unknown := workflowEvent(core.WorkflowExecution_FAILED)
	unknown.ExecutionId = &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "n"}
	if err := s.workflow(t, unknown); !eventerrors.IsNotFound(eventerrors.WrapError(err)) {
		t.Errorf("unknown: got %v", err)
	}
	foreign := workflowEvent(core.WorkflowExecution_FAILED)
	foreign.ProducerId = "elsewhere"
	if err := s.workflow(t, foreign); !eventerrors.IsEventIncompatibleClusterError(eventerrors.WrapError(err)) {
		t.Errorf("foreign: got %v", err)
	}
	for _, e := range []*event.WorkflowExecutionEvent{nil, {}, {ExecutionId: executionID, Phase: core.WorkflowExecution_FAILED}} {
		if err := s.workflow(t, e); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: got %v", e, err)
		}
	}
}

func TestARunHasStartDurationAndOutputs(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_QUEUED)
	started, ended := workflowEvent(core.WorkflowExecution_RUNNING), workflowEvent(core.WorkflowExecution_SUCCEEDED)
	ended.OccurredAt = second(25)
	ended.OutputResult = &event.WorkflowExecutionEvent_OutputUri{OutputUri: "s3://meta/outputs.pb"}
	for _, e := range []*event.WorkflowExecutionEvent{started, ended} {
		if err := s.workflow(t, e); err != nil {
			t.Fatal(err)
		}
	}
	row := rows.executions[database.ExecutionKeyOf(executionID)]
	closure := read(t, row.Closure, &admin.ExecutionClosure{})
	if row.Duration.Seconds() != 15 || closure.GetDuration().GetSeconds() != 15 || !row.StartedAt.Equal(second(10).AsTime()) {
		t.Errorf("got duration %v, %v from %v", row.Duration, closure.GetDuration(), row.StartedAt)
	}
	if closure.GetOutputs().GetUri() != "s3://meta/outputs.pb" {
		t.Errorf("got %v", closure.GetOutputs())
	}
	if len(rows.log) != 2 {
		t.Errorf("got %d lines in the table of events", len(rows.log))
	}
}

func TestOutputsByValueGoToTheObjectStore(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	e := workflowEvent(core.WorkflowExecution_SUCCEEDED)
	e.OutputResult = &event.WorkflowExecutionEvent_OutputData{OutputData: &core.LiteralMap{}}
	if err := s.workflow(t, e); err != nil {
		t.Fatal(err)
	}
	closure := read(t, rows.executions[database.ExecutionKeyOf(executionID)].Closure, &admin.ExecutionClosure{})
	if got, want := closure.GetOutputs().GetUri(), "/metadata/flytesnacks/development/a1/offloaded_outputs"; got != want {
		t.Errorf("got %s, expected %s", got, want)
	}
}

func TestAFailureKeepsTheTasksMessage(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_FAILING)
	e := workflowEvent(core.WorkflowExecution_FAILED)
	e.OutputResult = &event.WorkflowExecutionEvent_Error{Error: &core.ExecutionError{Code: "USER:ValueError", Message: "no such fish", Kind: core.ExecutionError_USER}}
	if err := s.workflow(t, e); err != nil {
		t.Fatal(err)
	}
	row := rows.executions[database.ExecutionKeyOf(executionID)]
	closure := read(t, row.Closure, &admin.ExecutionClosure{})
	if closure.GetError().GetMessage() != "no such fish" || *row.ErrorKind != "USER" || *row.ErrorCode != "USER:ValueError" {
		t.Errorf("got %v, %s, %s", closure.GetError(), *row.ErrorKind, *row.ErrorCode)
	}
}
