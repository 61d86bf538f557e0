// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package options

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func parse(t *testing.T, config string, arguments ...string) (*Values, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("K3S_CONFIG_FILE", file)
	return Parse("server", Server(), arguments)
}

func TestCommandLineBeatsFileBeatsEnvironment(t *testing.T) {
	t.Setenv("K3S_TOKEN", "from-environment")
	t.Setenv("K3S_NODE_NAME", "from-environment")
	values, err := parse(t, "token: from-file\ntls-san: [a, b]\nnode-label: [x=1]\n", "--tls-san", "c", "--tls-san=d,e")
	if err != nil {
		t.Fatal(err)
	}
	if got := values.String("token"); got != "from-file" {
		t.Errorf("token %q", got)
	}
	if got := values.String("node-name"); got != "from-environment" {
		t.Errorf("node-name %q", got)
	}
	if got := values.SplitList("tls-san"); !reflect.DeepEqual(got, []string{"c", "d", "e"}) {
		t.Errorf("tls-san %v", got)
	}
	if got := values.List("node-label"); !reflect.DeepEqual(got, []string{"x=1"}) {
		t.Errorf("node-label %v", got)
	}
	if got := values.Int("https-listen-port"); got != 6443 {
		t.Errorf("https-listen-port %d", got)
	}
}

func TestUnknownFlagIsAnErrorUnknownKeyIsNot(t *testing.T) {
	_, err := parse(t, "", "--no-such-flag")
	if err == nil || err.Error() != "flag provided but not defined: -no-such-flag" {
		t.Errorf("got %v", err)
	}
	if _, err := parse(t, "no-such-key: 1\n"); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestWhatTheStandInLacksIsRefused(t *testing.T) {
	_, err := parse(t, "supervisor-metrics: true\n")
	if err == nil || !strings.Contains(err.Error(), "stand-in: option supervisor-metrics is not implemented") {
		t.Errorf("got %v", err)
	}
	if _, err := parse(t, "supervisor-metrics: false\netcd-snapshot-retention: 7\n"); err != nil {
		t.Errorf("defaults and options without effect: got %v", err)
	}
}

func TestWrongTypeIsAnError(t *testing.T) {
	if _, err := parse(t, "https-listen-port: many\n"); err == nil {
		t.Error("expected an error")
	}
}

func TestSecretsAreMasked(t *testing.T) {
	values, err := parse(t, "token: hidden\nnode-name: box\n", "--agent-token", "hidden")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(values.Masked(), " ")
	if strings.Contains(text, "hidden") || !strings.Contains(text, "--token ********") || !strings.Contains(text, "--node-name box") {
		t.Errorf("got %s", text)
	}
}
