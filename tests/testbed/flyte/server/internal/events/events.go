// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package events records what flytepropeller reports about executions, their
// nodes and the attempts of their tasks, by flyteadmin's rules: nothing twice,
// nothing after the end.
package events

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/logger"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
)

// anyCluster is what flytepropeller calls itself unless it is told its name.
const anyCluster = "propeller"

// Service is the part of AdminService that flytepropeller talks to.
type Service struct {
	Store   Store
	Objects *storage.DataStore
}

// Store is what events need of the database.
type Store interface {
	Execution(ctx context.Context, key database.ExecutionKey) (*database.Execution, error)
	Node(ctx context.Context, key database.NodeKey) (*database.NodeExecution, error)
	Attempt(ctx context.Context, key database.AttemptKey) (*database.TaskExecution, error)
	ChangeExecution(ctx context.Context, key database.ExecutionKey, edit func(*database.Execution) error) error
	RecordNode(ctx context.Context, key database.NodeKey, edit func(row *database.NodeExecution, known bool) error) error
	RecordAttempt(ctx context.Context, key database.AttemptKey, edit func(row *database.TaskExecution, known bool) error) error
	AddOnce(ctx context.Context, row any) error
}

// checkCluster refuses events of a cluster that does not run the execution.
func checkCluster(recorded, producer string) error {
	if producer == "" || producer == anyCluster || producer == recorded {
		return nil
	}
	return refusal.OtherCluster(recorded, "cluster/producer from event [%s] does not match existing workflow execution cluster [%s]", producer, recorded)
}

// log adds a line to a table of events. A failure loses the line, not the event.
func (s *Service) log(ctx context.Context, row any) {
	if err := s.Store.AddOnce(ctx, row); err != nil {
		logger.Warningf(ctx, "Failed to write %T: %v", row, err)
	}
}

// write puts a message below the prefix of flyteadmin's own objects.
func (s *Service) write(ctx context.Context, compiled *core.CompiledWorkflowClosure, parts ...string) (string, error) {
	reference, err := s.Objects.ConstructReference(ctx, s.Objects.GetBaseContainerFQN(ctx),
		slices.Concat(settings.GetAdmin().MetadataStoragePrefix, parts)...)
	if err != nil {
		return "", refusal.Internal("failed to construct a storage location for %v: %v", parts, err)
	}
	if err := s.Objects.WriteProtobuf(ctx, reference, storage.Options{}, compiled); err != nil {
		return "", refusal.Internal("failed to upload dynamic workflow closure to %s: %v", reference, err)
	}
	return reference.String(), nil
}

func moment(at *timestamppb.Timestamp) *time.Time {
	moment := at.AsTime()
	return &moment
}

// reported is when something was reported, or when it happened if nobody says.
func reported(at, occurred *timestamppb.Timestamp) *timestamppb.Timestamp {
	if at.GetSeconds() == 0 && at.GetNanos() == 0 {
		return occurred
	}
	return at
}

// elapsed is how long something ran; nothing if its start was never reported.
func elapsed(started *time.Time, ended *timestamppb.Timestamp) (time.Duration, *durationpb.Duration) {
	if started == nil {
		return 0, nil
	}
	duration := ended.AsTime().Sub(*started)
	return duration, durationpb.New(duration)
}
