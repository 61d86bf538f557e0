// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package configfile

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestNoFileIsNoSetting(t *testing.T) {
	settings, err := Read(filepath.Join(t.TempDir(), "config.yaml"))
	if err != nil || settings != nil {
		t.Fatalf("got %v, %v", settings, err)
	}
}

func TestDropInsReplaceAndAppend(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "tls-san: [a, b]\nnode-label: x=1\ndebug: true\nwrite-kubeconfig-mode: \"0640\"\n")
	write(t, file+".d/10-site.YAML", "tls-san: [c]\nnode-label+: [y=2]\n")
	write(t, file+".d/20-more.yml", "tls-san+: d\n")
	write(t, file+".d/30-not.conf", "debug: false\n")
	settings, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{
		{"tls-san", []string{"c", "d"}},
		{"node-label", []string{"x=1", "y=2"}},
		{"debug", []string{"true"}},
		{"write-kubeconfig-mode", []string{"0640"}},
	}
	if !reflect.DeepEqual(settings, want) {
		t.Fatalf("got %v, want %v", settings, want)
	}
}

func TestBaseFileMayBeAbsent(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file+".d/a.yaml", "disable:\n- traefik\n")
	settings, err := Read(file)
	if err != nil || len(settings) != 1 || settings[0].Values[0] != "traefik" {
		t.Fatalf("got %v, %v", settings, err)
	}
}

func TestBadYAMLIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "a: [1\n")
	if _, err := Read(file); err == nil {
		t.Fatal("expected an error")
	}
}

func TestArguments(t *testing.T) {
	got := Setting{"t", []string{"x"}}.Arguments()
	if !reflect.DeepEqual(got, []string{"-t=x"}) {
		t.Fatalf("got %v", got)
	}
	got = Setting{"node-label", []string{"a=1", "b=2"}}.Arguments()
	if !reflect.DeepEqual(got, []string{"--node-label=a=1", "--node-label=b=2"}) {
		t.Fatalf("got %v", got)
	}
}
