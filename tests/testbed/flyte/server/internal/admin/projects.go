// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flytestdlib/version"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

const (
	maxNameLength        = 64
	maxDescriptionLength = 300
)

// Projects answers for the version, the domains and the projects.
type Projects struct{ Store database.Projects }

// GetVersion answers what the libraries were built as. The published image is
// built without a version, so both say "unknown".
func (p *Projects) GetVersion(context.Context, *admin.GetVersionRequest) (*admin.GetVersionResponse, error) {
	return &admin.GetVersionResponse{ControlPlaneVersion: &admin.Version{
		Build: version.Build, Version: version.Version, BuildTime: version.BuildTime,
	}}, nil
}

// GetDomains lists the domains of the configuration.
func (p *Projects) GetDomains(context.Context, *admin.GetDomainRequest) (*admin.GetDomainsResponse, error) {
	return &admin.GetDomainsResponse{Domains: domains()}, nil
}

// ListProjects lists by identifier unless another order is asked for, without a
// filter those that are not archived.
func (p *Projects) ListProjects(ctx context.Context, request *admin.ProjectListRequest) (*admin.Projects, error) {
	query, err := filters.ParseUnlimited(database.ProjectEntity, request)
	if err != nil {
		return nil, err
	}
	if query.Order == "" {
		query.Order = database.ProjectEntity.Columns["identifier"]
	}
	if request.GetFilters() == "" {
		query = database.NotArchived(query)
	}
	rows, err := p.Store.Find(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "project", "")
	}
	answer := &admin.Projects{Token: query.Next(len(rows))}
	for _, row := range rows {
		project, err := message(row)
		if err != nil {
			return nil, err
		}
		answer.Projects = append(answer.Projects, project)
	}
	return answer, nil
}

// GetProject reads one project.
func (p *Projects) GetProject(ctx context.Context, request *admin.ProjectGetRequest) (*admin.Project, error) {
	row, err := p.Store.Get(ctx, request.GetId())
	if err != nil {
		return nil, refusal.FromDatabase(err, "project", request.GetId())
	}
	return message(*row)
}

// RegisterProject creates a project; its namespaces follow with the next pass
// over the cluster resources.
func (p *Projects) RegisterProject(ctx context.Context, request *admin.ProjectRegisterRequest) (*admin.ProjectRegisterResponse, error) {
	project := request.GetProject()
	if project.GetName() == "" {
		return nil, refusal.Missing("project_name")
	}
	row, err := checked(project)
	if err != nil {
		return nil, err
	}
	if err := p.Store.Create(ctx, row); err != nil {
		return nil, refusal.FromDatabase(err, "project", project.GetId())
	}
	return &admin.ProjectRegisterResponse{}, nil
}

// UpdateProject changes name, description, labels and state.
func (p *Projects) UpdateProject(ctx context.Context, project *admin.Project) (*admin.ProjectUpdateResponse, error) {
	if _, err := p.Store.Get(ctx, project.GetId()); err != nil {
		return nil, refusal.FromDatabase(err, "project", project.GetId())
	}
	row, err := checked(project)
	if err != nil {
		return nil, err
	}
	if err := p.Store.Update(ctx, row); err != nil {
		return nil, refusal.FromDatabase(err, "project", project.GetId())
	}
	return &admin.ProjectUpdateResponse{}, nil
}

// checked turns a project of a request into a row, by flyteadmin's rules.
func checked(project *admin.Project) (*database.Project, error) {
	if project.GetId() == "" {
		return nil, refusal.Missing("project_id")
	}
	if err := validate.Labels(project.GetLabels()); err != nil {
		return nil, err
	}
	if problems := validation.IsDNS1123Label(project.GetId()); len(problems) > 0 {
		return nil, refusal.Invalid("invalid project id [%s]: %v", project.GetId(), problems)
	}
	if len(project.GetName()) > maxNameLength {
		return nil, refusal.Invalid("project_name cannot exceed %d characters", maxNameLength)
	}
	if len(project.GetDescription()) > maxDescriptionLength {
		return nil, refusal.Invalid("project_description cannot exceed %d characters", maxDescriptionLength)
	}
	if project.GetDomains() != nil {
		return nil, refusal.Invalid("domains are set for the whole system, not for a project: leave them out of the request")
	}
	labels, err := messages.Encode(&admin.Project{Labels: project.GetLabels()})
	if err != nil {
		return nil, err
	}
	state := int32(project.GetState())
	return &database.Project{
		Identifier: project.GetId(), Name: project.GetName(), Description: project.GetDescription(),
		Labels: labels, State: &state,
	}, nil
}

func message(row database.Project) (*admin.Project, error) {
	project := &admin.Project{}
	if err := messages.Decode(row.Labels, project); err != nil {
		return nil, err
	}
	project.Id, project.Name, project.Description = row.Identifier, row.Name, row.Description
	project.State = admin.Project_ProjectState(*row.State)
	project.Domains = domains()
	return project, nil
}

func domains() []*admin.Domain {
	var list []*admin.Domain
	for _, domain := range settings.GetDomains() {
		list = append(list, &admin.Domain{Id: domain.ID, Name: domain.Name})
	}
	return list
}
