// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package executions starts, shows and ends executions. What runs them is Flyte's
// own flytepropeller: this package makes the FlyteWorkflow object that it works
// on, and reads what it reported.
package executions

import (
	"context"
	"slices"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/filters"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/registry"
	"flyte.onprem/testbed/flyte/internal/validate"
)

// Service is the part of AdminService that executes.
type Service struct {
	Store    Store
	Projects validate.Projects
	Registry Registry
	Objects  *storage.DataStore
	Cluster  Cluster
}

// Store is what executions need of the database.
type Store interface {
	AddAll(ctx context.Context, rows ...any) error
	LaunchPlan(ctx context.Context, key database.Key) (*database.LaunchPlan, error)
	Workflow(ctx context.Context, key database.Key) (*database.Workflow, error)
	Execution(ctx context.Context, key database.ExecutionKey) (*database.Execution, error)
	Executions(ctx context.Context, query filters.Query) ([]database.Execution, error)
	ChangeExecution(ctx context.Context, key database.ExecutionKey, edit func(*database.Execution) error) error
	Node(ctx context.Context, key database.NodeKey) (*database.NodeExecution, error)
	Nodes(ctx context.Context, query filters.Query) ([]database.NodeExecution, error)
	Attempt(ctx context.Context, key database.AttemptKey) (*database.TaskExecution, error)
	Attempts(ctx context.Context, query filters.Query) ([]database.TaskExecution, error)
}

// Registry finds what an execution refers to.
type Registry interface {
	GetLaunchPlan(ctx context.Context, request *admin.ObjectGetRequest) (*admin.LaunchPlan, error)
	Compiled(ctx context.Context, row *database.Workflow) (*admin.WorkflowClosure, error)
	Wrap(ctx context.Context, task *core.Identifier, spec *admin.ExecutionSpec) (*registry.Wrapped, error)
}

// Cluster is where FlyteWorkflow objects live.
type Cluster interface {
	Create(ctx context.Context, workflow *v1alpha1.FlyteWorkflow) error
	Delete(ctx context.Context, namespace, name string) error
}

var (
	endedExecution = []core.WorkflowExecution_Phase{
		core.WorkflowExecution_SUCCEEDED, core.WorkflowExecution_FAILED,
		core.WorkflowExecution_TIMED_OUT, core.WorkflowExecution_ABORTED,
	}
	endedNode = []core.NodeExecution_Phase{
		core.NodeExecution_SUCCEEDED, core.NodeExecution_FAILED, core.NodeExecution_TIMED_OUT,
		core.NodeExecution_ABORTED, core.NodeExecution_SKIPPED, core.NodeExecution_RECOVERED,
	}
	endedTask = []core.TaskExecution_Phase{
		core.TaskExecution_SUCCEEDED, core.TaskExecution_FAILED, core.TaskExecution_ABORTED,
	}
)

// Ended says whether an execution can still change.
func Ended(phase core.WorkflowExecution_Phase) bool { return slices.Contains(endedExecution, phase) }

// NodeEnded says whether a node can still change.
func NodeEnded(phase core.NodeExecution_Phase) bool { return slices.Contains(endedNode, phase) }

// TaskEnded says whether a task's attempt can still change.
func TaskEnded(phase core.TaskExecution_Phase) bool { return slices.Contains(endedTask, phase) }

// Phase reads the phase of a row.
func Phase(row *database.Execution) core.WorkflowExecution_Phase {
	return core.WorkflowExecution_Phase(core.WorkflowExecution_Phase_value[row.Phase])
}

// Offload writes inputs or outputs to where flyteadmin keeps those that it got by value.
func Offload(ctx context.Context, objects *storage.DataStore, literals *core.LiteralMap, parts ...string) (storage.DataReference, error) {
	if literals == nil {
		literals = &core.LiteralMap{}
	}
	reference, err := objects.ConstructReference(ctx, objects.GetBaseContainerFQN(ctx), append([]string{"metadata"}, parts...)...)
	if err != nil {
		return "", refusal.Internal("failed to construct data reference for %v with err: %v", parts, err)
	}
	if err := objects.WriteProtobuf(ctx, reference, storage.Options{}, literals); err != nil {
		return "", refusal.Internal("failed to write protobuf for %v with err: %v", parts, err)
	}
	return reference, nil
}
