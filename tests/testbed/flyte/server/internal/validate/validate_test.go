// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package validate

import (
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

func TestAPathWithoutKindIsReadAsTheRightOne(t *testing.T) {
	id := &core.Identifier{Project: "p", Domain: "d", Name: "n", Version: "v"}
	if err := Asked(id, core.ResourceType_WORKFLOW); err != nil {
		t.Errorf("no kind: %v", err)
	}
	id.ResourceType = core.ResourceType_TASK
	if err := Asked(id, core.ResourceType_WORKFLOW); err == nil {
		t.Error("a task was taken for a workflow")
	}
	if err := Asked(&core.Identifier{Project: "p"}, core.ResourceType_WORKFLOW); err == nil {
		t.Error("an identifier that lacks parts was taken")
	}
}
