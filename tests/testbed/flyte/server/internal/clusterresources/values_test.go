// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package clusterresources

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flyte.onprem/testbed/flyte/internal/settings"
)

func fromFile(path string) settings.DataSource {
	var source settings.DataSource
	source.ValueFrom.FilePath = path
	return source
}

func TestValuesComeFromValueEnvironmentOrFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("from file"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TASK_KEY", "from environment")
	var env settings.DataSource
	env.ValueFrom.Env = "TASK_KEY"
	got, err := values(map[string]settings.DataSource{
		"plain": {Value: "plain value"}, "env": env, "file": fromFile(file),
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"plain": "plain value", "env": "from environment", "file": "from file"} {
		if got[name] != want {
			t.Errorf("%s: got %q, expected %q", name, got[name], want)
		}
	}
}

func TestOneBadSourceTakesAllWithIt(t *testing.T) {
	for name, bad := range map[string]settings.DataSource{
		"absent":    fromFile(filepath.Join(t.TempDir(), "absent")),
		"nothing":   {},
		"namespace": {Value: "reserved"},
	} {
		got, err := values(map[string]settings.DataSource{"good": {Value: "x"}, name: bad})
		if err == nil || len(got) != 0 {
			t.Errorf("%s: got %v (%v), expected no values and an error", name, got, err)
		}
	}
}

func TestRenderOnlyKnowsTheExactSpelling(t *testing.T) {
	got := render("{{ key }} {{key}} {{ other }} {{ namespace }}",
		map[string]string{"key": "{{ namespace }}"}, map[string]string{"namespace": "a-development"})
	want := "a-development {{key}} {{ other }} a-development"
	if got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
}

func TestTemplatesAreReadInLexicalOrder(t *testing.T) {
	folder := t.TempDir()
	for _, name := range []string{"010_b.yaml", "000_a.yaml", "README.md", "..data"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	templates, err := readTemplates(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, template := range templates {
		names = append(names, template.name)
	}
	if got := strings.Join(names, " "); got != "000_a.yaml 010_b.yaml" {
		t.Errorf("got %q", got)
	}
}
