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
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
)

func nodeEvent(phase core.NodeExecution_Phase, at int) *event.NodeExecutionEvent {
	return &event.NodeExecutionEvent{Id: nodeID, ProducerId: anyCluster, Phase: phase, OccurredAt: second(at)}
}

func (s *Service) node(t *testing.T, e *event.NodeExecutionEvent) error {
	t.Helper()
	_, err := s.CreateNodeEvent(t.Context(), &admin.NodeExecutionEventRequest{Event: e})
	return err
}

func TestANodeIsRecordedFromItsFirstEventToItsEnd(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	queued := nodeEvent(core.NodeExecution_QUEUED, 1)
	queued.SpecNodeId, queued.IsParent = "n0", true
	queued.InputValue = &event.NodeExecutionEvent_InputUri{InputUri: "s3://meta/inputs.pb"}
	ended := nodeEvent(core.NodeExecution_SUCCEEDED, 9)
	ended.OutputResult = &event.NodeExecutionEvent_OutputUri{OutputUri: "s3://meta/outputs.pb"}
	for _, e := range []*event.NodeExecutionEvent{queued, nodeEvent(core.NodeExecution_RUNNING, 2), ended} {
		if err := s.node(t, e); err != nil {
			t.Fatal(err)
		}
	}
	row := rows.nodes[database.NodeKeyOf(nodeID)]
	closure := read(t, row.Closure, &admin.NodeExecutionClosure{})
	if row.Phase != "SUCCEEDED" || closure.GetDuration().GetSeconds() != 7 || closure.GetOutputUri() != "s3://meta/outputs.pb" ||
		row.InputURI != "s3://meta/inputs.pb" || !closure.GetCreatedAt().AsTime().Equal(second(1).AsTime()) {
		t.Errorf("got %v, %v", row, closure)
	}
	if metadata := read(t, row.NodeExecutionMetadata, &admin.NodeExecutionMetaData{}); metadata.GetSpecNodeId() != "n0" || !metadata.GetIsParentNode() {
		t.Errorf("got %v", metadata)
	}
}

func TestANodesPhaseComesOnceAndNotAfterTheEnd(t *testing.T) {
	s, _ := newService(t, core.WorkflowExecution_RUNNING)
	for _, e := range []*event.NodeExecutionEvent{nodeEvent(core.NodeExecution_RUNNING, 1), nodeEvent(core.NodeExecution_FAILED, 2)} {
		if err := s.node(t, e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.node(t, nodeEvent(core.NodeExecution_FAILED, 3)); status.Code(err) != codes.AlreadyExists {
		t.Errorf("again: got %v", err)
	}
	err := s.node(t, nodeEvent(core.NodeExecution_RUNNING, 3))
	if !eventerrors.IsEventAlreadyInTerminalStateError(eventerrors.WrapError(err)) {
		t.Errorf("after the end: got %v", err)
	}
}

func TestANodeKnowsItsParent(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	inner := nodeEvent(core.NodeExecution_RUNNING, 1)
	inner.Id = &core.NodeExecutionIdentifier{NodeId: "n0-0-n1", ExecutionId: executionID}
	inner.ParentNodeMetadata = &event.ParentNodeExecutionMetadata{NodeId: "n0"}
	if err := s.node(t, inner); status.Code(err) != codes.NotFound {
		t.Errorf("before its parent: got %v", err)
	}
	for _, e := range []*event.NodeExecutionEvent{nodeEvent(core.NodeExecution_RUNNING, 1), inner} {
		if err := s.node(t, e); err != nil {
			t.Fatal(err)
		}
	}
	parent := rows.nodes[database.NodeKeyOf(nodeID)]
	if child := rows.nodes[database.NodeKeyOf(inner.GetId())]; child.ParentID == nil || *child.ParentID != parent.ID {
		t.Errorf("got %v", child.ParentID)
	}
}

func TestTheWorkflowOfADynamicNodeIsKept(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	workflow := &core.Identifier{ResourceType: core.ResourceType_WORKFLOW, Project: "p", Domain: "d", Name: "w", Version: "v"}
	e := nodeEvent(core.NodeExecution_DYNAMIC_RUNNING, 1)
	e.TargetMetadata = &event.NodeExecutionEvent_TaskNodeMetadata{TaskNodeMetadata: &event.TaskNodeMetadata{
		DynamicWorkflow: &event.DynamicWorkflowNodeMetadata{
			Id: workflow,
			CompiledWorkflow: &core.CompiledWorkflowClosure{
				Primary: &core.CompiledWorkflow{Template: &core.WorkflowTemplate{Id: workflow}},
			},
		},
	}}
	if err := s.node(t, e); err != nil {
		t.Fatal(err)
	}
	// A later event without it does not lose it.
	if err := s.node(t, nodeEvent(core.NodeExecution_SUCCEEDED, 2)); err != nil {
		t.Fatal(err)
	}
	reference := rows.nodes[database.NodeKeyOf(nodeID)].DynamicWorkflowRemoteClosureReference
	if want := "/metadata/admin/flytesnacks/development/a1/n0/p_d_w_v"; reference != want {
		t.Errorf("got %s, expected %s", reference, want)
	}
	stored := &core.CompiledWorkflowClosure{}
	if err := s.Objects.ReadProtobuf(t.Context(), storage.DataReference(reference), stored); err != nil || stored.GetPrimary().GetTemplate().GetId().GetName() != "w" {
		t.Errorf("got %v, %v", stored, err)
	}
}

func TestANodeOfAnUnknownExecutionIsNotFound(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	clear(rows.executions)
	if err := s.node(t, nodeEvent(core.NodeExecution_RUNNING, 1)); status.Code(err) != codes.NotFound || len(rows.nodes) != 0 {
		t.Errorf("got %v and %d rows", err, len(rows.nodes))
	}
}

func TestNodeEventsThatSayTooLittle(t *testing.T) {
	s, rows := newService(t, core.WorkflowExecution_RUNNING)
	for _, e := range []*event.NodeExecutionEvent{
		nil, {}, {Id: nodeID}, {Id: &core.NodeExecutionIdentifier{ExecutionId: executionID}, OccurredAt: second(1)},
	} {
		if err := s.node(t, e); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: got %v", e, err)
		}
	}
	if len(rows.nodes) != 0 {
		t.Errorf("got %d rows", len(rows.nodes))
	}
}
