// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// GetNodeExecution reads one node of an execution.
func (s *Service) GetNodeExecution(ctx context.Context, request *admin.NodeExecutionGetRequest) (*admin.NodeExecution, error) {
	row, err := s.node(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	return nodeMessage(row)
}

// ListNodeExecutions lists the nodes of an execution, or those inside one node of it.
func (s *Service) ListNodeExecutions(ctx context.Context, request *admin.NodeExecutionListRequest) (*admin.NodeExecutionList, error) {
	id := request.GetWorkflowExecutionId()
	if validate.Execution(id) != nil {
		return nil, refusal.Missing("execution_id")
	}
	query, err := nodeQuery(request, id)
	if err != nil {
		return nil, err
	}
	columns := database.NodeEntity.Columns
	if request.GetUniqueParentId() == "" {
		return s.nodes(ctx, query.IsNull(columns["parent_id"]).IsNull(columns["parent_task_execution_id"]))
	}
	parent, err := s.node(ctx, &core.NodeExecutionIdentifier{ExecutionId: id, NodeId: request.GetUniqueParentId()})
	if err != nil {
		return nil, err
	}
	return s.nodes(ctx, query.Is(columns["parent_id"], parent.ID))
}

// ListNodeExecutionsForTask lists the nodes that a task's attempt made.
func (s *Service) ListNodeExecutionsForTask(ctx context.Context, request *admin.NodeExecutionForTaskListRequest) (*admin.NodeExecutionList, error) {
	attempt, err := s.attempt(ctx, request.GetTaskExecutionId())
	if err != nil {
		return nil, err
	}
	query, err := nodeQuery(request, request.GetTaskExecutionId().GetNodeExecutionId().GetExecutionId())
	if err != nil {
		return nil, err
	}
	return s.nodes(ctx, query.Is(database.NodeEntity.Columns["parent_task_execution_id"], attempt.ID))
}

// GetNodeExecutionData reads inputs and outputs of a node, and the workflow that
// it made if it is a dynamic one.
func (s *Service) GetNodeExecutionData(ctx context.Context, request *admin.NodeExecutionGetDataRequest) (*admin.NodeExecutionGetDataResponse, error) {
	row, err := s.node(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	node, err := nodeMessage(row)
	if err != nil {
		return nil, err
	}
	closure := node.GetClosure()
	answer := &admin.NodeExecutionGetDataResponse{
		Inputs: &admin.UrlBlob{}, Outputs: &admin.UrlBlob{},
		FullInputs:  s.fetch(ctx, row.InputURI),
		FullOutputs: s.outputs(ctx, closure.GetOutputData(), closure.GetOutputUri()),
		FlyteUrls:   addresses(nodeAddress(node.GetId())),
	}
	if closure.GetDeckUri() != "" {
		answer.FlyteUrls.Deck = nodeAddress(node.GetId()) + "/d"
	}
	if row.DynamicWorkflowRemoteClosureReference == "" {
		return answer, nil
	}
	compiled, err := s.dynamic(ctx, row)
	if err != nil {
		return nil, err
	}
	answer.DynamicWorkflow = &admin.DynamicWorkflowNodeMetadata{
		Id: compiled.GetPrimary().GetTemplate().GetId(), CompiledWorkflow: compiled,
		DynamicJobSpecUri: closure.GetDynamicJobSpecUri(),
	}
	return answer, nil
}

// GetDynamicNodeWorkflow reads the workflow that a dynamic node made.
func (s *Service) GetDynamicNodeWorkflow(ctx context.Context, request *admin.GetDynamicNodeWorkflowRequest) (*admin.DynamicNodeWorkflowResponse, error) {
	row, err := s.node(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	if row.DynamicWorkflowRemoteClosureReference == "" {
		return nil, refusal.NotFound("dynamic workflow", request.GetId())
	}
	compiled, err := s.dynamic(ctx, row)
	if err != nil {
		return nil, err
	}
	return &admin.DynamicNodeWorkflowResponse{CompiledWorkflow: compiled}, nil
}

func (s *Service) dynamic(ctx context.Context, row *database.NodeExecution) (*core.CompiledWorkflowClosure, error) {
	compiled := &core.CompiledWorkflowClosure{}
	reference := row.DynamicWorkflowRemoteClosureReference
	if err := s.Objects.ReadProtobuf(ctx, storage.DataReference(reference), compiled); err != nil {
		return nil, refusal.Internal("unable to read WorkflowClosure from location %s : %v", reference, err)
	}
	return compiled, nil
}

func nodeQuery(request filters.Filtered, id *core.WorkflowExecutionIdentifier) (filters.Query, error) {
	query, err := filters.Parse(database.NodeEntity, request)
	if err != nil {
		return filters.Query{}, err
	}
	return ofExecution(query, database.NodeEntity, id), nil
}

func ofExecution(query filters.Query, entity *filters.Entity, id *core.WorkflowExecutionIdentifier) filters.Query {
	return query.Is(entity.Columns["execution_project"], id.GetProject()).
		Is(entity.Columns["execution_domain"], id.GetDomain()).
		Is(entity.Columns["execution_name"], id.GetName())
}

func (s *Service) nodes(ctx context.Context, query filters.Query) (*admin.NodeExecutionList, error) {
	rows, err := s.Store.Nodes(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "node execution", "")
	}
	list := &admin.NodeExecutionList{Token: query.Next(len(rows))}
	for i := range rows {
		node, err := nodeMessage(&rows[i])
		if err != nil {
			return nil, err
		}
		trim(node.GetClosure().GetError())
		list.NodeExecutions = append(list.NodeExecutions, node)
	}
	return list, nil
}

func (s *Service) node(ctx context.Context, id *core.NodeExecutionIdentifier) (*database.NodeExecution, error) {
	if err := validate.Node(id); err != nil {
		return nil, err
	}
	row, err := s.Store.Node(ctx, database.NodeKeyOf(id))
	if err != nil {
		return nil, refusal.FromDatabase(err, "node execution", id)
	}
	return row, nil
}

func nodeMessage(row *database.NodeExecution) (*admin.NodeExecution, error) {
	closure, metadata := &admin.NodeExecutionClosure{}, &admin.NodeExecutionMetaData{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return nil, err
	}
	if err := messages.Decode(row.NodeExecutionMetadata, metadata); err != nil {
		return nil, err
	}
	return &admin.NodeExecution{Id: row.NodeKey.Identifier(), InputUri: row.InputURI, Closure: closure, Metadata: metadata}, nil
}

func nodeAddress(id *core.NodeExecutionIdentifier) string {
	execution := id.GetExecutionId()
	return fmt.Sprintf("flyte://v1/%s/%s/%s/%s", execution.GetProject(), execution.GetDomain(), execution.GetName(), id.GetNodeId())
}

// addresses are those by which GetData of DataProxyService finds inputs and outputs.
func addresses(base string) *admin.FlyteURLs {
	return &admin.FlyteURLs{Inputs: base + "/i", Outputs: base + "/o"}
}
