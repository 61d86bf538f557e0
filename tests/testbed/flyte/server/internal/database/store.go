// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package database

import (
	"context"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	stdlib "github.com/flyteorg/flyte/flytestdlib/database"

	"flyte.onprem/testbed/flyte/internal/filters"
)

// Store reads and writes what is registered and what was executed.
type Store struct{ DB *gorm.DB }

// Name is something registered, without a version.
type Name struct{ Project, Domain, Name string }

// Described is a name with its metadata, if it has any.
type Described struct {
	Name
	Description string
	State       *int32
}

// Add inserts a row; ErrExists if there is one with its key.
func (s Store) Add(ctx context.Context, row any) error {
	return known(s.DB.WithContext(ctx).Create(row).Error)
}

// AddAll inserts rows together or not at all.
func (s Store) AddAll(ctx context.Context, rows ...any) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for _, row := range rows {
			if err := known(tx.Create(row).Error); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddOnce inserts a row unless there is one with its key.
func (s Store) AddOnce(ctx context.Context, row any) error {
	return s.DB.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(row).Error
}

func (s Store) Task(ctx context.Context, key Key) (*Task, error) {
	return take[Task](s.DB.WithContext(ctx), key)
}

func (s Store) Workflow(ctx context.Context, key Key) (*Workflow, error) {
	return take[Workflow](s.DB.WithContext(ctx), key)
}

func (s Store) LaunchPlan(ctx context.Context, key Key) (*LaunchPlan, error) {
	return take[LaunchPlan](s.DB.WithContext(ctx), key)
}

func (s Store) Execution(ctx context.Context, key ExecutionKey) (*Execution, error) {
	return take[Execution](s.DB.WithContext(ctx), key)
}

func (s Store) Node(ctx context.Context, key NodeKey) (*NodeExecution, error) {
	return take[NodeExecution](s.DB.WithContext(ctx), key)
}

func (s Store) Attempt(ctx context.Context, key AttemptKey) (*TaskExecution, error) {
	return take[TaskExecution](s.DB.WithContext(ctx), key)
}

func (s Store) Tasks(ctx context.Context, query filters.Query) ([]Task, error) {
	return find[Task](ctx, s, query)
}

func (s Store) Workflows(ctx context.Context, query filters.Query) ([]Workflow, error) {
	return find[Workflow](ctx, s, query)
}

func (s Store) LaunchPlans(ctx context.Context, query filters.Query) ([]LaunchPlan, error) {
	return find[LaunchPlan](ctx, s, query)
}

func (s Store) Executions(ctx context.Context, query filters.Query) ([]Execution, error) {
	return find[Execution](ctx, s, query)
}

func (s Store) Nodes(ctx context.Context, query filters.Query) ([]NodeExecution, error) {
	return find[NodeExecution](ctx, s, query)
}

func (s Store) Attempts(ctx context.Context, query filters.Query) ([]TaskExecution, error) {
	return find[TaskExecution](ctx, s, query)
}

// Names lists the names of a table of registered things, each once.
func (s Store) Names(ctx context.Context, table string, query filters.Query) ([]Name, error) {
	var names []Name
	return names, query.Apply(s.DB.WithContext(ctx).Table(table)).
		Select("project", "domain", "name").Group("project, domain, name").Scan(&names).Error
}

// Described lists the names of a table of registered things with their metadata.
func (s Store) Described(ctx context.Context, table string, kind int32, query filters.Query) ([]Described, error) {
	each := s.DB.Table(table).Select("project", "domain", "name").Group("project, domain, name")
	var names []Described
	return names, query.Apply(s.DB.WithContext(ctx).Table("(?) AS entities", each)).
		Joins("LEFT JOIN named_entity_metadata ON named_entity_metadata.resource_type = ?"+
			" AND named_entity_metadata.project = entities.project AND named_entity_metadata.domain = entities.domain"+
			" AND named_entity_metadata.name = entities.name", kind).
		Select("entities.project", "entities.domain", "entities.name",
			"named_entity_metadata.description", "named_entity_metadata.state").
		Scan(&names).Error
}

// Describe sets the metadata of a name.
func (s Store) Describe(ctx context.Context, metadata *NamedEntityMetadata) error {
	return s.DB.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "resource_type"}, {Name: "project"}, {Name: "domain"}, {Name: "name"}},
		DoUpdates: clause.AssignmentColumns([]string{"description", "state", "updated_at"}),
	}).Create(metadata).Error
}

// Activate makes one version of a launch plan the active one, or none with active false.
func (s Store) Activate(ctx context.Context, key Key, active bool) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if _, err := take[LaunchPlan](tx, key); err != nil {
			return err
		}
		if active {
			others := tx.Model(&LaunchPlan{}).Where("project = ? AND domain = ? AND name = ? AND state = 1", key.Project, key.Domain, key.Name)
			if err := others.Update("state", 0).Error; err != nil {
				return err
			}
		}
		state := 0
		if active {
			state = 1
		}
		return tx.Model(&LaunchPlan{}).Where(&LaunchPlan{Key: key}).Update("state", state).Error
	})
}

// ChangeExecution locks an execution, lets edit change it and stores it.
func (s Store) ChangeExecution(ctx context.Context, key ExecutionKey, edit func(*Execution) error) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row, err := take[Execution](locked(tx), key)
		if err != nil {
			return err
		}
		if err := edit(row); err != nil {
			return err
		}
		return update(tx, row)
	})
}

// RecordNode locks a node's row, or makes one, lets edit change it and stores it.
func (s Store) RecordNode(ctx context.Context, key NodeKey, edit func(row *NodeExecution, known bool) error) error {
	return record(ctx, s, key, &NodeExecution{NodeKey: key}, edit)
}

// RecordAttempt locks an attempt's row, or makes one, lets edit change it and stores it.
func (s Store) RecordAttempt(ctx context.Context, key AttemptKey, edit func(row *TaskExecution, known bool) error) error {
	return record(ctx, s, key, &TaskExecution{AttemptKey: key}, edit)
}

func record[Row any](ctx context.Context, s Store, key any, fresh *Row, edit func(*Row, bool) error) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row, err := take[Row](locked(tx), key)
		if errors.Is(err, ErrNotFound) {
			if err := edit(fresh, false); err != nil {
				return err
			}
			return known(tx.Create(fresh).Error)
		}
		if err != nil {
			return err
		}
		if err := edit(row, true); err != nil {
			return err
		}
		return update(tx, row)
	})
}

func locked(tx *gorm.DB) *gorm.DB {
	return tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
}

// update stores all fields of a row, also those that were emptied.
func update(tx *gorm.DB, row any) error {
	return tx.Model(row).Select("*").Omit("id", "created_at").Updates(row).Error
}

func known(err error) error {
	if stdlib.IsPgErrorWithCode(err, stdlib.PgDuplicatedKey) {
		return ErrExists
	}
	return err
}

// take reads the row with a key; every part of a key is set, so gorm compares all of them.
func take[Row any](tx *gorm.DB, key any) (*Row, error) {
	var row Row
	err := tx.Where(key).Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, ErrNotFound
	}
	return &row, err
}

func find[Row any](ctx context.Context, s Store, query filters.Query) ([]Row, error) {
	var rows []Row
	return rows, query.Apply(s.DB.WithContext(ctx)).Find(&rows).Error
}
