// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package dataproxy

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/flyteorg/stow"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
)

// Executions reads what nodes and attempts got and made.
type Executions interface {
	GetNodeExecution(ctx context.Context, request *admin.NodeExecutionGetRequest) (*admin.NodeExecution, error)
	GetNodeExecutionData(ctx context.Context, request *admin.NodeExecutionGetDataRequest) (*admin.NodeExecutionGetDataResponse, error)
	ListTaskExecutions(ctx context.Context, request *admin.TaskExecutionListRequest) (*admin.TaskExecutionList, error)
	GetTaskExecutionData(ctx context.Context, request *admin.TaskExecutionGetDataRequest) (*admin.TaskExecutionGetDataResponse, error)
}

// address is flyte://v1/project/domain/execution/node[/attempt]/{i,o,d}[/name].
var address = regexp.MustCompile(`^flyte://v1/([\w-]+)/([\w-]+)/([\w-]+)/([\w-]+)(?:/(\d+))?/(?:([io])(?:/([\w-]+))?|(d))$`)

// CreateDownloadLink signs a GET of a node's deck.
func (s *Service) CreateDownloadLink(ctx context.Context, request *service.CreateDownloadLinkRequest) (*service.CreateDownloadLinkResponse, error) {
	lifetime, err := lifetime(request.GetExpiresIn(), settings.GetServer().DataProxy.Download.MaxExpiresIn.Duration)
	if err != nil {
		return nil, err
	}
	if request.GetArtifactType() != service.ArtifactType_ARTIFACT_TYPE_DECK {
		return nil, refusal.Invalid("invalid artifact type [%v]", request.GetArtifactType())
	}
	if request.GetNodeExecutionId() == nil {
		return nil, refusal.Invalid("unsupported source [%T]", request.GetSource())
	}
	node, err := s.Executions.GetNodeExecution(ctx, &admin.NodeExecutionGetRequest{Id: request.GetNodeExecutionId()})
	if err != nil {
		return nil, refusal.Invalid("failed to find node execution [%v]. Error: %v", request.GetNodeExecutionId(), err)
	}
	deck := storage.DataReference(node.GetClosure().GetDeckUri())
	if deck == "" {
		return nil, refusal.NotFound("deck", request.GetNodeExecutionId())
	}
	found, err := s.Store.Head(ctx, deck)
	if err != nil {
		return nil, refusal.Internal("failed to head object before signing url. Error: %v", err)
	}
	if !found.Exists() {
		return nil, refusal.NotFound("object", deck)
	}
	signed, err := s.Store.CreateSignedURL(ctx, deck, storage.SignedURLProperties{Scope: stow.ClientMethodGet, ExpiresIn: lifetime})
	if err != nil {
		return nil, refusal.Internal("failed to create a signed url: %v", err)
	}
	urls := &service.PreSignedURLs{
		SignedUrl: []string{signed.URL.String()}, ExpiresAt: timestamppb.New(time.Now().Add(lifetime)),
	}
	return &service.CreateDownloadLinkResponse{
		SignedUrl: urls.GetSignedUrl(), ExpiresAt: urls.GetExpiresAt(), PreSignedUrls: urls,
	}, nil
}

// GetData finds inputs, outputs or the deck behind an address of Flyte's own.
func (s *Service) GetData(ctx context.Context, request *service.GetDataRequest) (*service.GetDataResponse, error) {
	parts := address.FindStringSubmatch(request.GetFlyteUrl())
	if parts == nil {
		return nil, refusal.Invalid("failed to parse artifact url [%s]: expected flyte://v1/PROJECT/DOMAIN/EXECUTION/NODE[/ATTEMPT]/i, o or d, then /NAME for one value", request.GetFlyteUrl())
	}
	node := &core.NodeExecutionIdentifier{NodeId: parts[4], ExecutionId: &core.WorkflowExecutionIdentifier{
		Project: parts[1], Domain: parts[2], Name: parts[3],
	}}
	attempt, side, name, deck := parts[5], parts[6], parts[7], parts[8] != ""
	switch {
	case deck && attempt != "":
		return nil, refusal.Invalid("a deck belongs to a node: leave the attempt out of [%s]", request.GetFlyteUrl())
	case deck:
		link, err := s.CreateDownloadLink(ctx, &service.CreateDownloadLinkRequest{
			ArtifactType: service.ArtifactType_ARTIFACT_TYPE_DECK,
			Source:       &service.CreateDownloadLinkRequest_NodeExecutionId{NodeExecutionId: node},
		})
		if err != nil {
			return nil, err
		}
		return &service.GetDataResponse{Data: &service.GetDataResponse_PreSignedUrls{PreSignedUrls: link.GetPreSignedUrls()}}, nil
	}
	data, err := s.sides(ctx, node, attempt)
	if err != nil {
		return nil, err
	}
	literals := data.GetFullOutputs()
	if side == "i" {
		literals = data.GetFullInputs()
	}
	if name == "" {
		return &service.GetDataResponse{Data: &service.GetDataResponse_LiteralMap{LiteralMap: literals}}, nil
	}
	literal, ok := literals.GetLiterals()[name]
	if !ok {
		return nil, refusal.Invalid("name [%s] not found in [%s]", name, request.GetFlyteUrl())
	}
	return &service.GetDataResponse{Data: &service.GetDataResponse_Literal{Literal: literal}}, nil
}

// both is the data of a node or of an attempt.
type both interface {
	GetFullInputs() *core.LiteralMap
	GetFullOutputs() *core.LiteralMap
}

func (s *Service) sides(ctx context.Context, node *core.NodeExecutionIdentifier, attempt string) (both, error) {
	if attempt == "" {
		return s.Executions.GetNodeExecutionData(ctx, &admin.NodeExecutionGetDataRequest{Id: node})
	}
	if _, err := strconv.ParseUint(attempt, 10, 32); err != nil {
		return nil, refusal.Invalid("failed to parse attempt [%s]", attempt)
	}
	list, err := s.Executions.ListTaskExecutions(ctx, &admin.TaskExecutionListRequest{
		NodeExecutionId: node, Limit: 1, Filters: fmt.Sprintf("eq(retry_attempt,%s)", attempt),
	})
	if err != nil {
		return nil, err
	}
	if len(list.GetTaskExecutions()) == 0 {
		return nil, refusal.Invalid("no attempt %s of node execution [%v]", attempt, node)
	}
	return s.Executions.GetTaskExecutionData(ctx, &admin.TaskExecutionGetDataRequest{Id: list.GetTaskExecutions()[0].GetId()})
}
