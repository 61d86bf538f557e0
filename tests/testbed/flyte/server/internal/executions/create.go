// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"
	"maps"
	"regexp"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/messages"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
	"flyte.onprem/testbed/flyte/internal/validate"
)

const (
	// longestName is the longest value of a Kubernetes label.
	longestName     = 63
	generatedLength = 20
)

var executionName = regexp.MustCompile(`^[a-z][a-z\-0-9]*$`)

// order is an execution that is about to start.
type order struct {
	id       *core.WorkflowExecutionIdentifier
	spec     *admin.ExecutionSpec
	plan     *admin.LaunchPlan
	workflow *database.Workflow
	row      *database.Execution

	compiled *core.CompiledWorkflowClosure
	inputs   *core.LiteralMap
	config   *admin.WorkflowExecutionConfig
	labels   map[string]string
	accepted time.Time
}

// CreateExecution starts a launch plan or a single task.
func (s *Service) CreateExecution(ctx context.Context, request *admin.ExecutionCreateRequest) (*admin.ExecutionCreateResponse, error) {
	accepted := time.Now()
	if err := s.checkRequest(ctx, request); err != nil {
		return nil, err
	}
	inputs := request.GetInputs()
	if len(inputs.GetLiterals()) == 0 {
		// Where clients of long ago put them.
		inputs = request.GetSpec().GetInputs()
	}
	if err := validate.Literals(inputs, "inputs"); err != nil {
		return nil, err
	}
	o, err := s.resolve(ctx, request)
	if err != nil {
		return nil, err
	}
	o.accepted = accepted
	if o.inputs, err = completeInputs(inputs, o.plan); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, o, inputs); err != nil {
		return nil, err
	}
	failure := s.launch(ctx, o)
	if failure != nil && o.row.TaskID != 0 {
		return nil, failure
	}
	// A launch plan that cannot be launched leaves an execution that has failed.
	if err := o.describe(failure); err != nil {
		return nil, err
	}
	rows := []any{o.row}
	for key, value := range o.spec.GetLabels().GetValues() {
		rows = append(rows, &database.ExecutionTag{ExecutionKey: o.row.ExecutionKey, Key: key, Value: value})
	}
	for _, tag := range o.spec.GetTags() {
		rows = append(rows, &database.ExecutionTag{ExecutionKey: o.row.ExecutionKey, Key: tag})
	}
	if err := s.Store.AddAll(ctx, rows...); err != nil {
		return nil, refusal.FromDatabase(err, "execution", o.id)
	}
	return &admin.ExecutionCreateResponse{Id: o.id}, nil
}

func (s *Service) checkRequest(ctx context.Context, request *admin.ExecutionCreateRequest) error {
	if err := validate.Scope(request.GetProject(), request.GetDomain()); err != nil {
		return err
	}
	if name := strings.ToLower(request.GetName()); name != "" {
		if len(name) > longestName {
			return refusal.Invalid("size of name exceeded length %d : %s", longestName, name)
		}
		if !executionName.MatchString(name) {
			return refusal.Invalid("invalid name format: %s, does not match regex '%s'", name, executionName)
		}
	}
	if err := validate.Place(ctx, s.Projects, request.GetProject(), request.GetDomain()); err != nil {
		return err
	}
	spec := request.GetSpec()
	if spec == nil {
		return refusal.Missing("spec")
	}
	if err := validate.Complete(spec.GetLaunchPlan()); err != nil {
		return err
	}
	switch {
	case spec.GetMetadata().GetMode() == admin.ExecutionMetadata_RECOVERED:
		return refusal.Invalid("this test-bed server cannot recover executions: start a new one, or test with Flyte itself")
	case len(spec.GetNotifications().GetNotifications()) > 0:
		return refusal.Invalid("the execution asks for notifications, but this test-bed server sends none: leave them out, or test with Flyte itself")
	case spec.GetExecutionClusterLabel().GetValue() != "":
		return refusal.Invalid("execution cluster label %s is not supported", spec.GetExecutionClusterLabel().GetValue())
	}
	return validate.Labels(spec.GetLabels())
}

// resolve finds what the request wants to run.
func (s *Service) resolve(ctx context.Context, request *admin.ExecutionCreateRequest) (*order, error) {
	name := request.GetName()
	if name == "" {
		name = "a" + rand.String(generatedLength-1)
	}
	o := &order{
		id:   &core.WorkflowExecutionIdentifier{Project: request.GetProject(), Domain: request.GetDomain(), Name: name},
		spec: request.GetSpec(),
	}
	o.row = &database.Execution{ExecutionKey: database.ExecutionKeyOf(o.id)}
	wanted := request.GetSpec().GetLaunchPlan()
	o.row.LaunchEntity = strings.ToLower(wanted.GetResourceType().String())
	switch wanted.GetResourceType() {
	case core.ResourceType_TASK:
		wrapped, err := s.Registry.Wrap(ctx, wanted, request.GetSpec())
		if err != nil {
			return nil, err
		}
		o.plan, o.workflow, o.row.TaskID = wrapped.Plan, wrapped.Workflow, wrapped.Task.ID
	case core.ResourceType_LAUNCH_PLAN:
		plan, err := s.Registry.GetLaunchPlan(ctx, &admin.ObjectGetRequest{Id: wanted})
		if err != nil {
			return nil, err
		}
		row, err := s.Store.LaunchPlan(ctx, database.KeyOf(wanted))
		if err != nil {
			return nil, refusal.FromDatabase(err, "LAUNCH_PLAN", wanted)
		}
		o.plan, o.row.LaunchPlanID = plan, row.ID
		id := plan.GetSpec().GetWorkflowId()
		if o.workflow, err = s.Store.Workflow(ctx, database.KeyOf(id)); err != nil {
			return nil, refusal.FromDatabase(err, "WORKFLOW", id)
		}
	default:
		return nil, refusal.Invalid("invalid reference entity resource type [%v], only LAUNCH_PLAN and TASK allowed", wanted.GetResourceType())
	}
	o.row.WorkflowID = o.workflow.ID
	return o, nil
}

// completeInputs checks the inputs of a request against the plan and adds the
// plan's defaults and fixed ones.
func completeInputs(given *core.LiteralMap, plan *admin.LaunchPlan) (*core.LiteralMap, error) {
	expected := plan.GetClosure().GetExpectedInputs().GetParameters()
	fixed := plan.GetSpec().GetFixedInputs().GetLiterals()
	all := map[string]*core.Literal{}
	for name, literal := range given.GetLiterals() {
		parameter, ok := expected[name]
		if _, set := fixed[name]; set {
			return nil, refusal.Invalid("fixed_inputs %s cannot be overridden", name)
		}
		if !ok {
			return nil, refusal.Invalid("invalid input %s", name)
		}
		if err := validate.Typed(name, "input", literal, parameter.GetVar().GetType()); err != nil {
			return nil, err
		}
		all[name] = literal
	}
	for name, parameter := range expected {
		if _, ok := all[name]; ok {
			continue
		}
		if parameter.GetRequired() {
			return nil, refusal.Invalid("expected_inputs %s missing", name)
		}
		all[name] = parameter.GetDefault()
	}
	maps.Copy(all, fixed)
	return &core.LiteralMap{Literals: all}, nil
}

// prepare gathers everything else that the execution needs, and writes its inputs
// to the object store.
func (s *Service) prepare(ctx context.Context, o *order, given *core.LiteralMap) error {
	closure, err := s.Registry.Compiled(ctx, o.workflow)
	if err != nil {
		return err
	}
	o.compiled = closure.GetCompiledWorkflow()
	var written storage.DataReference
	if written, err = Offload(ctx, s.Objects, o.inputs, o.id.GetProject(), o.id.GetDomain(), o.id.GetName(), "inputs"); err != nil {
		return err
	}
	o.row.InputsURI = written.String()
	if written, err = Offload(ctx, s.Objects, given, o.id.GetProject(), o.id.GetDomain(), o.id.GetName(), "user_inputs"); err != nil {
		return err
	}
	o.row.UserInputsURI = written.String()
	if o.spec.Metadata == nil {
		o.spec.Metadata = &admin.ExecutionMetadata{}
	}
	if err := s.inherit(ctx, o); err != nil {
		return err
	}
	for _, task := range o.compiled.GetTasks() {
		applyResources(task.GetTemplate(), settings.GetTaskResources())
	}
	o.config = effectiveConfig(o.spec, o.plan, settings.GetAdmin(), o.row.TaskID == 0)
	return s.label(ctx, o)
}

// inherit fills in what an execution has from the one whose node launched it.
func (s *Service) inherit(ctx context.Context, o *order) error {
	parent := o.spec.GetMetadata().GetParentNodeExecution()
	if parent == nil {
		return nil
	}
	node, err := s.Store.Node(ctx, database.NodeKeyOf(parent))
	if err != nil {
		return refusal.FromDatabase(err, "node execution", parent)
	}
	source, err := s.Store.Execution(ctx, database.ExecutionKeyOf(parent.GetExecutionId()))
	if err != nil {
		return refusal.FromDatabase(err, "execution", parent.GetExecutionId())
	}
	spec := &admin.ExecutionSpec{}
	if err := messages.Decode(source.Spec, spec); err != nil {
		return err
	}
	o.row.ParentNodeExecutionID, o.row.SourceExecutionID = node.ID, source.ID
	o.spec.Metadata.Principal = source.User
	o.spec.Metadata.Nesting = spec.GetMetadata().GetNesting() + 1
	return nil
}

// label adds the project's labels to those of the execution, which win.
func (s *Service) label(ctx context.Context, o *order) error {
	limits := settings.GetRegistration()
	if err := few("labels", o.config.GetLabels().GetValues(), limits.MaxLabelEntries); err != nil {
		return err
	}
	if err := few("annotations", o.config.GetAnnotations().GetValues(), limits.MaxAnnotationEntries); err != nil {
		return err
	}
	row, err := s.Projects.Get(ctx, o.id.GetProject())
	if err != nil {
		return refusal.FromDatabase(err, "project", o.id.GetProject())
	}
	project := &admin.Project{}
	if err := messages.Decode(row.Labels, project); err != nil {
		return err
	}
	o.labels = map[string]string{}
	maps.Copy(o.labels, project.GetLabels().GetValues())
	maps.Copy(o.labels, o.config.GetLabels().GetValues())
	return nil
}

func few(what string, entries map[string]string, most int) error {
	if most > 0 && len(entries) > most {
		return refusal.Invalid("%s has too many entries [%d > %d]", what, len(entries), most)
	}
	return nil
}

// launch hands the execution to flytepropeller.
func (s *Service) launch(ctx context.Context, o *order) error {
	workflow, err := build(o)
	if err != nil {
		return err
	}
	if err := s.Cluster.Create(ctx, workflow); err != nil {
		return refusal.Internal("failed to create workflow in propeller %v", err)
	}
	return nil
}

// describe fills in the row: as it is before flytepropeller's first event, or as
// it stays after a failed launch.
func (o *order) describe(failure error) error {
	created := timestamppb.New(time.Now())
	moment := created.AsTime()
	active := int32(admin.ExecutionState_EXECUTION_ACTIVE)
	o.spec.Metadata.SystemMetadata = &admin.SystemMetadata{Namespace: settings.Namespace(o.id.GetProject(), o.id.GetDomain())}
	o.spec.SecurityContext = o.config.GetSecurityContext()
	if o.row.TaskID == 0 {
		o.spec.MaxParallelism = o.config.GetMaxParallelism()
	}
	closure := &admin.ExecutionClosure{
		CreatedAt: created, UpdatedAt: created,
		WorkflowId: o.workflow.Key.Identifier(core.ResourceType_WORKFLOW),
		StateChangeDetails: &admin.ExecutionStateChangeDetails{
			State: admin.ExecutionState_EXECUTION_ACTIVE, Principal: o.spec.GetMetadata().GetPrincipal(), OccurredAt: created,
		},
	}
	if failure != nil {
		o.fail(closure, failure)
	}
	var err error
	if o.row.Spec, err = messages.Encode(o.spec); err != nil {
		return err
	}
	if o.row.Closure, err = messages.Encode(closure); err != nil {
		return err
	}
	o.row.Phase = closure.GetPhase().String()
	o.row.ExecutionCreatedAt, o.row.ExecutionUpdatedAt = &moment, &moment
	o.row.User, o.row.Mode, o.row.State = o.spec.GetMetadata().GetPrincipal(), int32(o.spec.GetMetadata().GetMode()), &active
	return nil
}

func (o *order) fail(closure *admin.ExecutionClosure, failure error) {
	answer := status.Convert(failure)
	problem := &core.ExecutionError{Code: answer.Code().String(), Message: answer.Message(), Kind: core.ExecutionError_SYSTEM}
	if answer.Code() == codes.InvalidArgument {
		problem.Kind = core.ExecutionError_USER
	}
	closure.Phase = core.WorkflowExecution_FAILED
	closure.OutputResult = &admin.ExecutionClosure_Error{Error: problem}
	kind := problem.GetKind().String()
	o.row.ErrorKind, o.row.ErrorCode = &kind, &problem.Code
}
