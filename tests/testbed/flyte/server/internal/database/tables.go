// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package database

import (
	"time"

	"gorm.io/gorm"
)

// Migrate creates the tables. Their names are those of flyteadmin and
// datacatalog, which share one database in the single binary, so that a check
// that looks for Flyte 1's tables finds them. Those that this server never
// writes have no more than the first columns.
func Migrate(db *gorm.DB) error {
	if err := db.AutoMigrate(
		&Project{}, &Task{}, &Workflow{}, &LaunchPlan{}, &NamedEntityMetadata{},
		&Execution{}, &ExecutionTag{}, &ExecutionEvent{},
		&NodeExecution{}, &NodeExecutionEvent{}, &TaskExecution{},
	); err != nil {
		return err
	}
	for _, table := range append(unusedTables, catalogTables...) {
		if err := db.Table(table).AutoMigrate(&row{}); err != nil {
			return err
		}
	}
	return nil
}

var unusedTables = []string{
	"resources", "schedulable_entities", "schedule_entities_snapshots", "description_entities", "signals",
	"admin_tags", "execution_admin_tags", "migrations",
}

var catalogTables = []string{
	"datasets", "artifacts", "artifact_data", "tags", "partition_keys", "partitions", "reservations",
}

// row stands for a table that stays empty.
type row struct {
	ID        uint `gorm:"primarykey"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt *time.Time `gorm:"index"`
}
