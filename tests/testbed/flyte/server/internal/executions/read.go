// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// longestListed is how much of an error's message a list shows.
const longestListed = 100

// GetExecution reads one execution.
func (s *Service) GetExecution(ctx context.Context, request *admin.WorkflowExecutionGetRequest) (*admin.Execution, error) {
	row, err := s.execution(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	return executionMessage(row)
}

// GetExecutionData reads inputs and outputs of an execution.
func (s *Service) GetExecutionData(ctx context.Context, request *admin.WorkflowExecutionGetDataRequest) (*admin.WorkflowExecutionGetDataResponse, error) {
	row, err := s.execution(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	execution, err := executionMessage(row)
	if err != nil {
		return nil, err
	}
	closure := execution.GetClosure()
	value := closure.GetOutputData()
	if value == nil {
		value = closure.GetOutputs().GetValues()
	}
	return &admin.WorkflowExecutionGetDataResponse{
		Inputs: &admin.UrlBlob{}, Outputs: &admin.UrlBlob{},
		FullInputs:  s.fetch(ctx, row.InputsURI),
		FullOutputs: s.outputs(ctx, value, closure.GetOutputs().GetUri()),
	}, nil
}

// ListExecutions lists executions; without a filter for the state those that are not archived.
func (s *Service) ListExecutions(ctx context.Context, request *admin.ResourceListRequest) (*admin.ExecutionList, error) {
	id := request.GetId()
	if id == nil {
		return nil, refusal.Missing("id")
	}
	if err := validate.Scope(id.GetProject(), id.GetDomain()); err != nil {
		return nil, err
	}
	query, err := filters.Parse(database.ExecutionEntity, request)
	if err != nil {
		return nil, err
	}
	columns := database.ExecutionEntity.Columns
	query = query.Is(columns["execution_project"], id.GetProject()).Is(columns["execution_domain"], id.GetDomain())
	if id.GetName() != "" {
		query = query.Is(columns["execution_name"], id.GetName())
	}
	if !query.Names("state") && !query.Names("execution.state") {
		query = query.Is(columns["state"], int32(admin.ExecutionState_EXECUTION_ACTIVE))
	}
	rows, err := s.Store.Executions(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", id)
	}
	list := &admin.ExecutionList{Token: query.Next(len(rows))}
	for i := range rows {
		execution, err := executionMessage(&rows[i])
		if err != nil {
			return nil, err
		}
		trim(execution.GetClosure().GetError())
		execution.Spec.Inputs = nil
		list.Executions = append(list.Executions, execution)
	}
	return list, nil
}

// UpdateExecution archives an execution, or takes it back.
func (s *Service) UpdateExecution(ctx context.Context, request *admin.ExecutionUpdateRequest) (*admin.ExecutionUpdateResponse, error) {
	if err := validate.Execution(request.GetId()); err != nil {
		return nil, err
	}
	err := s.Store.ChangeExecution(ctx, database.ExecutionKeyOf(request.GetId()), func(row *database.Execution) error {
		state := int32(request.GetState())
		row.State = &state
		return editClosure(row, func(closure *admin.ExecutionClosure) {
			closure.StateChangeDetails = &admin.ExecutionStateChangeDetails{
				State: request.GetState(), OccurredAt: timestamppb.New(time.Now()),
			}
		})
	})
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", request.GetId())
	}
	return &admin.ExecutionUpdateResponse{}, nil
}

// TerminateExecution asks flytepropeller to abort. The execution is ABORTING
// until flytepropeller reports that it is done.
func (s *Service) TerminateExecution(ctx context.Context, request *admin.ExecutionTerminateRequest) (*admin.ExecutionTerminateResponse, error) {
	id := request.GetId()
	if err := validate.Execution(id); err != nil {
		return nil, err
	}
	err := s.Store.ChangeExecution(ctx, database.ExecutionKeyOf(id), func(row *database.Execution) error {
		if Ended(Phase(row)) {
			return refusal.Terminal(row.Phase, "cannot abort an already terminated workflow execution")
		}
		row.Phase, row.AbortCause = core.WorkflowExecution_ABORTING.String(), request.GetCause()
		return editClosure(row, func(closure *admin.ExecutionClosure) {
			closure.Phase = core.WorkflowExecution_ABORTING
			closure.OutputResult = &admin.ExecutionClosure_AbortMetadata{
				AbortMetadata: &admin.AbortMetadata{Cause: request.GetCause()},
			}
		})
	})
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", id)
	}
	if err := s.Cluster.Delete(ctx, settings.Namespace(id.GetProject(), id.GetDomain()), id.GetName()); err != nil {
		return nil, refusal.Internal("failed to terminate execution: %v with err %v", id, err)
	}
	return &admin.ExecutionTerminateResponse{}, nil
}

func (s *Service) execution(ctx context.Context, id *core.WorkflowExecutionIdentifier) (*database.Execution, error) {
	if err := validate.Execution(id); err != nil {
		return nil, err
	}
	row, err := s.Store.Execution(ctx, database.ExecutionKeyOf(id))
	if err != nil {
		return nil, refusal.FromDatabase(err, "execution", id)
	}
	return row, nil
}

func editClosure(row *database.Execution, edit func(*admin.ExecutionClosure)) error {
	closure := &admin.ExecutionClosure{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return err
	}
	edit(closure)
	var err error
	row.Closure, err = messages.Encode(closure)
	return err
}

func executionMessage(row *database.Execution) (*admin.Execution, error) {
	spec, closure := &admin.ExecutionSpec{}, &admin.ExecutionClosure{}
	if err := messages.Decode(row.Spec, spec); err != nil {
		return nil, err
	}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return nil, err
	}
	if row.Phase == core.WorkflowExecution_ABORTED.String() && closure.GetAbortMetadata() == nil {
		closure.OutputResult = &admin.ExecutionClosure_AbortMetadata{AbortMetadata: &admin.AbortMetadata{Cause: row.AbortCause}}
	}
	return &admin.Execution{Id: row.ExecutionKey.Identifier(), Spec: spec, Closure: closure}, nil
}

func trim(problem *core.ExecutionError) {
	if message := problem.GetMessage(); len(message) > longestListed {
		problem.Message = strings.ToValidUTF8(message[:longestListed], "")
	}
}
