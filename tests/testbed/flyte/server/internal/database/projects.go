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
	stdlib "github.com/flyteorg/flyte/flytestdlib/database"
)

var (
	// ErrExists is returned for a project that is there already.
	ErrExists = errors.New("exists")
	// ErrNotFound is returned for a project that is not there.
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
	err := p.DB.WithContext(ctx).Create(project).Error
	if stdlib.IsPgErrorWithCode(err, stdlib.PgDuplicatedKey) {
		return ErrExists
	}
	return err
}

// Get reads one project.
func (p Projects) Get(ctx context.Context, identifier string) (*Project, error) {
	var project Project
	err := p.DB.WithContext(ctx).Where(&Project{Identifier: identifier}).Take(&project).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, ErrNotFound
	}
	return &project, err
}

// Update replaces what a client may change of a project.
func (p Projects) Update(ctx context.Context, project *Project) error {
	return p.DB.WithContext(ctx).Model(&Project{}).
		Where("identifier = ?", project.Identifier).
		Updates(project).Error
}

// List returns the projects that are not archived by name, from offset on; a
// limit of 0 means all.
func (p Projects) List(ctx context.Context, offset, limit int) ([]Project, error) {
	query := p.DB.WithContext(ctx).
		Where("state <> ?", int32(admin.Project_ARCHIVED)).
		Order("identifier").Offset(offset)
	if limit > 0 {
		query = query.Limit(limit)
	}
	var projects []Project
	return projects, query.Find(&projects).Error
}
