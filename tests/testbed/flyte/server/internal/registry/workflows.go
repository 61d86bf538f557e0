// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	"bytes"
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/common"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// systemNodes are the start and end nodes that the compiler adds.
const systemNodes = 2

// CreateWorkflow compiles and registers one version of a workflow.
func (s *Service) CreateWorkflow(ctx context.Context, request *admin.WorkflowCreateRequest) (*admin.WorkflowCreateResponse, error) {
	id := request.GetId()
	if err := validate.Identifier(id, core.ResourceType_WORKFLOW); err != nil {
		return nil, err
	}
	if err := validate.Place(ctx, s.Projects, id.GetProject(), id.GetDomain()); err != nil {
		return nil, err
	}
	if request.GetSpec().GetTemplate() == nil {
		return nil, refusal.Missing("spec")
	}
	if err := checkCaching(request.GetSpec()); err != nil {
		return nil, err
	}
	request.Spec.Template.Id = id
	compiled, err := s.compile(ctx, request.GetSpec())
	if err != nil {
		return nil, refusal.Invalid("failed to compile workflow for [%v] with err: %v", id, err)
	}
	closure := &admin.WorkflowClosure{CompiledWorkflow: compiled, CreatedAt: timestamppb.Now()}
	if err := checkSize(closure, settings.GetRegistration()); err != nil {
		return nil, err
	}
	sum, err := digest(ctx, compiled)
	if err != nil {
		return nil, err
	}
	key := database.KeyOf(id)
	existing, err := s.Store.Workflow(ctx, key)
	if err == nil {
		return nil, compareWorkflow(id, existing.Digest, sum)
	}
	if !errors.Is(err, database.ErrNotFound) {
		return nil, refusal.FromDatabase(err, "WORKFLOW", id)
	}
	reference, err := s.reference(ctx, id.GetProject(), id.GetDomain(), id.GetName(), id.GetVersion())
	if err != nil {
		return nil, err
	}
	if err := s.Objects.WriteProtobuf(ctx, reference, storage.Options{}, closure); err != nil {
		return nil, refusal.Internal("failed to write marshaled workflow [%v] to storage %s with err %v and base container: %s",
			id, reference, err, s.Objects.GetBaseContainerFQN(ctx))
	}
	signature, err := messages.Encode(request.GetSpec().GetTemplate().GetInterface())
	if err != nil {
		return nil, err
	}
	err = s.Store.Add(ctx, &database.Workflow{
		Key: key, TypedInterface: signature, RemoteClosureIdentifier: reference.String(), Digest: sum,
		ShortDescription: request.GetSpec().GetDescription().GetShortDescription(),
	})
	if err != nil {
		return nil, refusal.FromDatabase(err, "workflow", id)
	}
	return &admin.WorkflowCreateResponse{}, nil
}

// compile gathers what a workflow refers to and hands all to Flyte's compiler.
func (s *Service) compile(ctx context.Context, spec *admin.WorkflowSpec) (*core.CompiledWorkflowClosure, error) {
	needed, err := compiler.GetRequirements(spec.GetTemplate(), spec.GetSubWorkflows())
	if err != nil {
		return nil, err
	}
	var tasks []*core.CompiledTask
	for _, id := range needed.GetRequiredTaskIds() {
		row, err := s.Store.Task(ctx, database.KeyOf(id))
		if err != nil {
			return nil, refusal.FromDatabase(err, "TASK", id)
		}
		task, err := taskMessage(row)
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, task.GetClosure().GetCompiledTask())
	}
	var plans []common.InterfaceProvider
	for _, id := range needed.GetRequiredLaunchPlanIds() {
		row, err := s.Store.LaunchPlan(ctx, database.KeyOf(id))
		if err != nil {
			return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", id)
		}
		plan, err := planMessage(row)
		if err != nil {
			return nil, err
		}
		plans = append(plans, compiler.NewLaunchPlanInterfaceProvider(plan))
	}
	return compiler.CompileWorkflow(spec.GetTemplate(), spec.GetSubWorkflows(), tasks, plans)
}

// checkCaching looks for nodes that turn on caching for their task.
func checkCaching(spec *admin.WorkflowSpec) error {
	for _, template := range append([]*core.WorkflowTemplate{spec.GetTemplate()}, spec.GetSubWorkflows()...) {
		for _, node := range template.GetNodes() {
			if node.GetMetadata().GetCacheable() {
				return refusal.Invalid(noCatalog, "node "+node.GetId())
			}
		}
	}
	return nil
}

func checkSize(closure *admin.WorkflowClosure, limits *settings.Registration) error {
	if limits.WorkflowSizeLimit != "" {
		most, err := resource.ParseQuantity(limits.WorkflowSizeLimit)
		if err != nil {
			return refusal.Internal("registration.workflowSizeLimit is %q: %v", limits.WorkflowSizeLimit, err)
		}
		if int64(proto.Size(closure)) > most.Value() {
			return refusal.Invalid("workflow closure size exceeds max limit [%s]", limits.WorkflowSizeLimit)
		}
	}
	nodes := len(closure.GetCompiledWorkflow().GetPrimary().GetTemplate().GetNodes()) - systemNodes
	if limits.MaxWorkflowNodes > 0 && nodes > limits.MaxWorkflowNodes {
		return refusal.Invalid("number of nodes in workflow exceeds limit (%d > %d)", nodes, limits.MaxWorkflowNodes)
	}
	return nil
}

func compareWorkflow(id *core.Identifier, old, sum []byte) error {
	if bytes.Equal(old, sum) {
		return refusal.Detailed(codes.AlreadyExists, &admin.CreateWorkflowFailureReason{
			Reason: &admin.CreateWorkflowFailureReason_ExistsIdenticalStructure{
				ExistsIdenticalStructure: &admin.WorkflowErrorExistsIdenticalStructure{Id: id},
			},
		}, "workflow with identical structure already exists")
	}
	return refusal.Detailed(codes.InvalidArgument, &admin.CreateWorkflowFailureReason{
		Reason: &admin.CreateWorkflowFailureReason_ExistsDifferentStructure{
			ExistsDifferentStructure: &admin.WorkflowErrorExistsDifferentStructure{Id: id},
		},
	}, "%s: a workflow with different structure already exists, register this one as a new version", id.GetName())
}

// GetWorkflow reads one version of a workflow with its compiled form.
func (s *Service) GetWorkflow(ctx context.Context, request *admin.ObjectGetRequest) (*admin.Workflow, error) {
	if err := validate.Asked(request.GetId(), core.ResourceType_WORKFLOW); err != nil {
		return nil, err
	}
	row, err := s.Store.Workflow(ctx, database.KeyOf(request.GetId()))
	if err != nil {
		return nil, refusal.FromDatabase(err, "WORKFLOW", request.GetId())
	}
	workflow, err := workflowMessage(row)
	if err != nil {
		return nil, err
	}
	closure, err := s.Compiled(ctx, row)
	if err != nil {
		return nil, err
	}
	closure.CreatedAt = timestamppb.New(row.CreatedAt)
	workflow.Closure = closure
	return workflow, nil
}

// Compiled reads the compiled form of a workflow from the object store.
func (s *Service) Compiled(ctx context.Context, row *database.Workflow) (*admin.WorkflowClosure, error) {
	closure := &admin.WorkflowClosure{}
	if err := s.Objects.ReadProtobuf(ctx, storage.DataReference(row.RemoteClosureIdentifier), closure); err != nil {
		return nil, refusal.Internal("unable to read WorkflowClosure from location %s: %v", row.RemoteClosureIdentifier, err)
	}
	return closure, nil
}

// ListWorkflows lists versions of workflows, of each only its interface.
func (s *Service) ListWorkflows(ctx context.Context, request *admin.ResourceListRequest) (*admin.WorkflowList, error) {
	query, err := scoped(database.WorkflowEntity, request)
	if err != nil {
		return nil, err
	}
	rows, err := s.Store.Workflows(ctx, query)
	if err != nil {
		return nil, refusal.FromDatabase(err, "WORKFLOW", request.GetId())
	}
	list := &admin.WorkflowList{Token: query.Next(len(rows))}
	for i := range rows {
		workflow, err := workflowMessage(&rows[i])
		if err != nil {
			return nil, err
		}
		list.Workflows = append(list.Workflows, workflow)
	}
	return list, nil
}

// ListWorkflowIds lists the names of workflows.
func (s *Service) ListWorkflowIds(ctx context.Context, request *admin.NamedEntityIdentifierListRequest) (*admin.NamedEntityIdentifierList, error) {
	return s.names(ctx, "workflows", database.WorkflowEntity, request)
}

func workflowMessage(row *database.Workflow) (*admin.Workflow, error) {
	signature := &core.TypedInterface{}
	if err := messages.Decode(row.TypedInterface, signature); err != nil {
		return nil, err
	}
	return &admin.Workflow{
		Id: row.Key.Identifier(core.ResourceType_WORKFLOW),
		Closure: &admin.WorkflowClosure{
			CreatedAt: timestamppb.New(row.CreatedAt),
			CompiledWorkflow: &core.CompiledWorkflowClosure{
				Primary: &core.CompiledWorkflow{Template: &core.WorkflowTemplate{Interface: signature}},
			},
		},
		ShortDescription: row.ShortDescription,
	}, nil
}
