// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	"bytes"
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// CreateTask registers one version of a task.
func (s *Service) CreateTask(ctx context.Context, request *admin.TaskCreateRequest) (*admin.TaskCreateResponse, error) {
	id := request.GetId()
	if err := validate.Identifier(id, core.ResourceType_TASK); err != nil {
		return nil, err
	}
	if err := validate.Place(ctx, s.Projects, id.GetProject(), id.GetDomain()); err != nil {
		return nil, err
	}
	template := request.GetSpec().GetTemplate()
	if template == nil {
		return nil, refusal.Missing("spec")
	}
	if err := checkTask(template, settings.GetTaskResources().Limits); err != nil {
		return nil, err
	}
	template.Id = id
	compiled, err := compiler.CompileTask(template)
	if err != nil {
		return nil, refusal.Invalid("task failed compilation with %v", err)
	}
	sum, err := digest(ctx, compiled)
	if err != nil {
		return nil, err
	}
	closure, err := messages.Encode(&admin.TaskClosure{CompiledTask: compiled, CreatedAt: timestamppb.Now()})
	if err != nil {
		return nil, err
	}
	err = s.Store.Add(ctx, &database.Task{
		Key: database.KeyOf(id), Closure: closure, Digest: sum, Type: compiled.GetTemplate().GetType(),
		ShortDescription: request.GetSpec().GetDescription().GetShortDescription(),
	})
	if errors.Is(err, database.ErrExists) {
		return nil, s.compareTask(ctx, id, sum)
	}
	if err != nil {
		return nil, refusal.FromDatabase(err, "task", id)
	}
	return &admin.TaskCreateResponse{}, nil
}

func (s *Service) compareTask(ctx context.Context, id *core.Identifier, sum []byte) error {
	row, err := s.Store.Task(ctx, database.KeyOf(id))
	if err != nil {
		return refusal.FromDatabase(err, "TASK", id)
	}
	if bytes.Equal(row.Digest, sum) {
		return refusal.Exists("task with identical structure already exists")
	}
	return refusal.Invalid("%s: a task with different structure already exists, register this one as a new version", id.GetName())
}

// GetTask reads one version of a task. As in flyteadmin, and unlike for the other
// kinds, the identifier need not say that it is a task's.
func (s *Service) GetTask(ctx context.Context, request *admin.ObjectGetRequest) (*admin.Task, error) {
	if err := validate.Complete(request.GetId()); err != nil {
		return nil, err
	}
	row, err := s.Store.Task(ctx, database.KeyOf(request.GetId()))
	if err != nil {
		return nil, refusal.FromDatabase(err, "TASK", request.GetId())
	}
	return taskMessage(row)
}

// ListTasks lists versions of tasks.
func (s *Service) ListTasks(ctx context.Context, request *admin.ResourceListRequest) (*admin.TaskList, error) {
	query, err := scoped(database.TaskEntity, request)
	if err != nil {
		return nil, err
	}
	rows, err := s.Store.Tasks(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "TASK", request.GetId())
	}
	list := &admin.TaskList{Token: query.Next(len(rows))}
	for i := range rows {
		task, err := taskMessage(&rows[i])
		if err != nil {
			return nil, err
		}
		list.Tasks = append(list.Tasks, task)
	}
	return list, nil
}

// ListTaskIds lists the names of tasks.
func (s *Service) ListTaskIds(ctx context.Context, request *admin.NamedEntityIdentifierListRequest) (*admin.NamedEntityIdentifierList, error) {
	return s.names(ctx, "tasks", database.TaskEntity, request)
}

func taskMessage(row *database.Task) (*admin.Task, error) {
	closure := &admin.TaskClosure{}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return nil, err
	}
	closure.CreatedAt = timestamppb.New(row.CreatedAt)
	return &admin.Task{
		Id: row.Key.Identifier(core.ResourceType_TASK), Closure: closure, ShortDescription: row.ShortDescription,
	}, nil
}
