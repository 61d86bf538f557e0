// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package admin

import (
	"context"
	"errors"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// Attributes answers as a server on which nobody has set attributes; setting them
// is Unimplemented.
type Attributes struct{ Store validate.Projects }

// GetProjectDomainAttributes finds none.
func (a *Attributes) GetProjectDomainAttributes(ctx context.Context, request *admin.ProjectDomainAttributesGetRequest) (*admin.ProjectDomainAttributesGetResponse, error) {
	if err := validate.Place(ctx, a.Store, request.GetProject(), request.GetDomain()); err != nil {
		return nil, err
	}
	return nil, refusal.NotFound(request.GetResourceType().String(), request.GetProject()+"-"+request.GetDomain())
}

// GetWorkflowAttributes finds none.
func (a *Attributes) GetWorkflowAttributes(ctx context.Context, request *admin.WorkflowAttributesGetRequest) (*admin.WorkflowAttributesGetResponse, error) {
	if err := validate.Place(ctx, a.Store, request.GetProject(), request.GetDomain()); err != nil {
		return nil, err
	}
	if request.GetWorkflow() == "" {
		return nil, refusal.Missing("name")
	}
	return nil, refusal.NotFound(request.GetResourceType().String(), request.GetWorkflow())
}

// GetProjectAttributes finds none but what the server's configuration gives to
// every execution.
func (a *Attributes) GetProjectAttributes(ctx context.Context, request *admin.ProjectAttributesGetRequest) (*admin.ProjectAttributesGetResponse, error) {
	if _, err := a.Store.Get(ctx, request.GetProject()); errors.Is(err, database.ErrNotFound) {
		return nil, refusal.Invalid("project [%s] does not exist", request.GetProject())
	} else if err != nil {
		return nil, refusal.FromDatabase(err, "project", request.GetProject())
	}
	if request.GetResourceType() != admin.MatchableResource_WORKFLOW_EXECUTION_CONFIG {
		return nil, refusal.NotFound(request.GetResourceType().String(), request.GetProject())
	}
	return &admin.ProjectAttributesGetResponse{Attributes: &admin.ProjectAttributes{
		Project: request.GetProject(),
		MatchingAttributes: &admin.MatchingAttributes{Target: &admin.MatchingAttributes_WorkflowExecutionConfig{
			WorkflowExecutionConfig: executions.Configured(settings.GetAdmin()),
		}},
	}}, nil
}

// ListMatchableAttributes lists none.
func (a *Attributes) ListMatchableAttributes(_ context.Context, request *admin.ListMatchableAttributesRequest) (*admin.ListMatchableAttributesResponse, error) {
	if _, ok := admin.MatchableResource_name[int32(request.GetResourceType())]; !ok {
		return nil, refusal.Invalid("invalid value for resource_type")
	}
	return &admin.ListMatchableAttributesResponse{}, nil
}
