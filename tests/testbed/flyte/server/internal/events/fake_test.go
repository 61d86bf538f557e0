// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package events

import (
	"context"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/database"
)

var (
	executionID = &core.WorkflowExecutionIdentifier{Project: "flytesnacks", Domain: "development", Name: "a1"}
	nodeID      = &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: executionID}
	taskID      = &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "flytesnacks", Domain: "development", Name: "t", Version: "v"}
	attemptID   = &core.TaskExecutionIdentifier{TaskId: taskID, NodeExecutionId: nodeID}
)

// tables are the rows of the database in memory.
type tables struct {
	executions map[database.ExecutionKey]*database.Execution
	nodes      map[database.NodeKey]*database.NodeExecution
	attempts   map[string]*database.TaskExecution
	log        []any
}

func attemptKey(key database.AttemptKey) string {
	return fmt.Sprintf("%v %v %d", key.Key, key.NodeKey, *key.RetryAttempt)
}

func (s *tables) Execution(_ context.Context, key database.ExecutionKey) (*database.Execution, error) {
	return found(s.executions[key])
}

func (s *tables) Node(_ context.Context, key database.NodeKey) (*database.NodeExecution, error) {
	return found(s.nodes[key])
}

func (s *tables) Attempt(_ context.Context, key database.AttemptKey) (*database.TaskExecution, error) {
	return found(s.attempts[attemptKey(key)])
}

func (s *tables) ChangeExecution(_ context.Context, key database.ExecutionKey, edit func(*database.Execution) error) error {
	row, err := found(s.executions[key])
	if err != nil {
		return err
	}
	return edit(row)
}

func (s *tables) RecordNode(_ context.Context, key database.NodeKey, edit func(*database.NodeExecution, bool) error) error {
	row, known := s.nodes[key]
	if !known {
		row = &database.NodeExecution{NodeKey: key, Base: database.Base{ID: uint(len(s.nodes) + 1)}}
	}
	if err := edit(row, known); err != nil {
		return err
	}
	s.nodes[key] = row
	return nil
}

func (s *tables) RecordAttempt(_ context.Context, key database.AttemptKey, edit func(*database.TaskExecution, bool) error) error {
	row, known := s.attempts[attemptKey(key)]
	if !known {
		row = &database.TaskExecution{AttemptKey: key}
	}
	if err := edit(row, known); err != nil {
		return err
	}
	s.attempts[attemptKey(key)] = row
	return nil
}

func (s *tables) AddOnce(_ context.Context, row any) error {
	s.log = append(s.log, row)
	return nil
}

func found[Row any](row *Row) (*Row, error) {
	if row == nil {
		return nil, database.ErrNotFound
	}
	return row, nil
}

// newService has one execution in a phase, and an object store in memory.
func newService(t *testing.T, phase core.WorkflowExecution_Phase) (*Service, *tables) {
	t.Helper()
	labeled.UnsetMetricKeys()
	labeled.SetMetricKeys(storage.FailureTypeLabel)
	objects, err := storage.NewDataStore(&storage.Config{Type: storage.TypeMemory, InitContainer: "meta"}, promutils.NewTestScope())
	if err != nil {
		t.Fatal(err)
	}
	key := database.ExecutionKeyOf(executionID)
	rows := &tables{
		executions: map[database.ExecutionKey]*database.Execution{key: {ExecutionKey: key, Phase: phase.String()}},
		nodes:      map[database.NodeKey]*database.NodeExecution{},
		attempts:   map[string]*database.TaskExecution{},
	}
	return &Service{Store: rows, Objects: objects}, rows
}

func second(n int) *timestamppb.Timestamp {
	return timestamppb.New(time.Date(2026, 1, 1, 0, 0, n, 0, time.UTC))
}

func read[Message proto.Message](t *testing.T, data []byte, message Message) Message {
	t.Helper()
	if err := proto.Unmarshal(data, message); err != nil {
		t.Fatal(err)
	}
	return message
}
