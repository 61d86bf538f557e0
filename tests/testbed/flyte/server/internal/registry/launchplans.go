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
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/validators"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// noSchedule is the schedule_type of a launch plan without schedule: the only ones here.
const noSchedule = "NONE"

// CreateLaunchPlan registers one version of a launch plan. It is inactive at first.
func (s *Service) CreateLaunchPlan(ctx context.Context, request *admin.LaunchPlanCreateRequest) (*admin.LaunchPlanCreateResponse, error) {
	id, workflowID := request.GetId(), request.GetSpec().GetWorkflowId()
	if err := validate.Identifier(workflowID, core.ResourceType_WORKFLOW); err != nil {
		return nil, err
	}
	workflow, err := s.Store.Workflow(ctx, database.KeyOf(workflowID))
	if err != nil {
		return nil, refusal.FromDatabase(err, "WORKFLOW", workflowID)
	}
	if err := validate.Identifier(id, core.ResourceType_LAUNCH_PLAN); err != nil {
		return nil, err
	}
	if err := validate.Place(ctx, s.Projects, id.GetProject(), id.GetDomain()); err != nil {
		return nil, err
	}
	signature := &core.TypedInterface{}
	if err := messages.Decode(workflow.TypedInterface, signature); err != nil {
		return nil, err
	}
	if err := checkPlan(request.GetSpec()); err != nil {
		return nil, err
	}
	expected, err := expectedInputs(signature.GetInputs(), request.GetSpec())
	if err != nil {
		return nil, err
	}
	plan := &admin.LaunchPlan{Id: id, Spec: request.GetSpec(), Closure: &admin.LaunchPlanClosure{
		ExpectedInputs: expected, ExpectedOutputs: signature.GetOutputs(),
	}}
	plan.Spec.DefaultInputs = expected
	row, err := planRow(ctx, plan, workflow.ID)
	if err != nil {
		return nil, err
	}
	existing, err := s.Store.LaunchPlan(ctx, row.Key)
	if err == nil {
		if bytes.Equal(existing.Digest, row.Digest) {
			return nil, refusal.Exists("launch plan with identical structure already exists")
		}
		return nil, refusal.Invalid("%s: a launch plan with different structure already exists, register this one as a new version", id.GetName())
	}
	if !errors.Is(err, database.ErrNotFound) {
		return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", id)
	}
	if err := s.Store.Add(ctx, row); err != nil {
		return nil, refusal.FromDatabase(err, "launch plan", id)
	}
	return &admin.LaunchPlanCreateResponse{}, nil
}

func planRow(ctx context.Context, plan *admin.LaunchPlan, workflow uint) (*database.LaunchPlan, error) {
	sum, err := digest(ctx, plan)
	if err != nil {
		return nil, err
	}
	spec, err := messages.Encode(plan.GetSpec())
	if err != nil {
		return nil, err
	}
	closure, err := messages.Encode(plan.GetClosure())
	if err != nil {
		return nil, err
	}
	inactive := int32(admin.LaunchPlanState_INACTIVE)
	return &database.LaunchPlan{
		Key: database.KeyOf(plan.GetId()), Spec: spec, Closure: closure, WorkflowID: workflow,
		State: &inactive, Digest: sum, ScheduleType: noSchedule,
	}, nil
}

// checkPlan refuses what this server could only promise.
func checkPlan(spec *admin.LaunchPlanSpec) error {
	if err := validate.Labels(spec.GetLabels()); err != nil {
		return err
	}
	metadata := spec.GetEntityMetadata()
	schedule := metadata.GetSchedule()
	switch {
	case schedule.GetCronExpression() != "" || schedule.GetRate() != nil || schedule.GetCronSchedule() != nil:
		return refusal.Invalid("the launch plan has a schedule, but this test-bed server has no scheduler: register it without, or test with Flyte itself")
	case len(metadata.GetNotifications()) > 0:
		return refusal.Invalid("the launch plan has notifications, but this test-bed server sends none: register it without, or test with Flyte itself")
	case spec.GetConcurrencyPolicy() != nil:
		return refusal.Invalid("the launch plan has a concurrency policy, but this test-bed server knows none: register it without, or test with Flyte itself")
	case metadata.GetLaunchConditions() != nil:
		return refusal.Invalid("launch condition must be empty, found %v", metadata.GetLaunchConditions())
	}
	if err := validate.Literals(spec.GetFixedInputs(), "fixed_inputs"); err != nil {
		return err
	}
	return checkDefaults(spec.GetDefaultInputs())
}

func checkDefaults(defaults *core.ParameterMap) error {
	for name, parameter := range defaults.GetParameters() {
		switch {
		case name == "":
			return refusal.Invalid("missing key in default_inputs")
		case parameter.GetArtifactQuery() != nil:
			return refusal.Invalid("artifact mode not enabled but query found default_inputs %s", name)
		case parameter.GetVar().GetType() == nil:
			return refusal.Invalid("parameter %s in default_inputs has no variable with a type", name)
		case parameter.GetDefault() == nil && !parameter.GetRequired():
			return refusal.Invalid("variable %s in default_inputs has neither default, nor is required", name)
		}
		if parameter.GetDefault() == nil {
			continue
		}
		if err := validate.Typed(name, "default", parameter.GetDefault(), parameter.GetVar().GetType()); err != nil {
			return err
		}
	}
	return nil
}

// expectedInputs are those that an execution of the plan may or must set: the
// workflow's without the fixed ones, with the plan's defaults.
func expectedInputs(inputs *core.VariableMap, spec *admin.LaunchPlanSpec) (*core.ParameterMap, error) {
	defaults, fixed := spec.GetDefaultInputs().GetParameters(), spec.GetFixedInputs().GetLiterals()
	for name, parameter := range defaults {
		variable, ok := inputs.GetVariables()[name]
		if !ok {
			return nil, refusal.Invalid("unexpected default_input %s", name)
		}
		if !validators.AreTypesCastable(parameter.GetVar().GetType(), variable.GetType()) {
			return nil, refusal.Invalid("invalid default_input wrong type %s, expected %v, got %v instead",
				name, variable.GetType(), parameter.GetVar().GetType())
		}
	}
	for name, literal := range fixed {
		variable, ok := inputs.GetVariables()[name]
		if !ok {
			return nil, refusal.Invalid("unexpected fixed_input %s", name)
		}
		if err := validate.Typed(name, "fixed_input", literal, variable.GetType()); err != nil {
			return nil, err
		}
	}
	expected := map[string]*core.Parameter{}
	for name, variable := range inputs.GetVariables() {
		if parameter, ok := defaults[name]; ok {
			expected[name] = parameter
		} else if _, ok := fixed[name]; !ok {
			expected[name] = &core.Parameter{
				Var:      &core.Variable{Type: variable.GetType(), Description: variable.GetDescription()},
				Behavior: &core.Parameter_Required{Required: true},
			}
		}
	}
	return &core.ParameterMap{Parameters: expected}, nil
}

// GetLaunchPlan reads one version of a launch plan.
func (s *Service) GetLaunchPlan(ctx context.Context, request *admin.ObjectGetRequest) (*admin.LaunchPlan, error) {
	if err := validate.Asked(request.GetId(), core.ResourceType_LAUNCH_PLAN); err != nil {
		return nil, err
	}
	row, err := s.Store.LaunchPlan(ctx, database.KeyOf(request.GetId()))
	if err != nil {
		return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", request.GetId())
	}
	return planMessage(row)
}

// GetActiveLaunchPlan reads the active version of a launch plan.
func (s *Service) GetActiveLaunchPlan(ctx context.Context, request *admin.ActiveLaunchPlanRequest) (*admin.LaunchPlan, error) {
	id := request.GetId()
	if err := validate.Name(id); err != nil {
		return nil, err
	}
	columns := database.PlanEntity.Columns
	query := active(filters.Query{Limit: 1}, id.GetProject(), id.GetDomain()).Is(columns["name"], id.GetName())
	rows, err := s.Store.LaunchPlans(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", id)
	}
	if len(rows) == 0 {
		return nil, refusal.NotFound("active launch plan", id)
	}
	return planMessage(&rows[0])
}

// ListActiveLaunchPlans lists the active versions.
func (s *Service) ListActiveLaunchPlans(ctx context.Context, request *admin.ActiveLaunchPlanListRequest) (*admin.LaunchPlanList, error) {
	if err := validate.Scope(request.GetProject(), request.GetDomain()); err != nil {
		return nil, err
	}
	query, err := filters.Parse(database.PlanEntity, request)
	if err != nil {
		return nil, err
	}
	return s.plans(ctx, active(query, request.GetProject(), request.GetDomain()))
}

// ListLaunchPlans lists versions of launch plans.
func (s *Service) ListLaunchPlans(ctx context.Context, request *admin.ResourceListRequest) (*admin.LaunchPlanList, error) {
	query, err := scoped(database.PlanEntity, request)
	if err != nil {
		return nil, err
	}
	return s.plans(ctx, query)
}

// ListLaunchPlanIds lists the names of launch plans.
func (s *Service) ListLaunchPlanIds(ctx context.Context, request *admin.NamedEntityIdentifierListRequest) (*admin.NamedEntityIdentifierList, error) {
	return s.names(ctx, "launch_plans", database.PlanEntity, request)
}

// UpdateLaunchPlan makes a version the active one or inactive.
func (s *Service) UpdateLaunchPlan(ctx context.Context, request *admin.LaunchPlanUpdateRequest) (*admin.LaunchPlanUpdateResponse, error) {
	err := validate.Complete(request.GetId())
	switch state := request.GetState(); state {
	case admin.LaunchPlanState_ACTIVE:
	case admin.LaunchPlanState_INACTIVE:
		// Only here does flyteadmin want to read the kind too.
		err = validate.Identifier(request.GetId(), core.ResourceType_LAUNCH_PLAN)
	default:
		err = refusal.Invalid("unrecognized launch plan state %v for update for launch plan [%v]", state, request.GetId())
	}
	if err != nil {
		return nil, err
	}
	err = s.Store.Activate(ctx, database.KeyOf(request.GetId()), request.GetState() == admin.LaunchPlanState_ACTIVE)
	if err != nil {
		return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", request.GetId())
	}
	return &admin.LaunchPlanUpdateResponse{}, nil
}

func active(query filters.Query, project, domain string) filters.Query {
	columns := database.PlanEntity.Columns
	return query.Is(columns["project"], project).Is(columns["domain"], domain).
		Is(columns["state"], int32(admin.LaunchPlanState_ACTIVE))
}

func (s *Service) plans(ctx context.Context, query filters.Query) (*admin.LaunchPlanList, error) {
	rows, err := s.Store.LaunchPlans(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", "")
	}
	list := &admin.LaunchPlanList{Token: query.Next(len(rows))}
	for i := range rows {
		plan, err := planMessage(&rows[i])
		if err != nil {
			return nil, err
		}
		list.LaunchPlans = append(list.LaunchPlans, plan)
	}
	return list, nil
}

func planMessage(row *database.LaunchPlan) (*admin.LaunchPlan, error) {
	spec, closure := &admin.LaunchPlanSpec{}, &admin.LaunchPlanClosure{}
	if err := messages.Decode(row.Spec, spec); err != nil {
		return nil, err
	}
	if err := messages.Decode(row.Closure, closure); err != nil {
		return nil, err
	}
	closure.State = admin.LaunchPlanState(*row.State)
	closure.CreatedAt, closure.UpdatedAt = timestamppb.New(row.CreatedAt), timestamppb.New(row.UpdatedAt)
	return &admin.LaunchPlan{Id: row.Key.Identifier(core.ResourceType_LAUNCH_PLAN), Spec: spec, Closure: closure}, nil
}
