// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package admin is the part of flyteadmin's AdminService that the test bed has:
// version, domains and projects. Every other call answers Unimplemented.
package admin

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/flyteorg/flyte/flytestdlib/version"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/settings"
)

const (
	maxNameLength        = 64
	maxDescriptionLength = 300
)

// Service answers AdminService calls from the database.
type Service struct {
	service.UnimplementedAdminServiceServer
	Projects database.Projects
}

// GetVersion answers what the libraries were built as. The published image is
// built without a version, so both say "unknown".
func (s *Service) GetVersion(context.Context, *admin.GetVersionRequest) (*admin.GetVersionResponse, error) {
	return &admin.GetVersionResponse{ControlPlaneVersion: &admin.Version{
		Build: version.Build, Version: version.Version, BuildTime: version.BuildTime,
	}}, nil
}

// GetDomains lists the domains of the configuration.
func (s *Service) GetDomains(context.Context, *admin.GetDomainRequest) (*admin.GetDomainsResponse, error) {
	return &admin.GetDomainsResponse{Domains: domains()}, nil
}

// ListProjects lists by identifier, in pages if the request has a limit.
func (s *Service) ListProjects(ctx context.Context, request *admin.ProjectListRequest) (*admin.Projects, error) {
	if request.GetFilters() != "" || request.GetSortBy() != nil {
		return nil, status.Error(codes.InvalidArgument, "this test-bed server lists projects without filters and sort order")
	}
	offset := 0
	if token := request.GetToken(); token != "" {
		var err error
		if offset, err = strconv.Atoi(token); err != nil || offset < 0 {
			return nil, status.Errorf(codes.InvalidArgument, "invalid pagination token %s for ListProjects", token)
		}
	}
	rows, err := s.Projects.List(ctx, offset, int(request.GetLimit()))
	if err != nil {
		return nil, internal(err)
	}
	answer := &admin.Projects{}
	for _, row := range rows {
		project, err := message(row)
		if err != nil {
			return nil, internal(err)
		}
		answer.Projects = append(answer.Projects, project)
	}
	if len(rows) > 0 && len(rows) == int(request.GetLimit()) {
		answer.Token = strconv.Itoa(offset + len(rows))
	}
	return answer, nil
}

// GetProject reads one project.
func (s *Service) GetProject(ctx context.Context, request *admin.ProjectGetRequest) (*admin.Project, error) {
	row, err := s.Projects.Get(ctx, request.GetId())
	if errors.Is(err, database.ErrNotFound) {
		return nil, missing(request.GetId())
	}
	if err != nil {
		return nil, internal(err)
	}
	return message(*row)
}

// RegisterProject creates a project; its namespaces follow with the next pass
// over the cluster resources.
func (s *Service) RegisterProject(ctx context.Context, request *admin.ProjectRegisterRequest) (*admin.ProjectRegisterResponse, error) {
	project := request.GetProject()
	if project.GetName() == "" {
		return nil, status.Error(codes.InvalidArgument, "missing project_name")
	}
	row, err := checked(project)
	if err != nil {
		return nil, err
	}
	if err := s.Projects.Create(ctx, row); errors.Is(err, database.ErrExists) {
		return nil, status.Errorf(codes.AlreadyExists, "project %s already exists", project.GetId())
	} else if err != nil {
		return nil, internal(err)
	}
	return &admin.ProjectRegisterResponse{}, nil
}

// UpdateProject changes name, description, labels and state.
func (s *Service) UpdateProject(ctx context.Context, project *admin.Project) (*admin.ProjectUpdateResponse, error) {
	row, err := checked(project)
	if err != nil {
		return nil, err
	}
	if _, err := s.Projects.Get(ctx, project.GetId()); errors.Is(err, database.ErrNotFound) {
		return nil, missing(project.GetId())
	} else if err != nil {
		return nil, internal(err)
	}
	if err := s.Projects.Update(ctx, row); err != nil {
		return nil, internal(err)
	}
	return &admin.ProjectUpdateResponse{}, nil
}

// checked turns a project of a request into a row, by flyteadmin's rules.
func checked(project *admin.Project) (*database.Project, error) {
	if project.GetId() == "" {
		return nil, status.Error(codes.InvalidArgument, "missing project_id")
	}
	if problems := validation.IsDNS1123Label(project.GetId()); len(problems) > 0 {
		return nil, status.Errorf(codes.InvalidArgument, "invalid project id [%s]: %v", project.GetId(), problems)
	}
	if len(project.GetName()) > maxNameLength {
		return nil, status.Errorf(codes.InvalidArgument, "project_name cannot exceed %d characters", maxNameLength)
	}
	if len(project.GetDescription()) > maxDescriptionLength {
		return nil, status.Errorf(codes.InvalidArgument, "project_description cannot exceed %d characters", maxDescriptionLength)
	}
	if project.GetDomains() != nil {
		return nil, status.Error(codes.InvalidArgument, "domains are set for the whole system, not for a project: leave them out of the request")
	}
	labels, err := proto.Marshal(&admin.Project{Labels: project.GetLabels()})
	if err != nil {
		return nil, internal(err)
	}
	state := int32(project.GetState())
	return &database.Project{
		Identifier: project.GetId(), Name: project.GetName(), Description: project.GetDescription(),
		Labels: labels, State: &state,
	}, nil
}

func message(row database.Project) (*admin.Project, error) {
	project := &admin.Project{}
	if err := proto.Unmarshal(row.Labels, project); err != nil {
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

func missing(identifier string) error {
	return status.Errorf(codes.NotFound, "missing entity of type project with identifier %s", identifier)
}

func internal(err error) error { return status.Error(codes.Internal, err.Error()) }
