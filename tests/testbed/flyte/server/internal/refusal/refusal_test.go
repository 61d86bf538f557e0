// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package refusal

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	eventerrors "github.com/flyteorg/flyte/flytepropeller/events/errors"

	"flyte.onprem/testbed/flyte/internal/database"
)

// What matters is what flytepropeller's own client makes of an answer.
func TestFlytepropellerUnderstandsTheAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer     error
		understood func(error) bool
	}{
		"exists":        {Exists("phase RUNNING was already recorded"), eventerrors.IsAlreadyExists},
		"terminal":      {Terminal("FAILED", "it has ended"), eventerrors.IsEventAlreadyInTerminalStateError},
		"not found":     {NotFound("execution", "a"), eventerrors.IsNotFound},
		"other cluster": {OtherCluster("here", "it runs here"), eventerrors.IsEventIncompatibleClusterError},
		"invalid":       {Missing("event"), eventerrors.IsInvalidArguments},
	} {
		if !test.understood(eventerrors.WrapError(test.answer)) {
			t.Errorf("%s: %v is not understood", name, test.answer)
		}
	}
}

func TestDatabaseErrorsGetACode(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want codes.Code
	}{
		"nothing":        {nil, codes.OK},
		"no row":         {database.ErrNotFound, codes.NotFound},
		"double key":     {database.ErrExists, codes.AlreadyExists},
		"no table":       {&pgconn.PgError{Code: "42P01"}, codes.InvalidArgument},
		"bad value":      {&pgconn.PgError{Code: "22007"}, codes.Unknown},
		"no connection":  {errors.New("connection refused"), codes.Internal},
		"answer already": {Conflict("not now"), codes.FailedPrecondition},
	} {
		if got := status.Code(FromDatabase(test.err, "task", "x")); got != test.want {
			t.Errorf("%s: got %v, expected %v", name, got, test.want)
		}
	}
}

func TestEveryErrorGetsACodeAndFitsAHeader(t *testing.T) {
	long := strings.Repeat("x", 2*longestMessage)
	for name, test := range map[string]struct {
		err    error
		code   codes.Code
		length int
	}{
		"plain":      {errors.New("broken"), codes.Internal, len("broken")},
		"plain long": {errors.New(long), codes.Internal, longestMessage},
		"long":       {Invalid("%s", long), codes.InvalidArgument, longestMessage},
	} {
		_, err := Intercept(context.Background(), nil, nil, func(context.Context, any) (any, error) { return nil, test.err })
		if got := status.Convert(err); got.Code() != test.code || len(got.Message()) != test.length {
			t.Errorf("%s: got %v with %d bytes", name, got.Code(), len(got.Message()))
		}
	}
}

func TestDetailsSurvive(t *testing.T) {
	terminal := Terminal("FAILED", "it has ended")
	_, err := Intercept(context.Background(), nil, nil, func(context.Context, any) (any, error) { return nil, terminal })
	if len(status.Convert(err).Details()) != 1 {
		t.Errorf("got %v", err)
	}
}
