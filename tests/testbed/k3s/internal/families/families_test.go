// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package families

import (
	"testing"
)

const (
	pods4, pods6         = "10.42.0.0/16", "fd42::/56"
	services4, services6 = "10.43.0.0/16", "fd43::/112"
	node4, node6         = "192.0.2.1", "fd00::1"
)

func check(t *testing.T, cluster, service, nodes []string) error {
	t.Helper()
	pods, err := Networks("cluster-cidr", cluster, "")
	if err != nil {
		t.Fatal(err)
	}
	services, err := Networks("service-cidr", service, "")
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := Addresses(nodes)
	if err != nil {
		t.Fatal(err)
	}
	return Check(pods, services, addresses)
}

func TestFamiliesThatDifferAreRefused(t *testing.T) {
	const meaning = ", must share the same IP version (IPv4, IPv6 or dual-stack)"
	for name, one := range map[string]struct {
		cluster, service, nodes []string
		want                    string
	}{
		"pods alone": {[]string{pods4, pods6}, []string{services4}, []string{node4, node6},
			"cluster-cidr: [10.42.0.0/16 fd42::/56] and service-cidr: [10.43.0.0/16]" + meaning},
		"Services alone": {[]string{pods4}, []string{services4, services6}, []string{node4, node6},
			"cluster-cidr: [10.42.0.0/16] and service-cidr: [10.43.0.0/16 fd43::/112]" + meaning},
		"another order": {[]string{pods4, pods6}, []string{services6, services4}, []string{node4, node6},
			"cluster-cidr: [10.42.0.0/16 fd42::/56] and service-cidr: [fd43::/112 10.43.0.0/16]" + meaning},
		"a node of IPv4": {[]string{pods4, pods6}, []string{services4, services6}, []string{node4},
			"cluster-cidr: [10.42.0.0/16 fd42::/56] and node-ip: [192.0.2.1]" + meaning},
		"a node of IPv6": {[]string{pods4}, []string{services4}, []string{node6},
			"cluster-cidr: [10.42.0.0/16] and node-ip: [fd00::1]" + meaning},
		"two networks of a family": {[]string{pods4, "10.44.0.0/16"}, []string{services4, services6}, []string{node4, node6},
			"cluster-cidr: [10.42.0.0/16 10.44.0.0/16] and service-cidr: [10.43.0.0/16 fd43::/112]" + meaning},
	} {
		if err := check(t, one.cluster, one.service, one.nodes); err == nil || err.Error() != one.want {
			t.Errorf("%s: got %v, want %s", name, err, one.want)
		}
	}
}

func TestFamiliesThatFitArePassed(t *testing.T) {
	for name, one := range map[string]struct{ cluster, service, nodes []string }{
		"IPv4":                         {[]string{pods4}, []string{services4}, []string{node4}},
		"IPv4, and nodes of both":      {[]string{pods4}, []string{services4}, []string{node4, node6}},
		"both":                         {[]string{pods4, pods6}, []string{services4, services6}, []string{node4, node6}},
		"both, IPv6 first":             {[]string{pods6, pods4}, []string{services6, services4}, []string{node6, node4}},
		"both, nodes in another order": {[]string{pods4, pods6}, []string{services4, services6}, []string{node6, node4}},
	} {
		if err := check(t, one.cluster, one.service, one.nodes); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatIsNoAddressOrNetworkIsNamed(t *testing.T) {
	if _, err := Addresses([]string{node4, " " + node6}); err == nil || err.Error() != "invalid ip format ' fd00::1'" {
		t.Errorf("got %v", err)
	}
	want := "invalid cluster-cidr fd42::: invalid CIDR address: fd42::"
	if _, err := Networks("cluster-cidr", []string{pods4, "fd42::"}, ""); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
