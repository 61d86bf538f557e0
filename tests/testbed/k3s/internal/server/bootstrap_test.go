// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"reflect"
	"testing"
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
