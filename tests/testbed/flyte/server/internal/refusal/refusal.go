// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package refusal makes the errors that the API answers with: the gRPC codes of
// flyteadmin, and the details by which flytepropeller tells them apart.
package refusal

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"

	"flyte.onprem/testbed/flyte/internal/database"
)

// longestMessage is what flyteadmin cuts messages to: they travel in a header.
const longestMessage = 32000

const undefinedTable = "42P01"

// Invalid is for requests that can never succeed as they are.
func Invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// Missing is for a field without which a request makes no sense.
func Missing(field string) error { return Invalid("missing %s", field) }

// NotFound names the kind of thing that is not there.
func NotFound(kind string, identifier any) error {
	return status.Errorf(codes.NotFound, "missing entity of type %s with identifier %v", kind, identifier)
}

// Exists is for what is there already and the same.
func Exists(format string, args ...any) error {
	return status.Errorf(codes.AlreadyExists, format, args...)
}

// Conflict is for a step that the present state does not allow.
func Conflict(format string, args ...any) error {
	return status.Errorf(codes.FailedPrecondition, format, args...)
}

// TooLarge is for what exceeds a limit of the configuration.
func TooLarge(format string, args ...any) error {
	return status.Errorf(codes.ResourceExhausted, format, args...)
}

// Internal hides nothing: the reader runs this server himself.
func Internal(format string, args ...any) error {
	return status.Errorf(codes.Internal, format, args...)
}

// Terminal tells flytepropeller that what it reports about has already ended.
func Terminal(phase, format string, args ...any) error {
	return Detailed(codes.FailedPrecondition, &admin.EventFailureReason{
		Reason: &admin.EventFailureReason_AlreadyInTerminalState{
			AlreadyInTerminalState: &admin.EventErrorAlreadyInTerminalState{CurrentPhase: phase},
		},
	}, format, args...)
}

// OtherCluster tells flytepropeller that an execution is not its own.
func OtherCluster(cluster, format string, args ...any) error {
	return Detailed(codes.FailedPrecondition, &admin.EventFailureReason{
		Reason: &admin.EventFailureReason_IncompatibleCluster{
			IncompatibleCluster: &admin.EventErrorIncompatibleCluster{Cluster: cluster},
		},
	}, format, args...)
}

// InactiveProject is for anything new in an archived project.
func InactiveProject(id string) error {
	return Detailed(codes.InvalidArgument, &admin.InactiveProject{Id: id}, "project [%s] is not active", id)
}

// Detailed carries a message that a program can read.
func Detailed(code codes.Code, detail protoadapt.MessageV1, format string, args ...any) error {
	answer, err := status.Newf(code, format, args...).WithDetails(detail)
	if err != nil {
		return Internal("failed to attach %T to an error: %v", detail, err)
	}
	return answer.Err()
}

// FromDatabase turns an error of the database into an answer; other answers and
// nil stay as they are.
func FromDatabase(err error, kind string, identifier any) error {
	if _, answered := status.FromError(err); answered {
		return err
	}
	var server *pgconn.PgError
	switch {
	case errors.Is(err, database.ErrNotFound):
		return NotFound(kind, identifier)
	case errors.Is(err, database.ErrExists):
		return Exists("%s %v already exists", kind, identifier)
	case errors.As(err, &server) && server.Code == undefinedTable:
		return Invalid("cannot query with specified table attributes: %s", server.Message)
	case errors.As(err, &server):
		return status.Errorf(codes.Unknown, "failed database operation with %s", server.Message)
	}
	return Internal("unexpected database error: %v", err)
}

// Intercept gives every error a gRPC code and a length that fits a header.
func Intercept(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := handle(ctx, request)
	if err == nil {
		return answer, nil
	}
	known, ok := status.FromError(err)
	if !ok {
		return nil, Internal("%.*s", longestMessage, err.Error())
	}
	if len(known.Message()) > longestMessage {
		return nil, status.Error(known.Code(), fmt.Sprintf("%.*s", longestMessage, known.Message()))
	}
	return nil, err
}
