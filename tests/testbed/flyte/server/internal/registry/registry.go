// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package registry keeps what clients register: tasks, workflows and launch
// plans. Flyte's own compiler judges them; what it makes of a workflow goes to
// the object store, the rest to the database.
package registry

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flytestdlib/pbhash"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// Service is the part of AdminService that registers.
type Service struct {
	Store    Store
	Projects validate.Projects
	Objects  *storage.DataStore
}

// Store is what the registry needs of the database.
type Store interface {
	Add(ctx context.Context, row any) error
	Task(ctx context.Context, key database.Key) (*database.Task, error)
	Tasks(ctx context.Context, query filters.Query) ([]database.Task, error)
	Workflow(ctx context.Context, key database.Key) (*database.Workflow, error)
	Workflows(ctx context.Context, query filters.Query) ([]database.Workflow, error)
	LaunchPlan(ctx context.Context, key database.Key) (*database.LaunchPlan, error)
	LaunchPlans(ctx context.Context, query filters.Query) ([]database.LaunchPlan, error)
	Activate(ctx context.Context, key database.Key, active bool) error
	Names(ctx context.Context, table string, query filters.Query) ([]database.Name, error)
	Described(ctx context.Context, table string, kind int32, query filters.Query) ([]database.Described, error)
	Describe(ctx context.Context, metadata *database.NamedEntityMetadata) error
}

// scoped is the query of a list of one project and domain, of one name if it is given.
func scoped(entity *filters.Entity, request *admin.ResourceListRequest) (filters.Query, error) {
	id := request.GetId()
	if id == nil {
		return filters.Query{}, refusal.Missing("id")
	}
	if err := validate.Scope(id.GetProject(), id.GetDomain()); err != nil {
		return filters.Query{}, err
	}
	query, err := filters.Parse(entity, request)
	if err != nil {
		return filters.Query{}, err
	}
	query = query.Is(entity.Columns["project"], id.GetProject()).Is(entity.Columns["domain"], id.GetDomain())
	if id.GetName() != "" {
		query = query.Is(entity.Columns["name"], id.GetName())
	}
	return query, nil
}

// names answers the three lists of names.
func (s *Service) names(ctx context.Context, table string, entity *filters.Entity, request *admin.NamedEntityIdentifierListRequest) (*admin.NamedEntityIdentifierList, error) {
	if err := validate.Scope(request.GetProject(), request.GetDomain()); err != nil {
		return nil, err
	}
	// flyteadmin ignores the filters of these lists.
	query, err := filters.Parse(entity, unfiltered{request})
	if err != nil {
		return nil, err
	}
	query = query.Is(entity.Columns["project"], request.GetProject()).Is(entity.Columns["domain"], request.GetDomain())
	rows, err := s.Store.Names(ctx, table, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, table, "")
	}
	list := &admin.NamedEntityIdentifierList{Token: query.Next(len(rows))}
	for _, row := range rows {
		list.Entities = append(list.Entities, &admin.NamedEntityIdentifier{Project: row.Project, Domain: row.Domain, Name: row.Name})
	}
	return list, nil
}

type unfiltered struct{ filters.Request }

func digest(ctx context.Context, message proto.Message) ([]byte, error) {
	sum, err := pbhash.ComputeHash(ctx, protoadapt.MessageV1Of(message))
	if err != nil {
		return nil, refusal.Internal("failed to hash %T: %v", message, err)
	}
	return sum, nil
}

// reference is where the compiled form of a workflow lies, as in flyteadmin.
func (s *Service) reference(ctx context.Context, parts ...string) (storage.DataReference, error) {
	reference, err := s.Objects.ConstructReference(ctx, s.Objects.GetBaseContainerFQN(ctx),
		slices.Concat(settings.GetAdmin().MetadataStoragePrefix, parts)...)
	if err != nil {
		return "", refusal.Internal("failed to construct a storage location for %v: %v", parts, err)
	}
	return reference, nil
}
