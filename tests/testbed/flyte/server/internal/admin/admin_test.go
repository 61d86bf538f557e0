// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/events"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/registry"
)

// onlyFlytesnacks is a database with one project.
type onlyFlytesnacks struct{}

func (onlyFlytesnacks) Get(_ context.Context, identifier string) (*database.Project, error) {
	if identifier != "flytesnacks" {
		return nil, database.ErrNotFound
	}
	active := int32(admin.Project_ACTIVE)
	return &database.Project{Identifier: identifier, State: &active}, nil
}

// The parts are put together by embedding: a second one with the same method
// would hide both.
func TestEveryPartIsReached(t *testing.T) {
	var s service.AdminServiceServer = &Service{
		Projects: &Projects{}, Attributes: &Attributes{}, Service: &registry.Service{},
		Executions: Executions{&executions.Service{}}, Events: Events{&events.Service{}},
	}
	for name, call := range map[string]func(context.Context) error{
		"projects": func(ctx context.Context) error { _, err := s.RegisterProject(ctx, nil); return err },
		"attributes": func(ctx context.Context) error {
			_, err := s.ListMatchableAttributes(ctx, &admin.ListMatchableAttributesRequest{ResourceType: 99})
			return err
		},
		"registry":   func(ctx context.Context) error { _, err := s.CreateTask(ctx, nil); return err },
		"executions": func(ctx context.Context) error { _, err := s.CreateExecution(ctx, nil); return err },
		"events":     func(ctx context.Context) error { _, err := s.CreateWorkflowEvent(ctx, nil); return err },
	} {
		if err := call(t.Context()); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := s.RelaunchExecution(t.Context(), nil); status.Code(err) != codes.Unimplemented {
		t.Errorf("what nobody answers: got %v", err)
	}
}

func TestNobodyHasSetAttributes(t *testing.T) {
	a := &Attributes{Store: onlyFlytesnacks{}}
	for _, test := range []struct {
		project string
		kind    admin.MatchableResource
		want    codes.Code
	}{
		{"flytesnacks", admin.MatchableResource_TASK_RESOURCE, codes.NotFound},
		{"flytesnacks", admin.MatchableResource_WORKFLOW_EXECUTION_CONFIG, codes.OK},
		{"nowhere", admin.MatchableResource_TASK_RESOURCE, codes.InvalidArgument},
	} {
		answer, err := a.GetProjectAttributes(t.Context(), &admin.ProjectAttributesGetRequest{Project: test.project, ResourceType: test.kind})
		if status.Code(err) != test.want {
			t.Errorf("%+v: got %v", test, err)
		}
		if parallelism := answer.GetAttributes().GetMatchingAttributes().GetWorkflowExecutionConfig().GetMaxParallelism(); err == nil && parallelism != 25 {
			t.Errorf("%+v: got %d", test, parallelism)
		}
	}
	_, err := a.GetProjectDomainAttributes(t.Context(), &admin.ProjectDomainAttributesGetRequest{Project: "flytesnacks", Domain: "development"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
}

func TestProjectsThatAreRefused(t *testing.T) {
	for name, project := range map[string]*admin.Project{
		"no id":     {Name: "x"},
		"no label":  {Id: "a b", Name: "x"},
		"bad label": {Id: "x", Name: "x", Labels: &admin.Labels{Values: map[string]string{"a b": "c"}}},
		"domains":   {Id: "x", Name: "x", Domains: []*admin.Domain{{Id: "d"}}},
	} {
		if _, err := checked(project); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", name, err)
		}
	}
	archived, err := checked(&admin.Project{Id: "x", Name: "x", State: admin.Project_ARCHIVED})
	if err != nil || *archived.State != int32(admin.Project_ARCHIVED) {
		t.Errorf("got %v, %v", archived, err)
	}
}
