// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package database

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"

	"flyte.onprem/testbed/flyte/internal/filters"
)

var (
	// ErrExists is returned for a row that is there already.
	ErrExists = errors.New("exists")
	// ErrNotFound is returned for a row that is not there.
	ErrNotFound = errors.New("not found")
)

// Project is one row of table projects.
type Project struct {
	ID          uint `gorm:"autoIncrement;index"`
	CreatedAt   time.Time
	UpdatedAt   time.Time
	DeletedAt   *time.Time `gorm:"index"`
	Identifier  string     `gorm:"primaryKey"`
	Name        string
	Description string `gorm:"type:varchar(300)"`
	Labels      []byte
	State       *int32 `gorm:"default:0;index"`
}

// Projects reads and writes table projects.
type Projects struct{ DB *gorm.DB }

// Seed creates the project unless it exists.
func (p Projects) Seed(ctx context.Context, identifier, description string) error {
	active := int32(admin.Project_ACTIVE)
	seed := Project{Identifier: identifier, Name: identifier, Description: description, State: &active}
	return p.DB.WithContext(ctx).
		Where(&Project{Identifier: identifier}).
		FirstOrCreate(&seed).Error
}

// Create adds a project.
func (p Projects) Create(ctx context.Context, project *Project) error {
	return known(p.DB.WithContext(ctx).Create(project).Error)
}

// Get reads one project.
func (p Projects) Get(ctx context.Context, identifier string) (*Project, error) {
	if identifier == "" {
		return nil, ErrNotFound
	}
	return take[Project](p.DB.WithContext(ctx), Project{Identifier: identifier})
}

// Update replaces what a client may change of a project.
func (p Projects) Update(ctx context.Context, project *Project) error {
	return p.DB.WithContext(ctx).Model(&Project{}).
		Where("identifier = ?", project.Identifier).
		Updates(project).Error
}

// List returns the projects that are not archived.
func (p Projects) List(ctx context.Context) ([]Project, error) {
	return p.Find(ctx, NotArchived(filters.Query{Order: ProjectEntity.Columns["identifier"]}))
}

// Find returns the projects that a query asks for.
func (p Projects) Find(ctx context.Context, query filters.Query) ([]Project, error) {
	var projects []Project
	return projects, query.Apply(p.DB.WithContext(ctx)).Find(&projects).Error
}

// NotArchived leaves archived projects out of a query.
func NotArchived(query filters.Query) filters.Query {
	query.Where = append(query.Where, filters.Condition{
		SQL: ProjectEntity.Columns["state"] + " <> ?", Value: int32(admin.Project_ARCHIVED),
	})
	return query
}
