// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package dataproxy

import (
	"context"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"

	"flyte.onprem/testbed/flyte/internal/refusal"
)

// oneRun has a node n0 with one attempt; each side of each holds its own name.
type oneRun struct{}

func holding(value string) *core.LiteralMap {
	return &core.LiteralMap{Literals: map[string]*core.Literal{"v": {Hash: value}}}
}

func (oneRun) GetNodeExecution(context.Context, *admin.NodeExecutionGetRequest) (*admin.NodeExecution, error) {
	return &admin.NodeExecution{}, nil
}

func (oneRun) GetNodeExecutionData(_ context.Context, request *admin.NodeExecutionGetDataRequest) (*admin.NodeExecutionGetDataResponse, error) {
	if request.GetId().GetNodeId() != "n0" {
		return nil, refusal.NotFound("node execution", request.GetId())
	}
	return &admin.NodeExecutionGetDataResponse{FullInputs: holding("node in"), FullOutputs: holding("node out")}, nil
}

func (oneRun) ListTaskExecutions(_ context.Context, request *admin.TaskExecutionListRequest) (*admin.TaskExecutionList, error) {
	if request.GetFilters() != "eq(retry_attempt,0)" {
		return &admin.TaskExecutionList{}, nil
	}
	return &admin.TaskExecutionList{TaskExecutions: []*admin.TaskExecution{{}}}, nil
}

func (oneRun) GetTaskExecutionData(context.Context, *admin.TaskExecutionGetDataRequest) (*admin.TaskExecutionGetDataResponse, error) {
	return &admin.TaskExecutionGetDataResponse{FullInputs: holding("task in"), FullOutputs: holding("task out")}, nil
}

func TestDataIsFoundByItsAddress(t *testing.T) {
	s := &Service{Executions: oneRun{}}
	for url, want := range map[string]string{
		"flyte://v1/p/d/a1/n0/i":     "node in",
		"flyte://v1/p/d/a1/n0/o":     "node out",
		"flyte://v1/p/d/a1/n0/0/i":   "task in",
		"flyte://v1/p/d/a1/n0/0/o":   "task out",
		"flyte://v1/p/d/a1/n0/o/v":   "node out",
		"flyte://v1/p/d/a1/n0/0/i/v": "task in",
	} {
		answer, err := s.GetData(t.Context(), &service.GetDataRequest{FlyteUrl: url})
		literal := answer.GetLiteral()
		if literal == nil {
			literal = answer.GetLiteralMap().GetLiterals()["v"]
		}
		if err != nil || literal.GetHash() != want {
			t.Errorf("%s: got %v, %v", url, answer, err)
		}
	}
}

func TestAddressesThatLeadNowhere(t *testing.T) {
	s := &Service{Executions: oneRun{}}
	for url, want := range map[string]codes.Code{
		"":                           codes.InvalidArgument,
		"s3://bucket/key":            codes.InvalidArgument,
		"flyte://v1/p/d/a1/n0":       codes.InvalidArgument,
		"flyte://v1/p/d/a1/n0/x":     codes.InvalidArgument,
		"flyte://v1/p/d/a1/n0/o/w":   codes.InvalidArgument,
		"flyte://v1/p/d/a1/n0/1/o":   codes.InvalidArgument,
		"flyte://v1/p/d/a1/n0/0/d":   codes.InvalidArgument,
		"flyte://v1/p/d/a1/n0/d":     codes.NotFound,
		"flyte://v1/p/d/a1/n1/o":     codes.NotFound,
		"flyte://v1/p/d/a1/n0/o/v/w": codes.InvalidArgument,
	} {
		if _, err := s.GetData(t.Context(), &service.GetDataRequest{FlyteUrl: url}); status.Code(err) != want {
			t.Errorf("%q: got %v, expected %v", url, err, want)
		}
	}
}
