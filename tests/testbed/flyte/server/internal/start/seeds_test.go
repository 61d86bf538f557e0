// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package start

import (
	"reflect"
	"testing"

	"flyte.onprem/testbed/flyte/internal/settings"
)

func TestSeedsWithDescriptionWin(t *testing.T) {
	parts := &settings.Parts{}
	parts.Admin.SeedProjects = []string{"flytesnacks", "edge"}
	parts.Admin.SeedProjectsWithDetails = []settings.SeedProject{{Name: "flytesnacks", Description: "Default project setup."}}
	want := []settings.SeedProject{
		{Name: "flytesnacks", Description: "Default project setup."},
		{Name: "edge", Description: "edge description"},
	}
	if got := seeds(parts); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, expected %v", got, want)
	}
}

func TestWithoutSeedsThereIsFlytesnacks(t *testing.T) {
	if got := seeds(&settings.Parts{}); len(got) != 1 || got[0].Name != "flytesnacks" {
		t.Errorf("got %v", got)
	}
}
