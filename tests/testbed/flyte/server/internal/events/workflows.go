// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// CreateWorkflowEvent records a new phase of an execution.
func (s *Service) CreateWorkflowEvent(ctx context.Context, request *admin.WorkflowExecutionEventRequest) (*admin.WorkflowExecutionEventResponse, error) {
	e := request.GetEvent()
	if e == nil {
		return nil, refusal.Missing("event")
	}
	if err := validate.Execution(e.GetExecutionId()); err != nil {
		return nil, err
	}
	if e.GetOccurredAt() == nil {
		return nil, refusal.Missing("occurred_at")
	}
	if err := validate.Size(e.GetOutputData()); err != nil {
		return nil, err
	}
	id := e.GetExecutionId()
	outputs := e.GetOutputUri()
	if e.GetOutputData() != nil {
		reference, err := executions.Offload(ctx, s.Objects, e.GetOutputData(), id.GetProject(), id.GetDomain(), id.GetName(), "offloaded_outputs")
		if err != nil {
			return nil, err
		}
		outputs = reference.String()
	}
	err := s.Store.ChangeExecution(ctx, database.ExecutionKeyOf(id), func(row *database.Execution) error {
		if err := mayFollow(row, e); err != nil {
			return err
		}
		return advance(row, e, outputs)
	})
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", id)
	}
	s.log(ctx, &database.ExecutionEvent{
		ExecutionKey: database.ExecutionKeyOf(id), RequestID: request.GetRequestId(),
		OccurredAt: e.GetOccurredAt().AsTime(), Phase: e.GetPhase().String(),
	})
	return &admin.WorkflowExecutionEventResponse{}, nil
}

// mayFollow says whether an event can come after what is recorded.
func mayFollow(row *database.Execution, e *event.WorkflowExecutionEvent) error {
	phase, next := executions.Phase(row), e.GetPhase()
	if next != core.WorkflowExecution_QUEUED {
		if phase == next {
			return refusal.Exists("this phase %s was already recorded for workflow execution %v", phase, e.GetExecutionId())
		}
		if err := checkCluster(row.Cluster, e.GetProducerId()); err != nil {
			return err
		}
	}
	switch {
	case executions.Ended(phase):
		return refusal.Terminal(phase.String(), "invalid phase change from %s to %s for workflow execution %v", phase, next, e.GetExecutionId())
	case phase == core.WorkflowExecution_RUNNING && next == core.WorkflowExecution_QUEUED,
		phase == core.WorkflowExecution_ABORTING && !executions.Ended(next):
		return refusal.Conflict("cannot go from %s to %s for workflow execution %v", phase, next, e.GetExecutionId())
	}
	return nil
}

// advance puts an event into the row.
func advance(row *database.Execution, e *event.WorkflowExecutionEvent, outputs string) error {
	closure := &admin.ExecutionClosure{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return err
	}
	closure.Phase, closure.UpdatedAt = e.GetPhase(), e.GetOccurredAt()
	row.Phase, row.ExecutionUpdatedAt = e.GetPhase().String(), moment(e.GetOccurredAt())
	if producer := e.GetProducerId(); e.GetPhase() == core.WorkflowExecution_QUEUED && producer != "" && producer != anyCluster {
		row.Cluster = producer
	}
	switch {
	case e.GetPhase() == core.WorkflowExecution_RUNNING:
		row.StartedAt, closure.StartedAt = moment(e.GetOccurredAt()), e.GetOccurredAt()
	case executions.Ended(e.GetPhase()):
		row.Duration, closure.Duration = elapsed(row.StartedAt, e.GetOccurredAt())
	}
	switch {
	case outputs != "":
		closure.OutputResult = &admin.ExecutionClosure_Outputs{
			Outputs: &admin.LiteralMapBlob{Data: &admin.LiteralMapBlob_Uri{Uri: outputs}},
		}
	case e.GetError() != nil:
		closure.OutputResult = &admin.ExecutionClosure_Error{Error: e.GetError()}
		kind := e.GetError().GetKind().String()
		row.ErrorKind, row.ErrorCode = &kind, &e.GetError().Code
	}
	var err error
	row.Closure, err = messages.Encode(closure)
	return err
}
