// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"net"
	"reflect"
	"testing"
)

func TestACallerIsLedToTheAddressOfItsFamily(t *testing.T) {
	targets := []string{"10.43.0.7:80", "[fd43::7]:80"}
	for caller, want := range map[string][]string{"192.0.2.1": {"10.43.0.7:80"}, "fd00::1": {"[fd43::7]:80"}} {
		remote := &net.TCPAddr{IP: net.ParseIP(caller), Port: 40000}
		if got := sameFamily(targets, remote); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v", caller, got)
		}
	}
	if got := sameFamily(targets[:1], &net.TCPAddr{IP: net.ParseIP("fd00::1"), Port: 40000}); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}
