// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, content string) (*Node, error) {
	t.Helper()
	return writeFor(t, &Node{}, content)
}

func writeFor(t *testing.T, node *Node, content string) (*Node, error) {
	t.Helper()
	node.Data, node.RegistriesFile = t.TempDir(), filepath.Join(t.TempDir(), "registries.yaml")
	if err := os.WriteFile(node.RegistriesFile, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return node, node.writeRegistries()
}

func TestMirrorsWithTLSAndCredentials(t *testing.T) {
	node, err := write(t, `
mirrors:
  docker.io: {endpoint: ["https://mirror.example:5000", "http://second.example/other"]}
  "*": {endpoint: ["https://all.example"]}
configs:
  "mirror.example:5000":
    auth: {username: u, password: p}
    tls: {ca_file: /etc/ca.crt}
`)
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(node.path("etc", "containerd", "certs.d", "docker.io", "hosts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{
		`server = "https://registry-1.docker.io/v2"`, `[host."https://mirror.example:5000/v2"]`, `ca = ["/etc/ca.crt"]`,
		`Authorization = ["Basic dTpw"]`, `[host."http://second.example/other"]`,
	} {
		if !strings.Contains(string(content), wanted) {
			t.Errorf("no %s in:\n%s", wanted, content)
		}
	}
	if _, err := os.Stat(node.path("etc", "containerd", "certs.d", "_default", "hosts.toml")); err != nil {
		t.Error(err)
	}
}

func TestWhatIsUnknownInRegistriesIsRefused(t *testing.T) {
	for _, content := range []string{"mirrors: {docker.io: {endpoints: [x]}}\n", "mirrors: {docker.io: {endpoint: [mirror]}}\n",
		"mirrors: {docker.io: {rewrite: {a: b}}}\n"} {
		if _, err := write(t, content); err == nil {
			t.Errorf("accepted: %s", content)
		}
	}
}
