// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"context"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/event"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// nodeReport is an event with what it refers to.
type nodeReport struct {
	*event.NodeExecutionEvent
	inputs, outputs string
	dynamic         string
	parent          *uint
	parentAttempt   *uint
}

// CreateNodeEvent records a new phase of a node.
func (s *Service) CreateNodeEvent(ctx context.Context, request *admin.NodeExecutionEventRequest) (*admin.NodeExecutionEventResponse, error) {
	e := request.GetEvent()
	if e == nil {
		return nil, refusal.Missing("event")
	}
	if err := validate.Node(e.GetId()); err != nil {
		return nil, err
	}
	if e.GetOccurredAt() == nil {
		return nil, refusal.Missing("occurred_at")
	}
	if err := validate.Size(e.GetOutputData()); err != nil {
		return nil, err
	}
	id := e.GetId().GetExecutionId()
	execution, err := s.Store.Execution(ctx, database.ExecutionKeyOf(id))
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", id)
	}
	if err := checkCluster(execution.Cluster, e.GetProducerId()); err != nil {
		return nil, err
	}
	report, err := s.gather(ctx, e)
	if err != nil {
		return nil, err
	}
	err = s.Store.RecordNode(ctx, database.NodeKeyOf(e.GetId()), func(row *database.NodeExecution, known bool) error {
		if !known {
			return beginNode(row, report)
		}
		if err := nodeMayFollow(row, e); err != nil {
			return err
		}
		return advanceNode(row, report)
	})
	if err != nil {
		return nil, refusal.FromDatabase(err, "node execution", e.GetId())
	}
	s.log(ctx, &database.NodeExecutionEvent{
		NodeKey: database.NodeKeyOf(e.GetId()), RequestID: request.GetRequestId(),
		OccurredAt: e.GetOccurredAt().AsTime(), Phase: e.GetPhase().String(),
	})
	return &admin.NodeExecutionEventResponse{}, nil
}

// gather finds the rows that an event refers to and writes what it carries by
// value to the object store.
func (s *Service) gather(ctx context.Context, e *event.NodeExecutionEvent) (*nodeReport, error) {
	report := &nodeReport{NodeExecutionEvent: e, inputs: e.GetInputUri(), outputs: e.GetOutputUri()}
	id := e.GetId().GetExecutionId()
	if parent := e.GetParentTaskMetadata().GetId(); parent != nil {
		row, err := s.Store.Attempt(ctx, database.AttemptKeyOf(parent))
		if err != nil {
			return nil, refusal.FromDatabase(err, "task execution", parent)
		}
		report.parentAttempt = &row.ID
	}
	if e.GetParentNodeMetadata() != nil {
		parent := &core.NodeExecutionIdentifier{ExecutionId: id, NodeId: e.GetParentNodeMetadata().GetNodeId()}
		row, err := s.Store.Node(ctx, database.NodeKeyOf(parent))
		if err != nil {
			return nil, refusal.FromDatabase(err, "node execution", parent)
		}
		report.parent = &row.ID
	}
	if child := e.GetWorkflowNodeMetadata().GetExecutionId(); child != nil {
		if _, err := s.Store.Execution(ctx, database.ExecutionKeyOf(child)); err != nil {
			return nil, refusal.FromDatabase(err, "execution", child)
		}
	}
	place := []string{id.GetProject(), id.GetDomain(), id.GetName(), e.GetId().GetNodeId()}
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
	dynamic := e.GetTaskNodeMetadata().GetDynamicWorkflow()
	if dynamic == nil {
		return report, nil
	}
	workflow := dynamic.GetId()
	if err := validate.Identifier(workflow, core.ResourceType_WORKFLOW); err != nil {
		return nil, err
	}
	if dynamic.GetCompiledWorkflow().GetPrimary().GetTemplate() == nil {
		return nil, refusal.Missing("primary dynamic workflow template")
	}
	name := strings.Join([]string{workflow.GetProject(), workflow.GetDomain(), workflow.GetName(), workflow.GetVersion()}, "_")
	var err error
	report.dynamic, err = s.write(ctx, dynamic.GetCompiledWorkflow(), append(place, name)...)
	return report, err
}

func nodePhase(row *database.NodeExecution) core.NodeExecution_Phase {
	return core.NodeExecution_Phase(core.NodeExecution_Phase_value[row.Phase])
}

// nodeMayFollow says whether an event can come after what is recorded.
func nodeMayFollow(row *database.NodeExecution, e *event.NodeExecutionEvent) error {
	phase := nodePhase(row)
	switch {
	case phase == e.GetPhase():
		return refusal.Exists("this phase was already recorded %s for %v", phase, e.GetId())
	case executions.NodeEnded(phase):
		// flyteadmin names the new phase here, not the recorded one.
		return refusal.Terminal(e.GetPhase().String(), "invalid phase change from %s to %s for node execution %v", phase, e.GetPhase(), e.GetId())
	}
	return nil
}

// beginNode fills in a new row.
func beginNode(row *database.NodeExecution, e *nodeReport) error {
	row.NodeExecutionCreatedAt = moment(e.GetOccurredAt())
	row.ParentID, row.ParentTaskExecutionID = e.parent, e.parentAttempt
	var err error
	if row.Closure, err = messages.Encode(&admin.NodeExecutionClosure{CreatedAt: e.GetOccurredAt()}); err != nil {
		return err
	}
	if row.NodeExecutionMetadata, err = messages.Encode(&admin.NodeExecutionMetaData{
		RetryGroup: e.GetRetryGroup(), SpecNodeId: e.GetSpecNodeId(),
	}); err != nil {
		return err
	}
	return advanceNode(row, e)
}

// advanceNode puts an event into the row.
func advanceNode(row *database.NodeExecution, e *nodeReport) error {
	closure, metadata := &admin.NodeExecutionClosure{}, &admin.NodeExecutionMetaData{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return err
	}
	if err := messages.Decode(row.NodeExecutionMetadata, metadata); err != nil {
		return err
	}
	at := reported(e.GetReportedAt(), e.GetOccurredAt())
	row.Phase, row.NodeExecutionUpdatedAt = e.GetPhase().String(), moment(at)
	closure.Phase, closure.UpdatedAt = e.GetPhase(), at
	if row.InputURI == "" {
		row.InputURI = e.inputs
	}
	if e.dynamic != "" {
		row.DynamicWorkflowRemoteClosureReference = e.dynamic
	}
	switch {
	case e.GetPhase() == core.NodeExecution_RUNNING:
		row.StartedAt, closure.StartedAt = moment(e.GetOccurredAt()), e.GetOccurredAt()
		closure.DeckUri = e.GetDeckUri()
	case executions.NodeEnded(e.GetPhase()):
		endNode(row, closure, e)
	}
	setTarget(row, closure, e)
	// Not every event says again what a node is.
	metadata.IsParentNode = metadata.GetIsParentNode() || e.GetIsParent()
	metadata.IsDynamic = metadata.GetIsDynamic() || e.GetIsDynamic()
	metadata.IsArray = metadata.GetIsArray() || e.GetIsArray()
	var err error
	if row.NodeExecutionMetadata, err = messages.Encode(metadata); err != nil {
		return err
	}
	row.Closure, err = messages.Encode(closure)
	return err
}

func endNode(row *database.NodeExecution, closure *admin.NodeExecutionClosure, e *nodeReport) {
	row.Duration, closure.Duration = elapsed(row.StartedAt, e.GetOccurredAt())
	closure.DeckUri = e.GetDeckUri()
	switch {
	case e.outputs != "":
		closure.OutputResult = &admin.NodeExecutionClosure_OutputUri{OutputUri: e.outputs}
	case e.GetError() != nil:
		closure.OutputResult = &admin.NodeExecutionClosure_Error{Error: e.GetError()}
		kind := e.GetError().GetKind().String()
		row.ErrorKind, row.ErrorCode = &kind, &e.GetError().Code
	}
}

// setTarget records what a node is made of: a task, or another execution.
func setTarget(row *database.NodeExecution, closure *admin.NodeExecutionClosure, e *nodeReport) {
	if child := e.GetWorkflowNodeMetadata().GetExecutionId(); child != nil && closure.GetWorkflowNodeMetadata() == nil {
		closure.TargetMetadata = &admin.NodeExecutionClosure_WorkflowNodeMetadata{
			WorkflowNodeMetadata: &admin.WorkflowNodeMetadata{ExecutionId: proto.CloneOf(child)},
		}
	}
	task := e.GetTaskNodeMetadata()
	if task == nil {
		return
	}
	target := &admin.TaskNodeMetadata{CheckpointUri: task.GetCheckpointUri()}
	if task.GetCatalogKey() != nil {
		target.CacheStatus, target.CatalogKey = task.GetCacheStatus(), task.GetCatalogKey()
		cache := task.GetCacheStatus().String()
		row.CacheStatus = &cache
	}
	closure.TargetMetadata = &admin.NodeExecutionClosure_TaskNodeMetadata{TaskNodeMetadata: target}
	if uri := task.GetDynamicWorkflow().GetDynamicJobSpecUri(); uri != "" {
		closure.DynamicJobSpecUri = uri
	}
}
