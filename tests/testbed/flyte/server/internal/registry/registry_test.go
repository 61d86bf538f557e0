// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package registry

import (
	"context"
	"maps"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
)

// tables are the rows of the database in memory. Lists are the database's affair.
type tables struct {
	tasks     map[database.Key]*database.Task
	workflows map[database.Key]*database.Workflow
	plans     map[database.Key]*database.LaunchPlan
	described []*database.NamedEntityMetadata
}

func (s *tables) Add(_ context.Context, row any) error {
	switch row := row.(type) {
	case *database.Task:
		return add(s.tasks, row.Key, row)
	case *database.Workflow:
		row.ID = uint(len(s.workflows) + 1)
		return add(s.workflows, row.Key, row)
	case *database.LaunchPlan:
		return add(s.plans, row.Key, row)
	}
	panic("no such table")
}

func add[Row any](rows map[database.Key]*Row, key database.Key, row *Row) error {
	if _, ok := rows[key]; ok {
		return database.ErrExists
	}
	rows[key] = row
	return nil
}

func get[Row any](rows map[database.Key]*Row, key database.Key) (*Row, error) {
	if row, ok := rows[key]; ok {
		return row, nil
	}
	return nil, database.ErrNotFound
}

func (s *tables) Task(_ context.Context, key database.Key) (*database.Task, error) {
	return get(s.tasks, key)
}

func (s *tables) Workflow(_ context.Context, key database.Key) (*database.Workflow, error) {
	return get(s.workflows, key)
}

func (s *tables) LaunchPlan(_ context.Context, key database.Key) (*database.LaunchPlan, error) {
	return get(s.plans, key)
}

func (s *tables) Describe(_ context.Context, metadata *database.NamedEntityMetadata) error {
	s.described = append(s.described, metadata)
	return nil
}

func (s *tables) Tasks(context.Context, filters.Query) ([]database.Task, error) { return nil, nil }
func (s *tables) Workflows(context.Context, filters.Query) ([]database.Workflow, error) {
	return nil, nil
}
func (s *tables) LaunchPlans(context.Context, filters.Query) ([]database.LaunchPlan, error) {
	return nil, nil
}
func (s *tables) Activate(_ context.Context, key database.Key, active bool) error {
	row, err := get(s.plans, key)
	if err == nil {
		state := int32(admin.LaunchPlanState_INACTIVE)
		if active {
			state = int32(admin.LaunchPlanState_ACTIVE)
		}
		row.State = &state
	}
	return err
}

func (s *tables) Names(context.Context, string, filters.Query) ([]database.Name, error) {
	return nil, nil
}

func (s *tables) Described(context.Context, string, int32, filters.Query) ([]database.Described, error) {
	return nil, nil
}

// projects has one that is active and one that is archived.
type projects struct{}

func (projects) Get(_ context.Context, identifier string) (*database.Project, error) {
	state := int32(admin.Project_ACTIVE)
	switch identifier {
	case "archived":
		state = int32(admin.Project_ARCHIVED)
	case "flytesnacks":
	default:
		return nil, database.ErrNotFound
	}
	return &database.Project{Identifier: identifier, State: &state}, nil
}

func newService(t *testing.T) (*Service, *tables) {
	t.Helper()
	labeled.UnsetMetricKeys()
	labeled.SetMetricKeys(storage.FailureTypeLabel)
	objects, err := storage.NewDataStore(&storage.Config{Type: storage.TypeMemory}, promutils.NewTestScope())
	if err != nil {
		t.Fatal(err)
	}
	rows := &tables{
		tasks:     map[database.Key]*database.Task{},
		workflows: map[database.Key]*database.Workflow{},
		plans:     map[database.Key]*database.LaunchPlan{},
	}
	return &Service{Store: rows, Projects: projects{}, Objects: objects}, rows
}

func identifier(kind core.ResourceType, name string) *core.Identifier {
	return &core.Identifier{ResourceType: kind, Project: "flytesnacks", Domain: "development", Name: name, Version: "v1"}
}

var integer = &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}

func variables(names ...string) *core.VariableMap {
	made := map[string]*core.Variable{}
	for _, name := range names {
		made[name] = &core.Variable{Type: integer}
	}
	return &core.VariableMap{Variables: made}
}

func number(value int64) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_Integer{Integer: value}},
	}}}}
}

func text(value string) *core.Literal {
	return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{
		Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: value}},
	}}}}
}

// double is a task with an input x and an output y.
func double() *admin.TaskCreateRequest {
	return &admin.TaskCreateRequest{Id: identifier(core.ResourceType_TASK, "double"), Spec: &admin.TaskSpec{Template: &core.TaskTemplate{
		Type:      "container",
		Metadata:  &core.TaskMetadata{Runtime: &core.RuntimeMetadata{Version: "1.16.31"}},
		Interface: &core.TypedInterface{Inputs: variables("x"), Outputs: variables("y")},
		Target: &core.TaskTemplate_Container{Container: &core.Container{
			Image: "example.com/double:1", Command: []string{"double"},
		}},
	}}}
}

// quadruple is a workflow that runs double twice.
func quadruple() *admin.WorkflowCreateRequest {
	node := func(id, from, variable string) *core.Node {
		return &core.Node{
			Id: id, Metadata: &core.NodeMetadata{Name: id},
			Inputs: []*core.Binding{bound("x", from, variable)},
			Target: &core.Node_TaskNode{TaskNode: &core.TaskNode{
				Reference: &core.TaskNode_ReferenceId{ReferenceId: identifier(core.ResourceType_TASK, "double")},
			}},
		}
	}
	return &admin.WorkflowCreateRequest{Id: identifier(core.ResourceType_WORKFLOW, "quadruple"), Spec: &admin.WorkflowSpec{
		Template: &core.WorkflowTemplate{
			Interface: &core.TypedInterface{Inputs: variables("x"), Outputs: variables("y")},
			Nodes:     []*core.Node{node("n0", "", "x"), node("n1", "n0", "y")},
			Outputs:   []*core.Binding{bound("y", "n1", "y")},
		},
	}}
}

func bound(name, node, variable string) *core.Binding {
	return &core.Binding{Var: name, Binding: &core.BindingData{Value: &core.BindingData_Promise{
		Promise: &core.OutputReference{NodeId: node, Var: variable},
	}}}
}

// registered has both.
func registered(t *testing.T) (*Service, *tables) {
	t.Helper()
	s, rows := newService(t)
	if _, err := s.CreateTask(t.Context(), double()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateWorkflow(t.Context(), quadruple()); err != nil {
		t.Fatal(err)
	}
	return s, rows
}

func wanted(t *testing.T, what string, err error, code codes.Code, words ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("%s: got %v, expected %v", what, err, code)
	}
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v does not say %q", what, err, word)
		}
	}
}

func TestATaskIsRegisteredOnce(t *testing.T) {
	s, _ := registered(t)
	_, err := s.CreateTask(t.Context(), double())
	wanted(t, "the same", err, codes.AlreadyExists)
	other := double()
	other.GetSpec().GetTemplate().GetContainer().Command = []string{"triple"}
	_, err = s.CreateTask(t.Context(), other)
	wanted(t, "another", err, codes.InvalidArgument, "different structure", "new version")
}

func TestTasksThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*admin.TaskCreateRequest)
		word   string
	}{
		"no id":            {func(r *admin.TaskCreateRequest) { r.Id = nil }, "missing id"},
		"wrong kind":       {func(r *admin.TaskCreateRequest) { r.Id.ResourceType = core.ResourceType_WORKFLOW }, "expected task"},
		"no version":       {func(r *admin.TaskCreateRequest) { r.Id.Version = "" }, "missing version"},
		"unknown project":  {func(r *admin.TaskCreateRequest) { r.Id.Project = "nowhere" }, "not registered"},
		"archived project": {func(r *admin.TaskCreateRequest) { r.Id.Project = "archived" }, "not active"},
		"unknown domain":   {func(r *admin.TaskCreateRequest) { r.Id.Domain = "lunch" }, "unrecognized"},
		"no spec":          {func(r *admin.TaskCreateRequest) { r.Spec = nil }, "missing spec"},
		"no type":          {func(r *admin.TaskCreateRequest) { r.Spec.Template.Type = "" }, "missing type"},
		"no metadata":      {func(r *admin.TaskCreateRequest) { r.Spec.Template.Metadata = nil }, "missing metadata"},
		"no interface":     {func(r *admin.TaskCreateRequest) { r.Spec.Template.Interface = nil }, "missing typed interface"},
		"no image":         {func(r *admin.TaskCreateRequest) { r.Spec.Template.GetContainer().Image = "" }, "missing image"},
		"no command":       {func(r *admin.TaskCreateRequest) { r.Spec.Template.GetContainer().Command = nil }, "compilation"},
		"cache":            {func(r *admin.TaskCreateRequest) { r.Spec.Template.Metadata.Discoverable = true }, "no datacatalog"},
	} {
		s, rows := newService(t)
		request := double()
		test.change(request)
		_, err := s.CreateTask(t.Context(), request)
		wanted(t, name, err, codes.InvalidArgument, test.word)
		if len(rows.tasks) != 0 {
			t.Errorf("%s: it is registered", name)
		}
	}
}

func TestAWorkflowIsCompiledAndComesBack(t *testing.T) {
	s, rows := registered(t)
	request := quadruple()
	_, err := s.CreateWorkflow(t.Context(), request)
	wanted(t, "the same", err, codes.AlreadyExists)
	if details := status.Convert(err).Details(); len(details) != 1 || details[0].(*admin.CreateWorkflowFailureReason).GetExistsIdenticalStructure() == nil {
		t.Errorf("got details %v", details)
	}
	request.Spec.Template.Nodes = request.Spec.Template.Nodes[:1]
	request.Spec.Template.Outputs[0] = bound("y", "n0", "y")
	_, err = s.CreateWorkflow(t.Context(), request)
	wanted(t, "another", err, codes.InvalidArgument, "different structure")

	row := rows.workflows[database.KeyOf(request.GetId())]
	if want := "/metadata/admin/flytesnacks/development/quadruple/v1"; row.RemoteClosureIdentifier != want {
		t.Errorf("got %s, expected %s", row.RemoteClosureIdentifier, want)
	}
	workflow, err := s.GetWorkflow(t.Context(), &admin.ObjectGetRequest{Id: request.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	// The compiler has added a start and an end.
	if nodes := workflow.GetClosure().GetCompiledWorkflow().GetPrimary().GetTemplate().GetNodes(); len(nodes) != 4 {
		t.Errorf("got %d nodes", len(nodes))
	}
}

func TestWorkflowsThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*admin.WorkflowCreateRequest)
		words  []string
	}{
		"no spec": {func(r *admin.WorkflowCreateRequest) { r.Spec = nil }, []string{"missing spec"}},
		"unknown task": {func(r *admin.WorkflowCreateRequest) {
			r.Spec.Template.Nodes[0].GetTaskNode().GetReferenceId().Name = "triple"
		}, []string{"failed to compile", "missing entity", "triple"}},
		"unbound input": {func(r *admin.WorkflowCreateRequest) { r.Spec.Template.Nodes[0].Inputs = nil }, []string{"failed to compile"}},
		"cache": {func(r *admin.WorkflowCreateRequest) {
			r.Spec.Template.Nodes[1].Metadata.CacheableValue = &core.NodeMetadata_Cacheable{Cacheable: true}
		}, []string{"n1", "no datacatalog"}},
	} {
		s, _ := newService(t)
		if _, err := s.CreateTask(t.Context(), double()); err != nil {
			t.Fatal(err)
		}
		request := quadruple()
		test.change(request)
		_, err := s.CreateWorkflow(t.Context(), request)
		wanted(t, name, err, codes.InvalidArgument, test.words...)
	}
}

func plan() *admin.LaunchPlanCreateRequest {
	return &admin.LaunchPlanCreateRequest{Id: identifier(core.ResourceType_LAUNCH_PLAN, "quadruple"), Spec: &admin.LaunchPlanSpec{
		WorkflowId: identifier(core.ResourceType_WORKFLOW, "quadruple"),
	}}
}

func withDefault(literal *core.Literal) *core.ParameterMap {
	return &core.ParameterMap{Parameters: map[string]*core.Parameter{
		"x": {Var: &core.Variable{Type: integer}, Behavior: &core.Parameter_Default{Default: literal}},
	}}
}

func TestALaunchPlanSaysWhatItsExecutionsNeed(t *testing.T) {
	fixed := &core.LiteralMap{Literals: map[string]*core.Literal{"x": number(1)}}
	for name, test := range map[string]struct {
		change func(*admin.LaunchPlanSpec)
		want   map[string]bool
	}{
		"nothing set": {func(*admin.LaunchPlanSpec) {}, map[string]bool{"x": true}},
		"a default":   {func(s *admin.LaunchPlanSpec) { s.DefaultInputs = withDefault(number(1)) }, map[string]bool{"x": false}},
		"fixed":       {func(s *admin.LaunchPlanSpec) { s.FixedInputs = fixed }, map[string]bool{}},
	} {
		s, _ := registered(t)
		request := plan()
		test.change(request.GetSpec())
		if _, err := s.CreateLaunchPlan(t.Context(), request); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		made, err := s.GetLaunchPlan(t.Context(), &admin.ObjectGetRequest{Id: request.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		required := map[string]bool{}
		for input, parameter := range made.GetClosure().GetExpectedInputs().GetParameters() {
			required[input] = parameter.GetRequired()
		}
		if !maps.Equal(required, test.want) || made.GetClosure().GetState() != admin.LaunchPlanState_INACTIVE {
			t.Errorf("%s: got %v, %v", name, required, made.GetClosure().GetState())
		}
		_, err = s.CreateLaunchPlan(t.Context(), proto.CloneOf(request))
		wanted(t, name+" again", err, codes.AlreadyExists)
	}
}

func TestLaunchPlansThatAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*admin.LaunchPlanSpec)
		word   string
	}{
		"schedule": {func(s *admin.LaunchPlanSpec) {
			s.EntityMetadata = &admin.LaunchPlanMetadata{Schedule: &admin.Schedule{
				ScheduleExpression: &admin.Schedule_CronSchedule{CronSchedule: &admin.CronSchedule{Schedule: "@daily"}},
			}}
		}, "no scheduler"},
		"notification": {func(s *admin.LaunchPlanSpec) {
			s.EntityMetadata = &admin.LaunchPlanMetadata{Notifications: []*admin.Notification{{}}}
		}, "sends none"},
		"concurrency":   {func(s *admin.LaunchPlanSpec) { s.ConcurrencyPolicy = &admin.ConcurrencyPolicy{Max: 1} }, "concurrency policy"},
		"wrong default": {func(s *admin.LaunchPlanSpec) { s.DefaultInputs = withDefault(text("one")) }, "wrong type"},
		"unknown default": {func(s *admin.LaunchPlanSpec) {
			s.DefaultInputs = &core.ParameterMap{Parameters: map[string]*core.Parameter{"z": withDefault(number(1)).GetParameters()["x"]}}
		}, "unexpected default_input z"},
		"wrong fixed": {func(s *admin.LaunchPlanSpec) {
			s.FixedInputs = &core.LiteralMap{Literals: map[string]*core.Literal{"x": text("one")}}
		}, "wrong type"},
		"bad label": {func(s *admin.LaunchPlanSpec) { s.Labels = &admin.Labels{Values: map[string]string{"a b": "c"}} }, "label key"},
	} {
		s, _ := registered(t)
		request := plan()
		test.change(request.GetSpec())
		_, err := s.CreateLaunchPlan(t.Context(), request)
		wanted(t, name, err, codes.InvalidArgument, test.word)
	}
	s, _ := newService(t)
	_, err := s.CreateLaunchPlan(t.Context(), plan())
	wanted(t, "no workflow", err, codes.NotFound)
}

func TestALaunchPlanIsMadeActive(t *testing.T) {
	s, rows := registered(t)
	if _, err := s.CreateLaunchPlan(t.Context(), plan()); err != nil {
		t.Fatal(err)
	}
	untyped := identifier(core.ResourceType_UNSPECIFIED, "quadruple")
	for _, test := range []struct {
		id    *core.Identifier
		state admin.LaunchPlanState
		code  codes.Code
		after admin.LaunchPlanState
	}{
		{untyped, admin.LaunchPlanState_ACTIVE, codes.OK, admin.LaunchPlanState_ACTIVE},
		{untyped, admin.LaunchPlanState_INACTIVE, codes.InvalidArgument, admin.LaunchPlanState_ACTIVE},
		{plan().GetId(), admin.LaunchPlanState_INACTIVE, codes.OK, admin.LaunchPlanState_INACTIVE},
		{plan().GetId(), 9, codes.InvalidArgument, admin.LaunchPlanState_INACTIVE},
		{identifier(core.ResourceType_LAUNCH_PLAN, "unknown"), admin.LaunchPlanState_ACTIVE, codes.NotFound, admin.LaunchPlanState_INACTIVE},
	} {
		_, err := s.UpdateLaunchPlan(t.Context(), &admin.LaunchPlanUpdateRequest{Id: test.id, State: test.state})
		wanted(t, test.state.String(), err, test.code)
		if state := *rows.plans[database.KeyOf(plan().GetId())].State; state != int32(test.after) {
			t.Errorf("%v: got state %d", test, state)
		}
	}
}

func TestASingleTaskIsWrappedOnce(t *testing.T) {
	s, rows := registered(t)
	id := identifier(core.ResourceType_TASK, "double")
	for range 2 {
		wrapped, err := s.Wrap(t.Context(), id, &admin.ExecutionSpec{})
		if err != nil {
			t.Fatal(err)
		}
		if wrapped.Workflow.Key.Name != ".flytegen.double" || !wrapped.Plan.GetClosure().GetExpectedInputs().GetParameters()["x"].GetRequired() {
			t.Errorf("got %v, %v", wrapped.Workflow.Key, wrapped.Plan)
		}
	}
	if len(rows.workflows) != 2 || len(rows.plans) != 1 {
		t.Errorf("got %d workflows, %d plans", len(rows.workflows), len(rows.plans))
	}
	if state := rows.described[0].State; *state != int32(admin.NamedEntityState_SYSTEM_GENERATED) {
		t.Errorf("got state %d", *state)
	}
	_, err := s.Wrap(t.Context(), identifier(core.ResourceType_TASK, "triple"), &admin.ExecutionSpec{})
	wanted(t, "unknown", err, codes.NotFound)
}

func TestNodesOfSingleTasksHaveNamesThatKubernetesTakes(t *testing.T) {
	long := strings.Repeat("a.b-", 30)
	for name, want := range map[string]string{
		"hello.say": "hellosay",
		"a-b_c.d":   "a-bcd",
		long:        "b-" + strings.Repeat("ab-", 15),
		".x.módulo": "xmódulo",
	} {
		if got := nodeID(name); got != want {
			t.Errorf("%s: got %s, expected %s", name, got, want)
		}
	}
}
