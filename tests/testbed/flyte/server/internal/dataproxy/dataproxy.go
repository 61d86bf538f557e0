// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package dataproxy is flyteadmin's DataProxyService: it signs addresses in the
// object store for clients and finds the data of executions.
package dataproxy

import (
	"context"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"time"

	"github.com/flyteorg/stow"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/settings"
)

// Service signs with the store of section `storage`. Signing needs no answer of
// the store: a URL into a bucket that is not there is signed as any other.
type Service struct {
	service.UnimplementedDataProxyServiceServer
	Store      *storage.DataStore
	Executions Executions
}

// CreateUploadLocation signs a PUT of the object that the request describes.
func (s *Service) CreateUploadLocation(ctx context.Context, request *service.CreateUploadLocationRequest) (*service.CreateUploadLocationResponse, error) {
	if request.GetProject() == "" || request.GetDomain() == "" {
		return nil, status.Error(codes.InvalidArgument, "project and domain are required parameters")
	}
	folder := request.GetFilenameRoot()
	if folder == "" {
		if len(request.GetContentMd5()) == 0 {
			return nil, status.Error(codes.InvalidArgument, "content_md5 or filename_root is a required parameter")
		}
		folder = base32.StdEncoding.EncodeToString(request.GetContentMd5())
	}
	limits := settings.GetServer().DataProxy.Upload
	lifetime, err := lifetime(request.GetExpiresIn(), limits.MaxExpiresIn.Duration)
	if err != nil {
		return nil, err
	}
	name := request.GetFilename()
	if name == "" {
		name = rand.String(limits.DefaultFileNameLength)
	}
	path := []string{limits.StoragePrefix}
	if request.GetOrg() != "" {
		path = append(path, request.GetOrg())
	}
	path = append(path, request.GetProject(), request.GetDomain(), folder, name)
	object, err := s.Store.ConstructReference(ctx, s.Store.GetBaseContainerFQN(ctx), path...)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to construct the storage location: %v", err)
	}
	// Only a name that the client chose in full can meet an object of another upload.
	if request.GetFilenameRoot() != "" && request.GetFilename() != "" {
		if err := s.mayOverwrite(ctx, object, request.GetContentMd5()); err != nil {
			return nil, err
		}
	}
	signed, err := s.Store.CreateSignedURL(ctx, object, storage.SignedURLProperties{
		Scope:                 stow.ClientMethodPut,
		ExpiresIn:             lifetime,
		ContentMD5:            base64.StdEncoding.EncodeToString(request.GetContentMd5()),
		AddContentMD5Metadata: request.GetAddContentMd5Metadata(),
	})
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to create a signed url: %v", err)
	}
	return &service.CreateUploadLocationResponse{
		SignedUrl: signed.URL.String(),
		NativeUrl: object.String(),
		ExpiresAt: timestamppb.New(time.Now().Add(lifetime)),
		Headers:   signed.RequiredRequestHeaders,
	}, nil
}

// CreateDownloadLocation signs a GET of a native URL.
func (s *Service) CreateDownloadLocation(ctx context.Context, request *service.CreateDownloadLocationRequest) (*service.CreateDownloadLocationResponse, error) {
	lifetime, err := lifetime(request.GetExpiresIn(), settings.GetServer().DataProxy.Download.MaxExpiresIn.Duration)
	if err != nil {
		return nil, err
	}
	signed, err := s.Store.CreateSignedURL(ctx, storage.DataReference(request.GetNativeUrl()), storage.SignedURLProperties{
		Scope:     stow.ClientMethodGet,
		ExpiresIn: lifetime,
	})
	if err != nil {
		return nil, status.Errorf(codes.Internal, "failed to create a signed url: %v", err)
	}
	return &service.CreateDownloadLocationResponse{
		SignedUrl: signed.URL.String(),
		ExpiresAt: timestamppb.New(time.Now().Add(lifetime)),
	}, nil
}

func (s *Service) mayOverwrite(ctx context.Context, object storage.DataReference, md5 []byte) error {
	found, err := s.Store.Head(ctx, object)
	if err != nil {
		return status.Errorf(codes.Internal, "failed to check if file exists at location [%s]: %v", object, err)
	}
	if !found.Exists() {
		return nil
	}
	if len(md5) > 0 {
		sum := base64.StdEncoding.EncodeToString(md5)
		if found.ContentMD5() != "" && found.ContentMD5() == sum {
			return nil
		}
		// Without the sum in its metadata an object is known by its tag, in
		// whichever coding the store has.
		codings := []string{hex.EncodeToString(md5), base32.StdEncoding.EncodeToString(md5), sum}
		if found.ContentMD5() == "" && slices.Contains(codings, found.Etag()) {
			return nil
		}
	}
	return status.Errorf(codes.AlreadyExists, "file already exists at location [%s], specify a matching hash if you wish to rewrite", object)
}

func lifetime(asked *durationpb.Duration, longest time.Duration) (time.Duration, error) {
	if asked == nil {
		return longest, nil
	}
	if !asked.IsValid() || asked.AsDuration() < 0 {
		return 0, status.Errorf(codes.InvalidArgument, "expiresIn [%v] is invalid", asked)
	}
	if asked.AsDuration() > longest {
		return 0, status.Errorf(codes.InvalidArgument, "expiresIn [%v] cannot exceed max allowed expiration [%v]", asked.AsDuration(), longest)
	}
	return asked.AsDuration(), nil
}
