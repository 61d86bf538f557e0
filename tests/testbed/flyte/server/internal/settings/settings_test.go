// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package settings

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flytestdlib/config"
	"github.com/flyteorg/flyte/flytestdlib/config/viper"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

// The pattern, the merge and the spelling of template variables are flytestdlib's
// work; these are what the site relies on.
func TestFilesMergeInLexicalOrder(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"003-storage.yaml": "storage: {type: stow, container: meta, stow: {kind: s3, config: {auth_type: iam, region: us-east-1}}}",
		"100-inline-config.yaml": `
cluster_resources:
  refreshInterval: 30s
  customData:
    - development:
        - s3AccessKey: {valueFrom: {filePath: /key}}
        - other: {value: text}
    - production: []
flyte: {admin: {seedProjects: [one, two]}}
`,
		"900-secrets.yaml": "storage: {stow: {config: {auth_type: accesskey}}}\nflyte: {admin: {seedProjects: [three]}}\nunknown_section: {a: b}",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	accessor := viper.NewAccessor(config.Options{SearchPaths: []string{folder + "/*.yaml"}})
	if err := accessor.UpdateConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := storage.GetConfig().Stow.Config; got["auth_type"] != "accesskey" || got["region"] != "us-east-1" {
		t.Errorf("maps are not merged: %v", got)
	}
	if got := GetParts().Admin.SeedProjects; len(got) != 1 || got[0] != "three" {
		t.Errorf("a later list does not replace an earlier one: %v", got)
	}
	resources := GetClusterResources()
	if resources.RefreshInterval.Duration != 30*time.Second {
		t.Errorf("refresh interval: %v", resources.RefreshInterval)
	}
	if got := resources.CustomData["development"]["s3AccessKey"].ValueFrom.FilePath; got != "/key" {
		t.Errorf("customData: %+v", resources.CustomData)
	}
}
