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
// that looks for Flyte 1's tables finds them. Only projects has all columns.
func Migrate(db *gorm.DB) error {
	if err := db.AutoMigrate(&Project{}); err != nil {
		return err
	}
	for _, table := range append(adminTables, catalogTables...) {
		if err := db.Table(table).AutoMigrate(&row{}); err != nil {
			return err
		}
	}
	return nil
}

var adminTables = []string{
	"tasks", "workflows", "launch_plans", "executions", "execution_events",
	"node_executions", "node_execution_events", "task_executions",
	"named_entity_metadata", "resources", "schedulable_entities",
	"schedule_entities_snapshots", "description_entities", "signals",
	"admin_tags", "execution_admin_tags", "migrations",
}

var catalogTables = []string{
	"datasets", "artifacts", "artifact_data", "tags", "partition_keys", "partitions", "reservations",
}

// row is what every table starts with.
type row struct {
	ID        uint `gorm:"primarykey"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt *time.Time `gorm:"index"`
}
