// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// GetTaskExecution reads one attempt of a task.
func (s *Service) GetTaskExecution(ctx context.Context, request *admin.TaskExecutionGetRequest) (*admin.TaskExecution, error) {
	row, err := s.attempt(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	return attemptMessage(row)
}

// ListTaskExecutions lists the attempts of a node.
func (s *Service) ListTaskExecutions(ctx context.Context, request *admin.TaskExecutionListRequest) (*admin.TaskExecutionList, error) {
	id := request.GetNodeExecutionId()
	if err := validate.Node(id); err != nil {
		return nil, err
	}
	query, err := filters.Parse(database.AttemptEntity, request)
	if err != nil {
		return nil, err
	}
	query = ofExecution(query, database.AttemptEntity, id.GetExecutionId()).
		Is(database.AttemptEntity.Columns["node_id"], id.GetNodeId())
	rows, err := s.Store.Attempts(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "task execution", id)
	}
	list := &admin.TaskExecutionList{Token: query.Next(len(rows))}
	for i := range rows {
		attempt, err := attemptMessage(&rows[i])
		if err != nil {
			return nil, err
		}
		list.TaskExecutions = append(list.TaskExecutions, attempt)
	}
	return list, nil
}

// GetTaskExecutionData reads inputs and outputs of an attempt.
func (s *Service) GetTaskExecutionData(ctx context.Context, request *admin.TaskExecutionGetDataRequest) (*admin.TaskExecutionGetDataResponse, error) {
	row, err := s.attempt(ctx, request.GetId())
	if err != nil {
		return nil, err
	}
	attempt, err := attemptMessage(row)
	if err != nil {
		return nil, err
	}
	id := attempt.GetId()
	return &admin.TaskExecutionGetDataResponse{
		Inputs: &admin.UrlBlob{}, Outputs: &admin.UrlBlob{},
		FullInputs:  s.fetch(ctx, row.InputURI),
		FullOutputs: s.outputs(ctx, attempt.GetClosure().GetOutputData(), attempt.GetClosure().GetOutputUri()),
		FlyteUrls:   addresses(fmt.Sprintf("%s/%d", nodeAddress(id.GetNodeExecutionId()), id.GetRetryAttempt())),
	}, nil
}

func (s *Service) attempt(ctx context.Context, id *core.TaskExecutionIdentifier) (*database.TaskExecution, error) {
	if err := validate.Attempt(id); err != nil {
		return nil, err
	}
	row, err := s.Store.Attempt(ctx, database.AttemptKeyOf(id))
	if err != nil {
		return nil, refusal.FromDatabase(err, "task execution", id)
	}
	return row, nil
}

func attemptMessage(row *database.TaskExecution) (*admin.TaskExecution, error) {
	closure := &admin.TaskExecutionClosure{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return nil, err
	}
	return &admin.TaskExecution{Id: row.AttemptKey.Identifier(), InputUri: row.InputURI, Closure: closure}, nil
}
