// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package database

import (
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"flyte.onprem/testbed/flyte/internal/filters"
)

// Base is what every table of flyteadmin starts with.
type Base struct {
	ID        uint `gorm:"autoIncrement;index"`
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt *time.Time `gorm:"index"`
}

// Key is one version of something registered.
type Key struct {
	Project string `gorm:"primaryKey"`
	Domain  string `gorm:"primaryKey"`
	Name    string `gorm:"primaryKey"`
	Version string `gorm:"primaryKey"`
}

// KeyOf is the key of an identifier.
func KeyOf(id *core.Identifier) Key {
	return Key{Project: id.GetProject(), Domain: id.GetDomain(), Name: id.GetName(), Version: id.GetVersion()}
}

// Identifier is the key as the API spells it.
func (k Key) Identifier(kind core.ResourceType) *core.Identifier {
	return &core.Identifier{ResourceType: kind, Project: k.Project, Domain: k.Domain, Name: k.Name, Version: k.Version}
}

// Task is one row of table tasks.
type Task struct {
	Base
	Key
	Closure          []byte `gorm:"not null"`
	Digest           []byte
	Type             string
	ShortDescription string
}

// Workflow is one row of table workflows; its compiled form is in the object store.
type Workflow struct {
	Base
	Key
	TypedInterface          []byte
	RemoteClosureIdentifier string `gorm:"not null"`
	Digest                  []byte
	ShortDescription        string
}

// LaunchPlan is one row of table launch_plans.
type LaunchPlan struct {
	Base
	Key
	Spec         []byte `gorm:"not null"`
	WorkflowID   uint   `gorm:"index"`
	Closure      []byte `gorm:"not null"`
	State        *int32 `gorm:"default:0"`
	Digest       []byte
	ScheduleType string
}

// NamedEntityMetadata is one row of table named_entity_metadata.
type NamedEntityMetadata struct {
	Base
	ResourceType core.ResourceType `gorm:"primaryKey"`
	Project      string            `gorm:"primaryKey"`
	Domain       string            `gorm:"primaryKey"`
	Name         string            `gorm:"primaryKey"`
	Description  string            `gorm:"type:varchar(300)"`
	State        *int32            `gorm:"default:0"`
}

// TableName keeps the singular of flyteadmin.
func (NamedEntityMetadata) TableName() string { return "named_entity_metadata" }

// ExecutionKey names an execution.
type ExecutionKey struct {
	Project string `gorm:"primaryKey;column:execution_project"`
	Domain  string `gorm:"primaryKey;column:execution_domain"`
	Name    string `gorm:"primaryKey;column:execution_name"`
}

// ExecutionKeyOf is the key of an identifier.
func ExecutionKeyOf(id *core.WorkflowExecutionIdentifier) ExecutionKey {
	return ExecutionKey{Project: id.GetProject(), Domain: id.GetDomain(), Name: id.GetName()}
}

// Identifier is the key as the API spells it.
func (k ExecutionKey) Identifier() *core.WorkflowExecutionIdentifier {
	return &core.WorkflowExecutionIdentifier{Project: k.Project, Domain: k.Domain, Name: k.Name}
}

// Execution is one row of table executions.
type Execution struct {
	Base
	ExecutionKey
	LaunchPlanID          uint   `gorm:"index"`
	WorkflowID            uint   `gorm:"index"`
	TaskID                uint   `gorm:"index"`
	Phase                 string `gorm:"index"`
	Closure               []byte
	Spec                  []byte `gorm:"not null"`
	StartedAt             *time.Time
	ExecutionCreatedAt    *time.Time `gorm:"index"`
	ExecutionUpdatedAt    *time.Time
	Duration              time.Duration
	AbortCause            string
	Mode                  int32
	SourceExecutionID     uint
	ParentNodeExecutionID uint
	Cluster               string
	InputsURI             string
	UserInputsURI         string
	ErrorKind             *string `gorm:"index"`
	ErrorCode             *string
	User                  string `gorm:"index"`
	State                 *int32 `gorm:"index;default:0"`
	LaunchEntity          string
}

// ExecutionTag is one row of table execution_tags: a label or, without a value, a tag.
type ExecutionTag struct {
	Base
	ExecutionKey
	Key   string `gorm:"primaryKey"`
	Value string `gorm:"primaryKey"`
}

// ExecutionEvent is one row of table execution_events.
type ExecutionEvent struct {
	Base
	ExecutionKey
	RequestID  string
	OccurredAt time.Time
	Phase      string `gorm:"primaryKey"`
}

// NodeKey names a node of an execution.
type NodeKey struct {
	ExecutionKey
	NodeID string `gorm:"primaryKey;index"`
}

// NodeKeyOf is the key of an identifier.
func NodeKeyOf(id *core.NodeExecutionIdentifier) NodeKey {
	return NodeKey{ExecutionKey: ExecutionKeyOf(id.GetExecutionId()), NodeID: id.GetNodeId()}
}

// Identifier is the key as the API spells it.
func (k NodeKey) Identifier() *core.NodeExecutionIdentifier {
	return &core.NodeExecutionIdentifier{NodeId: k.NodeID, ExecutionId: k.ExecutionKey.Identifier()}
}

// NodeExecution is one row of table node_executions.
type NodeExecution struct {
	Base
	NodeKey
	Phase                                 string
	InputURI                              string
	Closure                               []byte
	StartedAt                             *time.Time
	NodeExecutionCreatedAt                *time.Time
	NodeExecutionUpdatedAt                *time.Time
	Duration                              time.Duration
	NodeExecutionMetadata                 []byte
	ParentID                              *uint   `gorm:"index"`
	ParentTaskExecutionID                 *uint   `gorm:"index"`
	ErrorKind                             *string `gorm:"index"`
	ErrorCode                             *string
	CacheStatus                           *string
	DynamicWorkflowRemoteClosureReference string
	InternalData                          []byte
}

// NodeExecutionEvent is one row of table node_execution_events.
type NodeExecutionEvent struct {
	Base
	NodeKey
	RequestID  string
	OccurredAt time.Time
	Phase      string `gorm:"primaryKey"`
}

// AttemptKey names one attempt of a task in a node of an execution.
type AttemptKey struct {
	Key
	NodeKey
	RetryAttempt *uint32 `gorm:"primaryKey"`
}

// AttemptKeyOf is the key of an identifier.
func AttemptKeyOf(id *core.TaskExecutionIdentifier) AttemptKey {
	attempt := id.GetRetryAttempt()
	return AttemptKey{Key: KeyOf(id.GetTaskId()), NodeKey: NodeKeyOf(id.GetNodeExecutionId()), RetryAttempt: &attempt}
}

// Identifier is the key as the API spells it.
func (k AttemptKey) Identifier() *core.TaskExecutionIdentifier {
	return &core.TaskExecutionIdentifier{
		TaskId:          k.Key.Identifier(core.ResourceType_TASK),
		NodeExecutionId: k.NodeKey.Identifier(),
		RetryAttempt:    *k.RetryAttempt,
	}
}

// TaskExecution is one row of table task_executions.
type TaskExecution struct {
	Base
	AttemptKey
	Phase                  string
	PhaseVersion           uint32
	InputURI               string
	Closure                []byte
	StartedAt              *time.Time
	TaskExecutionCreatedAt *time.Time
	TaskExecutionUpdatedAt *time.Time
	Duration               time.Duration
}

// What filters and sort orders of each list may name.
var (
	ProjectEntity  = &filters.Entity{Name: "project", Columns: filters.Columns("projects", Project{})}
	TaskEntity     = &filters.Entity{Name: "task", Columns: filters.Columns("tasks", Task{})}
	WorkflowEntity = &filters.Entity{Name: "workflow", Columns: filters.Columns("workflows", Workflow{})}
	PlanEntity     = &filters.Entity{
		Name: "launch_plan", Columns: filters.Columns("launch_plans", LaunchPlan{}),
		Joins: []filters.Join{{Entity: WorkflowEntity, SQL: "JOIN workflows ON launch_plans.workflow_id = workflows.id"}},
	}
	tagEntity       = &filters.Entity{Name: "execution_tag", Columns: filters.Columns("execution_tags", ExecutionTag{})}
	ExecutionEntity = &filters.Entity{
		Name: "execution", Columns: filters.Columns("executions", Execution{}),
		Joins: []filters.Join{
			{Entity: PlanEntity, SQL: "JOIN launch_plans ON executions.launch_plan_id = launch_plans.id"},
			{Entity: WorkflowEntity, SQL: "JOIN workflows ON executions.workflow_id = workflows.id"},
			{Entity: TaskEntity, SQL: "JOIN tasks ON executions.task_id = tasks.id"},
			{Entity: tagEntity, SQL: sameExecution("JOIN", "execution_tags", "executions")},
		},
	}
	NodeEntity = &filters.Entity{
		Name: "node_execution", Columns: filters.Columns("node_executions", NodeExecution{}),
		Joins: []filters.Join{{Entity: ExecutionEntity, SQL: sameExecution("JOIN", "executions", "node_executions")}},
	}
	AttemptEntity = &filters.Entity{
		Name: "task_execution", Columns: filters.Columns("task_executions", TaskExecution{}),
		Joins: []filters.Join{
			{Entity: ExecutionEntity, SQL: sameExecution("JOIN", "executions", "task_executions")},
			{
				Entity: NodeEntity,
				SQL:    sameExecution("JOIN", "node_executions", "task_executions") + " AND node_executions.node_id = task_executions.node_id",
			},
			{
				// Tasks of a dynamic workflow are not registered: they stay in the list.
				Entity: TaskEntity,
				SQL: "LEFT JOIN tasks ON task_executions.project = tasks.project AND task_executions.domain = tasks.domain" +
					" AND task_executions.name = tasks.name AND task_executions.version = tasks.version",
			},
		},
	}
	NamedEntity = &filters.Entity{Name: "entities", Columns: map[string]string{
		"project": "entities.project", "domain": "entities.domain", "name": "entities.name",
		"description": "named_entity_metadata.description",
		// Without metadata an entity is active.
		"state": "COALESCE(named_entity_metadata.state, 0)",
	}}
)

func sameExecution(join, table, with string) string {
	sql := join + " " + table + " ON "
	for i, part := range []string{"execution_project", "execution_domain", "execution_name"} {
		if i > 0 {
			sql += " AND "
		}
		sql += table + "." + part + " = " + with + "." + part
	}
	return sql
}
