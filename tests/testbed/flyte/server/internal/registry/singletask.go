// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/refusal"
)

const (
	longestNodeID = 63
	usualRetries  = 3
)

// Wrapped is the workflow that runs a single task, with its launch plan.
type Wrapped struct {
	Task     *database.Task
	Workflow *database.Workflow
	Plan     *admin.LaunchPlan
}

// Wrap finds or registers the workflow of one node that runs a task.
func (s *Service) Wrap(ctx context.Context, id *core.Identifier, spec *admin.ExecutionSpec) (*Wrapped, error) {
	row, err := s.Store.Task(ctx, database.KeyOf(id))
	if err != nil {
		return nil, refusal.FromDatabase(err, "TASK", id)
	}
	task, err := taskMessage(row)
	if err != nil {
		return nil, err
	}
	workflow := around(id, task.GetClosure().GetCompiledTask().GetTemplate())
	stored, err := s.Store.Workflow(ctx, database.KeyOf(workflow.GetId()))
	if errors.Is(err, database.ErrNotFound) {
		request := &admin.WorkflowCreateRequest{Id: workflow.GetId(), Spec: &admin.WorkflowSpec{Template: workflow}}
		// Another request may be first with the same workflow.
		if _, err := s.CreateWorkflow(ctx, request); err != nil && status.Code(err) != codes.AlreadyExists {
			return nil, err
		}
		stored, err = s.Store.Workflow(ctx, database.KeyOf(workflow.GetId()))
	}
	if err != nil {
		return nil, refusal.FromDatabase(err, "WORKFLOW", workflow.GetId())
	}
	plan, err := s.wrappingPlan(ctx, workflow, stored.ID, spec)
	if err != nil {
		return nil, err
	}
	for _, kind := range []core.ResourceType{core.ResourceType_WORKFLOW, core.ResourceType_LAUNCH_PLAN} {
		name := &admin.NamedEntityIdentifier{Project: id.GetProject(), Domain: id.GetDomain(), Name: workflow.GetId().GetName()}
		if err := s.describe(ctx, kind, name, &admin.NamedEntityMetadata{State: admin.NamedEntityState_SYSTEM_GENERATED}); err != nil {
			return nil, err
		}
	}
	return &Wrapped{Task: row, Workflow: stored, Plan: plan}, nil
}

func (s *Service) wrappingPlan(ctx context.Context, workflow *core.WorkflowTemplate, workflowID uint, spec *admin.ExecutionSpec) (*admin.LaunchPlan, error) {
	id := proto.CloneOf(workflow.GetId())
	id.ResourceType = core.ResourceType_LAUNCH_PLAN
	existing, err := s.Store.LaunchPlan(ctx, database.KeyOf(id))
	if err == nil {
		return planMessage(existing)
	}
	if !errors.Is(err, database.ErrNotFound) {
		return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", id)
	}
	planSpec := &admin.LaunchPlanSpec{
		WorkflowId: workflow.GetId(), AuthRole: spec.GetAuthRole(), SecurityContext: spec.GetSecurityContext(),
	}
	if planSpec.DefaultInputs, err = expectedInputs(workflow.GetInterface().GetInputs(), planSpec); err != nil {
		return nil, err
	}
	plan := &admin.LaunchPlan{Id: id, Spec: planSpec, Closure: &admin.LaunchPlanClosure{
		ExpectedInputs: planSpec.GetDefaultInputs(), ExpectedOutputs: workflow.GetInterface().GetOutputs(),
	}}
	row, err := planRow(ctx, plan, workflowID)
	if err != nil {
		return nil, err
	}
	// Another request may have been first with the same plan.
	if err := s.Store.Add(ctx, row); err != nil && !errors.Is(err, database.ErrExists) {
		return nil, refusal.FromDatabase(err, "launch plan", id)
	}
	return plan, nil
}

// around makes the workflow of one node.
func around(id *core.Identifier, task *core.TaskTemplate) *core.WorkflowTemplate {
	node := nodeID(id.GetName())
	retries := task.GetMetadata().GetRetries()
	if retries == nil {
		retries = &core.RetryStrategy{Retries: usualRetries}
	}
	return &core.WorkflowTemplate{
		Id: &core.Identifier{
			ResourceType: core.ResourceType_WORKFLOW, Project: id.GetProject(), Domain: id.GetDomain(),
			Name: generated + id.GetName(), Version: id.GetVersion(),
		},
		Interface: task.GetInterface(),
		Nodes: []*core.Node{{
			Id:       node,
			Metadata: &core.NodeMetadata{Name: node, Retries: retries},
			Inputs:   passed(task.GetInterface().GetInputs(), ""),
			Target: &core.Node_TaskNode{TaskNode: &core.TaskNode{
				Reference: &core.TaskNode_ReferenceId{ReferenceId: id},
			}},
		}},
		Outputs: passed(task.GetInterface().GetOutputs(), node),
	}
}

// passed binds every variable to the one of the same name of a node; the empty
// node is the workflow's own inputs.
func passed(variables *core.VariableMap, node string) []*core.Binding {
	var bindings []*core.Binding
	for _, name := range slices.Sorted(maps.Keys(variables.GetVariables())) {
		bindings = append(bindings, &core.Binding{Var: name, Binding: &core.BindingData{
			Value: &core.BindingData_Promise{Promise: &core.OutputReference{NodeId: node, Var: name}},
		}})
	}
	return bindings
}

// nodeID is the end of a task's name, without what a node's name may not have.
func nodeID(name string) string {
	if len(name) >= longestNodeID {
		name = name[len(name)-longestNodeID:]
	}
	return strings.Map(func(r rune) rune {
		if r == '-' || unicode.IsLetter(r) || unicode.IsNumber(r) {
			return r
		}
		return -1
	}, name)
}
