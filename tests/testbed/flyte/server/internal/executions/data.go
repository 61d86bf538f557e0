// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytestdlib/logger"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/settings"
)

// fetch reads literals from the object store. What cannot be read is empty and
// in the log, as in flyteadmin: the answer has more to say than that.
func (s *Service) fetch(ctx context.Context, reference string) *core.LiteralMap {
	literals := &core.LiteralMap{}
	if reference == "" {
		return literals
	}
	if err := s.Objects.ReadProtobuf(ctx, storage.DataReference(reference), literals); err != nil {
		logger.Warningf(ctx, "Failed to read inputs or outputs from URI [%s] with err: %v", reference, err)
	}
	return literals
}

// outputs are those that came by value, unless they are too big for an answer, or
// those that lie in the object store.
func (s *Service) outputs(ctx context.Context, value *core.LiteralMap, reference string) *core.LiteralMap {
	switch {
	case value == nil:
		return s.fetch(ctx, reference)
	case int64(proto.Size(value)) < settings.GetRemoteData().MaxSizeInBytes:
		return value
	}
	return &core.LiteralMap{}
}
