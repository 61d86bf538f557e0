// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package filters is flyteadmin's language of lists: `func(field,value)` joined
// by `+`, a sort order, a limit and a token that is the offset of the next page.
package filters

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
)

// Entity is what a list consists of.
type Entity struct {
	// Name is the prefix by which filters of another entity refer to this one.
	Name string
	// Columns maps what a filter may name to what SQL calls it.
	Columns map[string]string
	// Joins are the other entities that a filter may name.
	Joins []Join
}

// Join adds the table of another entity to a query.
type Join struct {
	Entity *Entity
	SQL    string
}

// Request is the part that all list requests share.
type Request interface {
	GetLimit() uint32
	GetToken() string
	GetSortBy() *admin.Sort
}

// Filtered is a list request that also has filters.
type Filtered interface {
	Request
	GetFilters() string
}

// Query is a list request, checked and translated.
type Query struct {
	Where  []Condition
	Joins  []string
	Order  string
	Limit  int
	Offset int

	fields []string
}

// Condition is one comparison; SQL has one placeholder, or none if Value is nil.
type Condition struct {
	SQL   string
	Value any
}

var (
	expression = regexp.MustCompile(`^([a-z_]+)\(([^,()]+),\s?(.+)\)$`)
	single     = map[string]string{
		"eq": "%s = ?", "ne": "%s <> ?",
		"gt": "%s > ?", "gte": "%s >= ?", "lt": "%s < ?", "lte": "%s <= ?",
		"contains": "%s LIKE ?", "not_like": "%s NOT LIKE ?",
	}
	repeated = map[string]string{"value_in": "%s IN (?)", "value_not_in": "%s NOT IN (?)"}
)

// Columns lists the columns of a model.
func Columns(table string, model any) map[string]string {
	parsed, err := schema.Parse(model, &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		panic(fmt.Sprintf("model of table %s: %v", table, err))
	}
	columns := map[string]string{}
	for _, name := range parsed.DBNames {
		columns[name] = table + "." + name
	}
	return columns
}

// Parse checks a request for a list of entities. A limit is required, as in flyteadmin.
func Parse(entity *Entity, request Request) (Query, error) {
	if request.GetLimit() == 0 {
		return Query{}, status.Error(codes.InvalidArgument, "invalid value for limit")
	}
	return ParseUnlimited(entity, request)
}

// ParseUnlimited is Parse for the one list that may be asked for without a limit.
func ParseUnlimited(entity *Entity, request Request) (Query, error) {
	query := Query{Limit: int(request.GetLimit())}
	if token := request.GetToken(); token != "" {
		offset, err := strconv.Atoi(token)
		if err != nil || offset < 0 {
			return Query{}, status.Errorf(codes.InvalidArgument, "invalid pagination token %s", token)
		}
		query.Offset = offset
	}
	var err error
	if query.Order, err = order(entity, request.GetSortBy()); err != nil {
		return Query{}, err
	}
	filtered, ok := request.(Filtered)
	if !ok || filtered.GetFilters() == "" {
		return query, nil
	}
	for _, text := range strings.Split(filtered.GetFilters(), "+") {
		if err := query.add(entity, text); err != nil {
			return Query{}, err
		}
	}
	return query, nil
}

// Is adds a condition of the server's own.
func (q Query) Is(column string, value any) Query {
	q.Where = append(slices.Clone(q.Where), Condition{SQL: column + " = ?", Value: value})
	return q
}

// IsNull adds a condition of the server's own.
func (q Query) IsNull(column string) Query {
	q.Where = append(slices.Clone(q.Where), Condition{SQL: column + " IS NULL"})
	return q
}

// Names says whether the request filters by a field.
func (q Query) Names(field string) bool { return slices.Contains(q.fields, field) }

// Next is the token of the page after one with that many rows: none after the last.
func (q Query) Next(rows int) string {
	if rows == 0 || rows != q.Limit {
		return ""
	}
	return strconv.Itoa(q.Offset + rows)
}

// Apply puts the query into a statement.
func (q Query) Apply(tx *gorm.DB) *gorm.DB {
	for _, join := range q.Joins {
		tx = tx.Joins(join)
	}
	for _, condition := range q.Where {
		if condition.Value == nil {
			tx = tx.Where(condition.SQL)
		} else {
			tx = tx.Where(condition.SQL, condition.Value)
		}
	}
	if q.Order != "" {
		tx = tx.Order(q.Order)
	}
	if q.Limit > 0 {
		tx = tx.Limit(q.Limit)
	}
	return tx.Offset(q.Offset)
}

func order(entity *Entity, sort *admin.Sort) (string, error) {
	if sort == nil {
		return "", nil
	}
	column, ok := entity.Columns[sort.GetKey()]
	if !ok {
		return "", status.Errorf(codes.InvalidArgument, "invalid sort key '%s'", sort.GetKey())
	}
	switch sort.GetDirection() {
	case admin.Sort_DESCENDING:
		return column + " desc", nil
	case admin.Sort_ASCENDING:
		return column + " asc", nil
	}
	return "", status.Errorf(codes.InvalidArgument, "invalid sort order specified: %v", sort)
}

func (q *Query) add(entity *Entity, text string) error {
	parts := expression.FindStringSubmatch(text)
	if parts == nil {
		return status.Errorf(codes.InvalidArgument, "invalid value for filters: %q is not of the form function(field,value)", text)
	}
	function, field, value := parts[1], parts[2], parts[3]
	column, join, err := resolve(entity, field)
	if err != nil {
		return err
	}
	if join != "" && !slices.Contains(q.Joins, join) {
		q.Joins = append(q.Joins, join)
	}
	values, err := convert(field, strings.Split(value, ";"))
	if err != nil {
		return err
	}
	q.fields = append(q.fields, field)
	if template, ok := repeated[function]; ok {
		q.Where = append(q.Where, Condition{SQL: fmt.Sprintf(template, column), Value: values})
		return nil
	}
	template, ok := single[function]
	if !ok {
		return status.Errorf(codes.InvalidArgument, "unrecognized filter function: %s", function)
	}
	if len(values) != 1 {
		return status.Errorf(codes.InvalidArgument, "filter function %s takes one value, got %s", function, value)
	}
	if function == "contains" {
		values[0] = fmt.Sprintf("%%%v%%", values[0])
	}
	q.Where = append(q.Where, Condition{SQL: fmt.Sprintf(template, column), Value: values[0]})
	return nil
}

// resolve finds the column of a field, and the join that its entity needs.
func resolve(entity *Entity, field string) (column, join string, err error) {
	name, rest, prefixed := strings.Cut(field, ".")
	if !prefixed || name == entity.Name {
		if prefixed {
			field = rest
		}
		if column, ok := entity.Columns[field]; ok {
			return column, "", nil
		}
		return "", "", status.Errorf(codes.InvalidArgument, "'%s.%s' is invalid filter", entity.Name, field)
	}
	for _, join := range entity.Joins {
		if join.Entity.Name != name {
			continue
		}
		if column, ok := join.Entity.Columns[rest]; ok {
			return column, join.SQL, nil
		}
		return "", "", status.Errorf(codes.InvalidArgument, "'%s' is invalid filter", field)
	}
	return "", "", status.Errorf(codes.InvalidArgument, "'%s' entity is not allowed in filters of %s", name, entity.Name)
}

// convert turns durations into the nanoseconds that the tables hold; a plain
// number is seconds. PostgreSQL reads all other values by the column's type.
func convert(field string, texts []string) ([]any, error) {
	values := make([]any, len(texts))
	for i, text := range texts {
		values[i] = text
		if field != "duration" && !strings.HasSuffix(field, ".duration") {
			continue
		}
		if _, err := strconv.ParseFloat(text, 64); err == nil {
			text += "s"
		}
		duration, err := time.ParseDuration(text)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "failed to parse duration [%s]", text)
		}
		values[i] = int64(duration)
	}
	return values, nil
}
