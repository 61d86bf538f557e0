// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"flyte.onprem/testbed/k3s/internal/certs"
)

func TestBootstrapDataOpensWithItsTokenOnly(t *testing.T) {
	text, err := encrypt("secret", []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if content, err := decrypt("secret", text); err != nil || string(content) != "content" {
		t.Errorf("got %q, %v", content, err)
	}
	if content, err := decrypt("other", text); err == nil {
		t.Errorf("another token opens it: %q", content)
	}
}

func TestDifferingCriticalOptionsAreNamed(t *testing.T) {
	own := map[string]string{"cluster-cidr": "10.42.0.0/16", "flannel-backend": "vxlan", "cluster-domain": "cluster.local"}
	other := map[string]string{"cluster-cidr": "10.50.0.0/16", "flannel-backend": "host-gw", "cluster-domain": "cluster.local"}
	if got, want := mismatches(own, other), []string{"cluster-cidr", "flannel-backend"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := mismatches(own, own); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestANodePasswordIsKeptAsAHash(t *testing.T) {
	hash, err := hashOf("password")
	if err != nil {
		t.Fatal(err)
	}
	if !matches("password", hash) || matches("other", hash) || matches("password", "password") {
		t.Errorf("hash %s", hash)
	}
}

func TestARemovedMemberBeginsAgainOnlyWhereItHasSomebodyToJoin(t *testing.T) {
	for _, arguments := range [][]string{{"--cluster-init"}, {"--server=https://192.0.2.1:6443"}} {
		config := configuration(t, arguments...)
		tombstone := config.server("db", "etcd", "tombstone")
		if err := os.MkdirAll(filepath.Dir(tombstone), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := certs.WriteFile(tombstone, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := newEtcd(config)
		joins := config.Values.String("server") != ""
		if joins != (err == nil) || !joins && !strings.Contains(err.Error(), "--server is empty") {
			t.Errorf("%v: got %v", arguments, err)
		}
		if _, err := os.Stat(tombstone); joins == (err == nil) {
			t.Errorf("%v: the tombstone: %v", arguments, err)
		}
	}
}
