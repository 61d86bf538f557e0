// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package filters

import (
	"reflect"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
)

var (
	workflows  = &Entity{Name: "workflow", Columns: map[string]string{"name": "workflows.name"}}
	executions = &Entity{
		Name: "execution",
		Columns: map[string]string{
			"execution_name": "executions.execution_name", "phase": "executions.phase",
			"duration": "executions.duration", "state": "executions.state",
		},
		Joins: []Join{{Entity: workflows, SQL: "JOIN workflows"}},
	}
)

func parse(t *testing.T, filter string) Query {
	t.Helper()
	query, err := Parse(executions, &admin.ResourceListRequest{Limit: 10, Filters: filter})
	if err != nil {
		t.Fatal(err)
	}
	return query
}

func TestFiltersBecomeConditions(t *testing.T) {
	for filter, want := range map[string][]Condition{
		"eq(phase,FAILED)":                         {{"executions.phase = ?", "FAILED"}},
		"ne(execution.phase, FAILED)":              {{"executions.phase <> ?", "FAILED"}},
		"gt(duration,2)":                           {{"executions.duration > ?", int64(2e9)}},
		"lte(execution.duration,1m)":               {{"executions.duration <= ?", int64(60e9)}},
		"contains(workflow.name,hello)":            {{"workflows.name LIKE ?", "%hello%"}},
		"value_in(phase,FAILED;ABORTED)":           {{"executions.phase IN (?)", []any{"FAILED", "ABORTED"}}},
		"value_in(phase,FAILED)":                   {{"executions.phase IN (?)", []any{"FAILED"}}},
		"gte(duration,1)+lt(duration,3)":           {{"executions.duration >= ?", int64(1e9)}, {"executions.duration < ?", int64(3e9)}},
		"eq(execution_name,a)+eq(workflow.name,b)": {{"executions.execution_name = ?", "a"}, {"workflows.name = ?", "b"}},
	} {
		if got := parse(t, filter).Where; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, expected %v", filter, got, want)
		}
	}
}

func TestAnotherEntityIsJoinedOnce(t *testing.T) {
	got := parse(t, "eq(workflow.name,a)+ne(workflow.name,b)").Joins
	if !reflect.DeepEqual(got, []string{"JOIN workflows"}) {
		t.Errorf("got %v", got)
	}
}

func TestWhatIsNoFilterIsRefused(t *testing.T) {
	for _, filter := range []string{
		"phase=FAILED", "eq(phase)", "like(phase,FAILED)", "eq(secret,x)", "eq(task.name,x)", "eq(workflow.secret,x)",
		"eq(phase,FAILED;ABORTED)", "gt(duration,long)", "eq(phase,FAILED)+", "eq(phase) OR 1=1 --,x)", "eq(1=1,x)",
	} {
		_, err := Parse(executions, &admin.ResourceListRequest{Limit: 10, Filters: filter})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: got %v", filter, err)
		}
	}
}

func TestOrderNamesAKnownColumn(t *testing.T) {
	for _, test := range []struct {
		sort *admin.Sort
		want string
		code codes.Code
	}{
		{nil, "", codes.OK},
		{&admin.Sort{Key: "phase", Direction: admin.Sort_ASCENDING}, "executions.phase asc", codes.OK},
		{&admin.Sort{Key: "phase"}, "executions.phase desc", codes.OK},
		{&admin.Sort{Key: "phase; DROP TABLE executions"}, "", codes.InvalidArgument},
		{&admin.Sort{Key: "phase", Direction: 7}, "", codes.InvalidArgument},
	} {
		query, err := Parse(executions, &admin.ResourceListRequest{Limit: 1, SortBy: test.sort})
		if query.Order != test.want || status.Code(err) != test.code {
			t.Errorf("%v: got %q, %v", test.sort, query.Order, err)
		}
	}
}

func TestPages(t *testing.T) {
	for _, test := range []struct {
		limit uint32
		token string
		rows  int
		next  string
		code  codes.Code
	}{
		{2, "", 2, "2", codes.OK},
		{2, "4", 2, "6", codes.OK},
		{2, "4", 1, "", codes.OK},
		{0, "", 0, "", codes.InvalidArgument},
		{2, "-1", 0, "", codes.InvalidArgument},
		{2, "next", 0, "", codes.InvalidArgument},
	} {
		query, err := Parse(executions, &admin.ResourceListRequest{Limit: test.limit, Token: test.token})
		if status.Code(err) != test.code || err == nil && query.Next(test.rows) != test.next {
			t.Errorf("%+v: got %q, %v", test, query.Next(test.rows), err)
		}
	}
}

func TestAConditionOfTheServerLeavesTheQueryBehindAlone(t *testing.T) {
	query := parse(t, "eq(phase,FAILED)")
	if narrowed := query.Is("executions.state", 0); len(narrowed.Where) != 2 || len(query.Where) != 1 {
		t.Errorf("got %v from %v", narrowed.Where, query.Where)
	}
}

func TestColumnsAreThoseOfTheModel(t *testing.T) {
	type key struct {
		Project string `gorm:"column:execution_project"`
	}
	type Model struct {
		Key   key `gorm:"embedded"`
		Phase string
	}
	want := map[string]string{"execution_project": "things.execution_project", "phase": "things.phase"}
	if got := Columns("things", Model{}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}
