// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler"
	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/registry"
)

// world is everything around the executions: database, registry and cluster.
type world struct {
	executions map[database.ExecutionKey]*database.Execution
	nodes      map[database.NodeKey]*database.NodeExecution
	tags       []*database.ExecutionTag
	query      filters.Query
	started    []*v1alpha1.FlyteWorkflow
	deleted    []string
	refused    error
	plan       *admin.LaunchPlan
	compiled   *core.CompiledWorkflowClosure
}

func (w *world) AddAll(_ context.Context, rows ...any) error {
	for _, row := range rows {
		switch row := row.(type) {
		case *database.Execution:
			if _, ok := w.executions[row.ExecutionKey]; ok {
				return database.ErrExists
			}
			w.executions[row.ExecutionKey] = row
		case *database.ExecutionTag:
			w.tags = append(w.tags, row)
		}
	}
	return nil
}

func (w *world) LaunchPlan(context.Context, database.Key) (*database.LaunchPlan, error) {
	return &database.LaunchPlan{Base: database.Base{ID: 7}}, nil
}

func (w *world) Workflow(_ context.Context, key database.Key) (*database.Workflow, error) {
	return &database.Workflow{Base: database.Base{ID: 8}, Key: key}, nil
}

func (w *world) Execution(_ context.Context, key database.ExecutionKey) (*database.Execution, error) {
	if row, ok := w.executions[key]; ok {
		return row, nil
	}
	return nil, database.ErrNotFound
}

func (w *world) Executions(_ context.Context, query filters.Query) ([]database.Execution, error) {
	w.query = query
	var rows []database.Execution
	for _, row := range w.executions {
		rows = append(rows, *row)
	}
	return rows, nil
}

func (w *world) ChangeExecution(ctx context.Context, key database.ExecutionKey, edit func(*database.Execution) error) error {
	row, err := w.Execution(ctx, key)
	if err != nil {
		return err
	}
	return edit(row)
}

func (w *world) Node(_ context.Context, key database.NodeKey) (*database.NodeExecution, error) {
	if row, ok := w.nodes[key]; ok {
		return row, nil
	}
	return nil, database.ErrNotFound
}

func (w *world) Nodes(_ context.Context, query filters.Query) ([]database.NodeExecution, error) {
	w.query = query
	return nil, nil
}

func (w *world) Attempt(context.Context, database.AttemptKey) (*database.TaskExecution, error) {
	return nil, database.ErrNotFound
}

func (w *world) Attempts(context.Context, filters.Query) ([]database.TaskExecution, error) {
	return nil, nil
}

func (w *world) GetLaunchPlan(context.Context, *admin.ObjectGetRequest) (*admin.LaunchPlan, error) {
	return w.plan, nil
}

func (w *world) Compiled(context.Context, *database.Workflow) (*admin.WorkflowClosure, error) {
	return &admin.WorkflowClosure{CompiledWorkflow: proto.CloneOf(w.compiled)}, nil
}

func (w *world) Wrap(_ context.Context, id *core.Identifier, _ *admin.ExecutionSpec) (*registry.Wrapped, error) {
	workflow, _ := w.Workflow(context.Background(), database.KeyOf(id))
	return &registry.Wrapped{Task: &database.Task{Base: database.Base{ID: 9}}, Workflow: workflow, Plan: w.plan}, nil
}

func (w *world) Create(_ context.Context, workflow *v1alpha1.FlyteWorkflow) error {
	if w.refused == nil {
		w.started = append(w.started, workflow)
	}
	return w.refused
}

func (w *world) Delete(_ context.Context, namespace, name string) error {
	w.deleted = append(w.deleted, namespace+"/"+name)
	return nil
}

// projects has one project, with labels.
type projects struct{ state admin.Project_ProjectState }

func (p projects) Get(_ context.Context, identifier string) (*database.Project, error) {
	if identifier != "flytesnacks" {
		return nil, database.ErrNotFound
	}
	labels, err := proto.Marshal(&admin.Project{Labels: &admin.Labels{Values: map[string]string{"team": "fish", "stage": "test"}}})
	state := int32(p.state)
	return &database.Project{Identifier: identifier, Labels: labels, State: &state}, err
}

var integer = &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}

func identifier(kind core.ResourceType) *core.Identifier {
	return &core.Identifier{ResourceType: kind, Project: "flytesnacks", Domain: "development", Name: "double", Version: "v1"}
}

func literal(value any) *core.Literal {
	primitive := &core.Primitive{}
	switch value := value.(type) {
	case int:
		primitive.Value = &core.Primitive_Integer{Integer: int64(value)}
	case string:
		primitive.Value = &core.Primitive_StringValue{StringValue: value}
	}
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: primitive}}}}
}

func inputs(values map[string]any) *core.LiteralMap {
	made := &core.LiteralMap{Literals: map[string]*core.Literal{}}
	for name, value := range values {
		made.Literals[name] = literal(value)
	}
	return made
}

// newService has a launch plan whose workflow runs one task: x is required.
func newService(t *testing.T) (*Service, *world) {
	t.Helper()
	labeled.UnsetMetricKeys()
	labeled.SetMetricKeys(storage.FailureTypeLabel)
	objects, err := storage.NewDataStore(&storage.Config{Type: storage.TypeMemory}, promutils.NewTestScope())
	if err != nil {
		t.Fatal(err)
	}
	signature := &core.TypedInterface{Inputs: &core.VariableMap{Variables: map[string]*core.Variable{"x": {Type: integer}}}}
	task, err := compiler.CompileTask(&core.TaskTemplate{
		Id: identifier(core.ResourceType_TASK), Type: "container", Interface: signature, Metadata: &core.TaskMetadata{},
		Target: &core.TaskTemplate_Container{Container: &core.Container{Image: "example.com/double:1", Command: []string{"double"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := compiler.CompileWorkflow(&core.WorkflowTemplate{
		Id: identifier(core.ResourceType_WORKFLOW), Interface: signature,
		Nodes: []*core.Node{{
			Id: "n0",
			Inputs: []*core.Binding{{Var: "x", Binding: &core.BindingData{Value: &core.BindingData_Promise{
				Promise: &core.OutputReference{Var: "x"},
			}}}},
			Target: &core.Node_TaskNode{TaskNode: &core.TaskNode{
				Reference: &core.TaskNode_ReferenceId{ReferenceId: identifier(core.ResourceType_TASK)},
			}},
		}},
	}, nil, []*core.CompiledTask{task}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		executions: map[database.ExecutionKey]*database.Execution{},
		nodes:      map[database.NodeKey]*database.NodeExecution{},
		compiled:   compiled,
		plan: &admin.LaunchPlan{
			Id:   identifier(core.ResourceType_LAUNCH_PLAN),
			Spec: &admin.LaunchPlanSpec{WorkflowId: identifier(core.ResourceType_WORKFLOW)},
			Closure: &admin.LaunchPlanClosure{ExpectedInputs: &core.ParameterMap{Parameters: map[string]*core.Parameter{
				"x": {Var: &core.Variable{Type: integer}, Behavior: &core.Parameter_Required{Required: true}},
			}}},
		},
	}
	return &Service{Store: w, Projects: projects{}, Registry: w, Objects: objects, Cluster: w}, w
}

func request() *admin.ExecutionCreateRequest {
	return &admin.ExecutionCreateRequest{
		Project: "flytesnacks", Domain: "development", Name: "a1",
		Spec:   &admin.ExecutionSpec{LaunchPlan: identifier(core.ResourceType_LAUNCH_PLAN)},
		Inputs: inputs(map[string]any{"x": 1}),
	}
}

func (s *Service) create(t *testing.T, request *admin.ExecutionCreateRequest) *core.WorkflowExecutionIdentifier {
	t.Helper()
	answer, err := s.CreateExecution(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return answer.GetId()
}

func (s *Service) get(t *testing.T, id *core.WorkflowExecutionIdentifier) *admin.Execution {
	t.Helper()
	execution, err := s.GetExecution(t.Context(), &admin.WorkflowExecutionGetRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return execution
}

func TestAnExecutionBecomesAFlyteWorkflow(t *testing.T) {
	s, w := newService(t)
	r := request()
	r.Spec.Labels = &admin.Labels{Values: map[string]string{"team": "birds"}}
	r.Spec.Annotations = &admin.Annotations{Values: map[string]string{"note": "hello"}}
	r.Spec.SecurityContext = &core.SecurityContext{RunAs: &core.Identity{K8SServiceAccount: "runner"}}
	r.Spec.Tags = []string{"nightly"}
	id := s.create(t, r)
	workflow := w.started[0]
	if workflow.GetNamespace() != "flytesnacks-development" || workflow.GetName() != "a1" {
		t.Errorf("got %s/%s", workflow.GetNamespace(), workflow.GetName())
	}
	for label, want := range map[string]string{
		"team": "birds", "stage": "test", "project": "flytesnacks", "domain": "development", "execution-id": "a1",
	} {
		if got := workflow.GetLabels()[label]; got != want {
			t.Errorf("label %s: got %q, expected %q", label, got, want)
		}
	}
	if !maps.Equal(workflow.GetAnnotations(), map[string]string{"note": "hello"}) {
		t.Errorf("got annotations %v", workflow.GetAnnotations())
	}
	if workflow.ServiceAccountName != "runner" || workflow.SecurityContext.GetRunAs().GetK8SServiceAccount() != "runner" {
		t.Errorf("got account %s, %v", workflow.ServiceAccountName, workflow.SecurityContext.GetRunAs())
	}
	if workflow.ExecutionConfig.MaxParallelism != 25 || workflow.WorkflowMeta.EventVersion != 2 || len(workflow.GetFinalizers()) != 1 {
		t.Errorf("got %+v, %+v, %v", workflow.ExecutionConfig, workflow.WorkflowMeta, workflow.GetFinalizers())
	}
	row := w.executions[database.ExecutionKeyOf(id)]
	if row.LaunchPlanID != 7 || row.WorkflowID != 8 || row.TaskID != 0 || row.LaunchEntity != "launch_plan" || row.Phase != "UNDEFINED" {
		t.Errorf("got %+v", row)
	}
	if len(w.tags) != 2 {
		t.Errorf("got %d tags, expected a label and a tag", len(w.tags))
	}
	if got := s.get(t, id).GetSpec().GetMetadata().GetSystemMetadata().GetNamespace(); got != "flytesnacks-development" {
		t.Errorf("got namespace %s", got)
	}
}

func TestInputsLieWhereFlyteadminPutsThem(t *testing.T) {
	s, w := newService(t)
	id := s.create(t, request())
	row := w.executions[database.ExecutionKeyOf(id)]
	if row.InputsURI != "/metadata/flytesnacks/development/a1/inputs" || row.UserInputsURI != "/metadata/flytesnacks/development/a1/user_inputs" {
		t.Errorf("got %s, %s", row.InputsURI, row.UserInputsURI)
	}
	data, err := s.GetExecutionData(t.Context(), &admin.WorkflowExecutionGetDataRequest{Id: id})
	if err != nil || data.GetFullInputs().GetLiterals()["x"].GetScalar().GetPrimitive().GetInteger() != 1 {
		t.Errorf("got %v, %v", data, err)
	}
}

func TestAnExecutionGetsANameOfItsOwn(t *testing.T) {
	s, _ := newService(t)
	r := request()
	r.Name = ""
	if name := s.create(t, r).GetName(); len(name) != 20 || !executionName.MatchString(name) {
		t.Errorf("got %s", name)
	}
}

func TestASecondExecutionOfTheSameNameIsRefused(t *testing.T) {
	s, _ := newService(t)
	s.create(t, request())
	if _, err := s.CreateExecution(t.Context(), request()); status.Code(err) != codes.AlreadyExists {
		t.Errorf("got %v", err)
	}
}

func TestExecutionsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*admin.ExecutionCreateRequest)
		word   string
	}{
		"no project":      {func(r *admin.ExecutionCreateRequest) { r.Project = "" }, "missing project"},
		"unknown project": {func(r *admin.ExecutionCreateRequest) { r.Project = "nowhere" }, "not registered"},
		"unknown domain":  {func(r *admin.ExecutionCreateRequest) { r.Domain = "lunch" }, "unrecognized"},
		"bad name":        {func(r *admin.ExecutionCreateRequest) { r.Name = "1st" }, "does not match"},
		"long name":       {func(r *admin.ExecutionCreateRequest) { r.Name = strings.Repeat("a", 64) }, "exceeded length"},
		"no spec":         {func(r *admin.ExecutionCreateRequest) { r.Spec = nil }, "missing spec"},
		"no plan":         {func(r *admin.ExecutionCreateRequest) { r.Spec.LaunchPlan = nil }, "missing id"},
		"a workflow":      {func(r *admin.ExecutionCreateRequest) { r.Spec.LaunchPlan.ResourceType = core.ResourceType_WORKFLOW }, "only LAUNCH_PLAN and TASK"},
		"no input":        {func(r *admin.ExecutionCreateRequest) { r.Inputs = nil }, "x missing"},
		"wrong input":     {func(r *admin.ExecutionCreateRequest) { r.Inputs = inputs(map[string]any{"x": "one"}) }, "wrong type"},
		"unknown input":   {func(r *admin.ExecutionCreateRequest) { r.Inputs = inputs(map[string]any{"x": 1, "z": 1}) }, "invalid input z"},
		"empty input":     {func(r *admin.ExecutionCreateRequest) { r.Inputs.Literals["x"] = &core.Literal{} }, "missing valid literal"},
		"recovery": {func(r *admin.ExecutionCreateRequest) {
			r.Spec.Metadata = &admin.ExecutionMetadata{Mode: admin.ExecutionMetadata_RECOVERED}
		}, "cannot recover"},
		"notification": {func(r *admin.ExecutionCreateRequest) {
			r.Spec.NotificationOverrides = &admin.ExecutionSpec_Notifications{Notifications: &admin.NotificationList{Notifications: []*admin.Notification{{}}}}
		}, "sends none"},
		"cluster": {func(r *admin.ExecutionCreateRequest) {
			r.Spec.ExecutionClusterLabel = &admin.ExecutionClusterLabel{Value: "far"}
		}, "not supported"},
	} {
		s, w := newService(t)
		r := request()
		test.change(r)
		_, err := s.CreateExecution(t.Context(), r)
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.word) {
			t.Errorf("%s: got %v", name, err)
		}
		if len(w.started) != 0 || len(w.executions) != 0 {
			t.Errorf("%s: something was started", name)
		}
	}
}

func TestNothingStartsInAnArchivedProject(t *testing.T) {
	s, _ := newService(t)
	s.Projects = projects{admin.Project_ARCHIVED}
	_, err := s.CreateExecution(t.Context(), request())
	details := status.Convert(err).Details()
	if status.Code(err) != codes.InvalidArgument || len(details) != 1 || details[0].(*admin.InactiveProject).GetId() != "flytesnacks" {
		t.Errorf("got %v, %v", err, details)
	}
}

func TestDefaultsAndFixedInputsOfThePlan(t *testing.T) {
	parameters := map[string]*core.Parameter{
		"x": {Var: &core.Variable{Type: integer}, Behavior: &core.Parameter_Required{Required: true}},
		"y": {Var: &core.Variable{Type: integer}, Behavior: &core.Parameter_Default{Default: literal(2)}},
	}
	plan := &admin.LaunchPlan{
		Spec:    &admin.LaunchPlanSpec{FixedInputs: inputs(map[string]any{"z": 3})},
		Closure: &admin.LaunchPlanClosure{ExpectedInputs: &core.ParameterMap{Parameters: parameters}},
	}
	got, err := completeInputs(inputs(map[string]any{"x": 1}), plan)
	if err != nil || !proto.Equal(got, inputs(map[string]any{"x": 1, "y": 2, "z": 3})) {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = completeInputs(inputs(map[string]any{"x": 1, "z": 4}), plan)
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "cannot be overridden") {
		t.Errorf("got %v", err)
	}
}

func TestALaunchThatFailsLeavesAFailedExecution(t *testing.T) {
	s, w := newService(t)
	w.refused = errors.New(`namespaces "flytesnacks-development" not found`)
	closure := s.get(t, s.create(t, request())).GetClosure()
	if closure.GetPhase() != core.WorkflowExecution_FAILED || !strings.Contains(closure.GetError().GetMessage(), "not found") ||
		closure.GetError().GetKind() != core.ExecutionError_SYSTEM {
		t.Errorf("got %v", closure)
	}
}

func TestALaunchOfASingleTaskThatFailsIsAnError(t *testing.T) {
	s, w := newService(t)
	w.refused = errors.New(`namespaces "flytesnacks-development" not found`)
	r := request()
	r.Spec.LaunchPlan.ResourceType = core.ResourceType_TASK
	if _, err := s.CreateExecution(t.Context(), r); status.Code(err) != codes.Internal || len(w.executions) != 0 {
		t.Errorf("got %v, %d executions", err, len(w.executions))
	}
}

func TestANodesExecutionIsRelatedToIt(t *testing.T) {
	s, w := newService(t)
	parent := &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: s.create(t, request())}
	r := request()
	r.Name, r.Spec.Metadata = "a2", &admin.ExecutionMetadata{ParentNodeExecution: parent}
	if _, err := s.CreateExecution(t.Context(), r); status.Code(err) != codes.NotFound {
		t.Errorf("without the node: got %v", err)
	}
	w.nodes[database.NodeKeyOf(parent)] = &database.NodeExecution{Base: database.Base{ID: 5}}
	w.executions[database.ExecutionKeyOf(parent.GetExecutionId())].ID = 4
	id := s.create(t, r)
	row := w.executions[database.ExecutionKeyOf(id)]
	if row.ParentNodeExecutionID != 5 || row.SourceExecutionID != 4 || s.get(t, id).GetSpec().GetMetadata().GetNesting() != 1 {
		t.Errorf("got %+v", row)
	}
}

func TestTerminate(t *testing.T) {
	s, w := newService(t)
	id := s.create(t, request())
	stop := &admin.ExecutionTerminateRequest{Id: id, Cause: "enough"}
	if _, err := s.TerminateExecution(t.Context(), stop); err != nil {
		t.Fatal(err)
	}
	closure := s.get(t, id).GetClosure()
	if closure.GetPhase() != core.WorkflowExecution_ABORTING || closure.GetAbortMetadata().GetCause() != "enough" {
		t.Errorf("got %v", closure)
	}
	if len(w.deleted) != 1 || w.deleted[0] != "flytesnacks-development/a1" {
		t.Errorf("got %v", w.deleted)
	}
	w.executions[database.ExecutionKeyOf(id)].Phase = core.WorkflowExecution_ABORTED.String()
	if _, err := s.TerminateExecution(t.Context(), stop); status.Code(err) != codes.FailedPrecondition || len(w.deleted) != 1 {
		t.Errorf("after the end: got %v", err)
	}
	stop.Id = &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "n"}
	if _, err := s.TerminateExecution(t.Context(), stop); status.Code(err) != codes.NotFound {
		t.Errorf("unknown: got %v", err)
	}
}

func TestListsShowWhatIsNotArchivedUnlessAsked(t *testing.T) {
	s, w := newService(t)
	for filter, want := range map[string]int{"": 3, "eq(state,1)": 3, "eq(phase,FAILED)": 4} {
		_, err := s.ListExecutions(t.Context(), &admin.ResourceListRequest{
			Id: &admin.NamedEntityIdentifier{Project: "flytesnacks", Domain: "development"}, Limit: 10, Filters: filter,
		})
		if err != nil || len(w.query.Where) != want {
			t.Errorf("%q: got %v, %v", filter, w.query.Where, err)
		}
	}
}

func TestAListShortensErrors(t *testing.T) {
	s, w := newService(t)
	w.refused = errors.New(strings.Repeat("ü", 200))
	id := s.create(t, request())
	list, err := s.ListExecutions(t.Context(), &admin.ResourceListRequest{
		Id: &admin.NamedEntityIdentifier{Project: "flytesnacks", Domain: "development"}, Limit: 10,
	})
	if err != nil {
		t.Fatal(err)
	}
	listed, whole := list.GetExecutions()[0].GetClosure().GetError().GetMessage(), s.get(t, id).GetClosure().GetError().GetMessage()
	if len(listed) > longestListed || len(whole) < 400 {
		t.Errorf("got %d and %d bytes", len(listed), len(whole))
	}
}

func TestNodesOfTheTopLevelAreThoseWithoutAParent(t *testing.T) {
	s, w := newService(t)
	id := s.create(t, request())
	if _, err := s.ListNodeExecutions(t.Context(), &admin.NodeExecutionListRequest{WorkflowExecutionId: id, Limit: 10}); err != nil {
		t.Fatal(err)
	}
	last := w.query.Where[len(w.query.Where)-1]
	if last != (filters.Condition{SQL: "node_executions.parent_task_execution_id IS NULL"}) {
		t.Errorf("got %v", w.query.Where)
	}
	_, err := s.ListNodeExecutions(t.Context(), &admin.NodeExecutionListRequest{WorkflowExecutionId: id, Limit: 10, UniqueParentId: "n9"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("of an unknown parent: got %v", err)
	}
}
