// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"context"
	"strconv"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// taskReport is an event with the places of its inputs and outputs.
type taskReport struct {
	*event.TaskExecutionEvent
	inputs, outputs string
}

// CreateTaskEvent records news of an attempt of a task.
func (s *Service) CreateTaskEvent(ctx context.Context, request *admin.TaskExecutionEventRequest) (*admin.TaskExecutionEventResponse, error) {
	e := request.GetEvent()
	if e == nil {
		return nil, refusal.Missing("event")
	}
	if e.GetOccurredAt() == nil {
		return nil, refusal.Missing("occurred_at")
	}
	if err := validate.Size(e.GetOutputData()); err != nil {
		return nil, err
	}
	id := &core.TaskExecutionIdentifier{
		TaskId: e.GetTaskId(), NodeExecutionId: e.GetParentNodeExecutionId(), RetryAttempt: e.GetRetryAttempt(),
	}
	if err := validate.Attempt(id); err != nil {
		return nil, err
	}
	execution, err := s.Store.Execution(ctx, database.ExecutionKeyOf(id.GetNodeExecutionId().GetExecutionId()))
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", id.GetNodeExecutionId().GetExecutionId())
	}
	if err := checkCluster(execution.Cluster, e.GetProducerId()); err != nil {
		return nil, err
	}
	if _, err := s.Store.Node(ctx, database.NodeKeyOf(id.GetNodeExecutionId())); err != nil {
		return nil, refusal.FromDatabase(err, "node execution", id.GetNodeExecutionId())
	}
	report, err := s.gatherTask(ctx, e)
	if err != nil {
		return nil, err
	}
	err = s.Store.RecordAttempt(ctx, database.AttemptKeyOf(id), func(row *database.TaskExecution, known bool) error {
		if !known {
			return beginTask(row, report)
		}
		if err := taskMayFollow(row, e); err != nil {
			return err
		}
		return advanceTask(row, report)
	})
	if err != nil {
		return nil, refusal.FromDatabase(err, "task execution", id)
	}
	return &admin.TaskExecutionEventResponse{}, nil
}

func (s *Service) gatherTask(ctx context.Context, e *event.TaskExecutionEvent) (*taskReport, error) {
	report := &taskReport{TaskExecutionEvent: e, inputs: e.GetInputUri(), outputs: e.GetOutputUri()}
	node, task := e.GetParentNodeExecutionId(), e.GetTaskId()
	place := []string{
		node.GetExecutionId().GetProject(), node.GetExecutionId().GetDomain(), node.GetExecutionId().GetName(), node.GetNodeId(),
		task.GetProject(), task.GetDomain(), task.GetName(), task.GetVersion(), strconv.FormatUint(uint64(e.GetRetryAttempt()), 10),
	}
	if e.GetInputData() != nil {
		reference, err := executions.Offload(ctx, s.Objects, e.GetInputData(), append(place, "offloaded_inputs")...)
		if err != nil {
			return nil, err
		}
		report.inputs = reference.String()
	}
	if e.GetOutputData() != nil {
		reference, err := executions.Offload(ctx, s.Objects, e.GetOutputData(), append(place, "offloaded_outputs")...)
		if err != nil {
			return nil, err
		}
		report.outputs = reference.String()
	}
	return report, nil
}

// taskMayFollow says whether an event can come after what is recorded. A phase
// can come again with a higher version.
func taskMayFollow(row *database.TaskExecution, e *event.TaskExecutionEvent) error {
	phase := core.TaskExecution_Phase(core.TaskExecution_Phase_value[row.Phase])
	switch {
	case phase == e.GetPhase() && row.PhaseVersion >= e.GetPhaseVersion():
		return refusal.Exists("have already recorded task execution phase %s (version: %d) for %v", phase, e.GetPhaseVersion(), e.GetTaskId())
	case executions.TaskEnded(phase):
		// flyteadmin names the new phase here, not the recorded one.
		return refusal.Terminal(e.GetPhase().String(), "invalid phase change from %s to %s for task execution %v", phase, e.GetPhase(), e.GetTaskId())
	}
	return nil
}

// beginTask fills in a new row.
func beginTask(row *database.TaskExecution, e *taskReport) error {
	row.TaskExecutionCreatedAt = moment(e.GetOccurredAt())
	var err error
	if row.Closure, err = messages.Encode(&admin.TaskExecutionClosure{
		CreatedAt: e.GetOccurredAt(), TaskType: e.GetTaskType(),
	}); err != nil {
		return err
	}
	return advanceTask(row, e)
}

// advanceTask puts an event into the row.
func advanceTask(row *database.TaskExecution, e *taskReport) error {
	closure := &admin.TaskExecutionClosure{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return err
	}
	fresh, changed := row.Phase == "", row.Phase != e.GetPhase().String()
	at := reported(e.GetReportedAt(), e.GetOccurredAt())
	row.Phase, row.PhaseVersion, row.TaskExecutionUpdatedAt = e.GetPhase().String(), e.GetPhaseVersion(), moment(at)
	closure.Phase, closure.UpdatedAt = e.GetPhase(), at
	closure.EventVersion = max(closure.GetEventVersion(), e.GetEventVersion())
	if row.InputURI == "" {
		row.InputURI = e.inputs
	}
	explain(closure, e.TaskExecutionEvent)
	if e.GetPhase() == core.TaskExecution_RUNNING && row.StartedAt == nil {
		row.StartedAt, closure.StartedAt = moment(e.GetOccurredAt()), e.GetOccurredAt()
	}
	if executions.TaskEnded(e.GetPhase()) {
		row.Duration, closure.Duration = elapsed(row.StartedAt, e.GetOccurredAt())
		switch {
		case e.outputs != "":
			closure.OutputResult = &admin.TaskExecutionClosure_OutputUri{OutputUri: e.outputs}
		case e.GetError() != nil:
			closure.OutputResult = &admin.TaskExecutionClosure_Error{Error: e.GetError()}
		}
	}
	closure.Logs = mergeLogs(closure.GetLogs(), e.GetLogs())
	closure.CustomInfo = mergeInfo(closure.GetCustomInfo(), e.GetCustomInfo())
	closure.Metadata = mergeMetadata(closure.GetMetadata(), e.GetMetadata())
	// The links of a first event are kept whatever its phase is.
	if !fresh {
		closure.Logs = shown(closure.GetLogs(), e.GetPhase())
		if changed {
			for _, resource := range closure.GetMetadata().GetExternalResources() {
				resource.Logs = shown(resource.GetLogs(), e.GetPhase())
			}
		}
	}
	var err error
	row.Closure, err = messages.Encode(closure)
	return err
}

// explain adds the reasons of an event; a single one only if it is new.
func explain(closure *admin.TaskExecutionClosure, e *event.TaskExecutionEvent) {
	for _, reason := range e.GetReasons() {
		closure.Reasons = append(closure.Reasons, &admin.Reason{OccurredAt: reason.GetOccurredAt(), Message: reason.GetReason()})
		closure.Reason = reason.GetReason()
	}
	if len(e.GetReasons()) > 0 || e.GetReason() == "" || e.GetReason() == closure.GetReason() {
		return
	}
	closure.Reasons = append(closure.Reasons, &admin.Reason{OccurredAt: e.GetOccurredAt(), Message: e.GetReason()})
	closure.Reason = e.GetReason()
}
