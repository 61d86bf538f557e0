// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

const endpointOfNode = `[host."https://127.0.0.1:6443/v2"]`

func hostsFile(t *testing.T, node *Node, host string) string {
	t.Helper()
	content, err := os.ReadFile(node.path("etc", "containerd", "certs.d", host, "hosts.toml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestTheNodesOwnRegistryComesBeforeTheMirrors(t *testing.T) {
	node, err := writeFor(t, &Node{EmbeddedRegistry: true, SupervisorPort: 6443}, `
mirrors:
  docker.io: {endpoint: ["https://mirror.example"]}
  empty.example:
  "*": {}
`)
	if err != nil {
		t.Fatal(err)
	}
	content := hostsFile(t, node, "docker.io")
	own, mirror := strings.Index(content, endpointOfNode), strings.Index(content, `[host."https://mirror.example/v2"]`)
	if own < 0 || mirror < own {
		t.Errorf("got:\n%s", content)
	}
	for _, host := range []string{"docker.io", "empty.example", "_default"} {
		content := hostsFile(t, node, host)
		for _, wanted := range []string{endpointOfNode, `ca = ["` + node.path("server-ca.crt") + `"]`,
			`client = [["` + node.path("client-k3s-controller.crt") + `", "` + node.path("client-k3s-controller.key") + `"]]`} {
			if !strings.Contains(content, wanted) {
				t.Errorf("%s: no %s in:\n%s", host, wanted, content)
			}
		}
	}
	if len(node.shared) != 3 {
		t.Errorf("shared: %v", node.shared)
	}
}

func TestARegistryOfTheHostItselfIsNotShared(t *testing.T) {
	for _, host := range []string{"localhost:5000", "127.0.0.1:5000", "localhost"} {
		node, err := writeFor(t, &Node{EmbeddedRegistry: true, SupervisorPort: 6443}, "mirrors: {\""+host+"\": {endpoint: [\"http://"+host+"\"]}}\n")
		if err != nil {
			t.Fatal(err)
		}
		if content := hostsFile(t, node, host); strings.Contains(content, endpointOfNode) || len(node.shared) > 0 {
			t.Errorf("%s: %v\n%s", host, node.shared, content)
		}
	}
}

func TestNothingIsSharedUnlessTheServersSaySo(t *testing.T) {
	node, err := write(t, "mirrors: {docker.io: {}}\n")
	if err != nil {
		t.Fatal(err)
	}
	if content := hostsFile(t, node, "docker.io"); strings.Contains(content, "127.0.0.1") {
		t.Errorf("got:\n%s", content)
	}
	if handler, err := node.StartRegistry(); handler != nil || err != nil {
		t.Errorf("got %v %v", handler, err)
	}
}

func TestWithoutMirrorsNoRegistryStarts(t *testing.T) {
	node, err := writeFor(t, &Node{EmbeddedRegistry: true, SupervisorPort: 6443}, "configs: {}\n")
	if err != nil {
		t.Fatal(err)
	}
	if handler, err := node.StartRegistry(); handler != nil || err != nil {
		t.Errorf("got %v %v", handler, err)
	}
}

func TestAddressesOfPeersAreReadAsTheyAreWritten(t *testing.T) {
	for _, address := range []string{"192.0.2.1:5001", "[fd00::1]:5001"} {
		if got := hostPort(multiaddress(address, "node")); got != address {
			t.Errorf("%s became %s", address, got)
		}
	}
	for _, address := range []string{"", "192.0.2.1:5001", "/dns4/host/tcp/5001/p2p/x", "/ip4/192.0.2.1/udp/5001/p2p/x"} {
		if got := hostPort(address); got != "" {
			t.Errorf("%s became %s", address, got)
		}
	}
}

func TestThePortOfPeersIsANumber(t *testing.T) {
	for given, wanted := range map[string]string{"": "5001", "5005": "5005", "0": "5001", "many": "5001"} {
		t.Setenv("K3S_P2P_PORT", given)
		if got := portOfPeers(); got != wanted {
			t.Errorf("%q: %s", given, got)
		}
	}
}

func TestTheTagLatestIsSharedByAnEnvironmentVariable(t *testing.T) {
	for given, wanted := range map[string]bool{"": false, "true": true, "1": true, "false": false, "perhaps": false} {
		t.Setenv("K3S_P2P_ENABLE_LATEST", given)
		if got := sharesLatest(); got != wanted {
			t.Errorf("%q: %v", given, got)
		}
	}
}

func TestTheDigestOfAnImageIsInTheThirdColumn(t *testing.T) {
	table := "REF                  TYPE                                    DIGEST     SIZE    PLATFORMS   LABELS \n" +
		"registry.example/a:1 application/vnd.oci.image.index.v1+json sha256:123 1.2 KiB linux/amd64 -      \n"
	if digest, err := listedDigest(table, "registry.example/a:1"); err != nil || digest != "sha256:123" {
		t.Errorf("got %s %v", digest, err)
	}
	if _, err := listedDigest(table, "registry.example/a:2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
