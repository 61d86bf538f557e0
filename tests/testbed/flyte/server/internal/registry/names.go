// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// generated is how the names of the workflows begin that run a single task.
const generated = ".flytegen."

var tableOf = map[core.ResourceType]string{
	core.ResourceType_TASK: "tasks", core.ResourceType_WORKFLOW: "workflows", core.ResourceType_LAUNCH_PLAN: "launch_plans",
}

// GetNamedEntity reads the metadata of a name.
func (s *Service) GetNamedEntity(ctx context.Context, request *admin.NamedEntityGetRequest) (*admin.NamedEntity, error) {
	id := request.GetId()
	if err := checkKind(request.GetResourceType()); err != nil {
		return nil, err
	}
	if err := validate.Name(id); err != nil {
		return nil, err
	}
	query := inScope(filters.Query{Limit: 1}, id.GetProject(), id.GetDomain()).
		Is(database.NamedEntity.Columns["name"], id.GetName())
	list, err := s.described(ctx, request.GetResourceType(), query)
	if err != nil {
		return nil, err
	}
	if len(list.GetEntities()) == 0 {
		return nil, refusal.NotFound(request.GetResourceType().String(), id)
	}
	return list.GetEntities()[0], nil
}

// ListNamedEntities lists names with their metadata: without filters those that a user chose.
func (s *Service) ListNamedEntities(ctx context.Context, request *admin.NamedEntityListRequest) (*admin.NamedEntityList, error) {
	if err := validate.Scope(request.GetProject(), request.GetDomain()); err != nil {
		return nil, err
	}
	if err := checkKind(request.GetResourceType()); err != nil {
		return nil, err
	}
	query, err := filters.Parse(database.NamedEntity, request)
	if err != nil {
		return nil, err
	}
	if request.GetFilters() == "" {
		query.Where = append(query.Where, filters.Condition{SQL: "entities.name NOT LIKE ?", Value: generated + "%"})
	}
	return s.described(ctx, request.GetResourceType(), inScope(query, request.GetProject(), request.GetDomain()))
}

// UpdateNamedEntity sets description and state of a name.
func (s *Service) UpdateNamedEntity(ctx context.Context, request *admin.NamedEntityUpdateRequest) (*admin.NamedEntityUpdateResponse, error) {
	if request.GetMetadata() == nil {
		return nil, refusal.Missing("metadata")
	}
	if _, err := s.GetNamedEntity(ctx, &admin.NamedEntityGetRequest{ResourceType: request.GetResourceType(), Id: request.GetId()}); err != nil {
		return nil, err
	}
	if err := s.describe(ctx, request.GetResourceType(), request.GetId(), request.GetMetadata()); err != nil {
		return nil, err
	}
	return &admin.NamedEntityUpdateResponse{}, nil
}

func (s *Service) describe(ctx context.Context, kind core.ResourceType, id *admin.NamedEntityIdentifier, metadata *admin.NamedEntityMetadata) error {
	state := int32(metadata.GetState())
	err := s.Store.Describe(ctx, &database.NamedEntityMetadata{
		ResourceType: kind, Project: id.GetProject(), Domain: id.GetDomain(), Name: id.GetName(),
		Description: metadata.GetDescription(), State: &state,
	})
	return refusal.FromDatabase(err, kind.String(), id)
}

func (s *Service) described(ctx context.Context, kind core.ResourceType, query filters.Query) (*admin.NamedEntityList, error) {
	rows, err := s.Store.Described(ctx, tableOf[kind], int32(kind), query)
	if err != nil {
		return nil, refusal.FromDatabase(err, kind.String(), "")
	}
	list := &admin.NamedEntityList{Token: query.Next(len(rows))}
	for _, row := range rows {
		metadata := &admin.NamedEntityMetadata{Description: row.Description}
		if row.State != nil {
			metadata.State = admin.NamedEntityState(*row.State)
		}
		list.Entities = append(list.Entities, &admin.NamedEntity{
			ResourceType: kind,
			Id:           &admin.NamedEntityIdentifier{Project: row.Project, Domain: row.Domain, Name: row.Name.Name},
			Metadata:     metadata,
		})
	}
	return list, nil
}

func checkKind(kind core.ResourceType) error {
	if _, ok := tableOf[kind]; !ok {
		return refusal.Invalid("invalid value for resource_type: %v", kind)
	}
	return nil
}

func inScope(query filters.Query, project, domain string) filters.Query {
	columns := database.NamedEntity.Columns
	return query.Is(columns["project"], project).Is(columns["domain"], domain)
}
