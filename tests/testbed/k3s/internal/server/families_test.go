// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/families"
)

// networked is a server with these addresses, and what becomes of its options.
func networked(t *testing.T, addresses string, arguments ...string) (*Config, error) {
	t.Helper()
	config := configuration(t, append([]string{"--node-ip=" + addresses}, arguments...)...)
	config.ClusterDomain = "cluster.local"
	config.Node = &agent.Node{Data: config.Data, Name: "box"}
	var err error
	if config.NodeIPs, err = families.Addresses(strings.Split(addresses, ",")); err != nil {
		t.Fatal(err)
	}
	return config, config.networks()
}

var both = []string{"--cluster-cidr=10.42.0.0/16,fd42::/56", "--service-cidr=10.43.0.0/16,fd43::/112"}

func TestTheControlPlaneIsToldOfTheFamilies(t *testing.T) {
	for name, one := range map[string]struct {
		addresses                    string
		arguments                    []string
		pods, services, dns, api, ip string
		list, policy                 string
	}{
		"IPv4": {"192.0.2.1", nil, "10.42.0.0/16", "10.43.0.0/16", "10.43.0.10", "10.43.0.1", "192.0.2.1", "[10.43.0.10]", "SingleStack"},
		"both": {"192.0.2.1,fd00::1", both, "10.42.0.0/16,fd42::/56", "10.43.0.0/16,fd43::/112", "10.43.0.10,fd43::a", "10.43.0.1", "192.0.2.1",
			"[10.43.0.10,fd43::a]", "RequireDualStack"},
		"IPv6 first": {"fd00::1,192.0.2.1", []string{"--cluster-cidr=fd42::/56", "--cluster-cidr=10.42.0.0/16", "--service-cidr=fd43::/112,10.43.0.0/16"},
			"fd42::/56,10.42.0.0/16", "fd43::/112,10.43.0.0/16", "fd43::a,10.43.0.10", "fd43::1", "fd00::1", "[fd43::a,10.43.0.10]", "RequireDualStack"},
		"given DNS": {"192.0.2.1,fd00::1", append([]string{"--cluster-dns=10.43.0.53,fd43::53"}, both...), "10.42.0.0/16,fd42::/56", "10.43.0.0/16,fd43::/112",
			"10.43.0.53,fd43::53", "10.43.0.1", "192.0.2.1", "[10.43.0.53,fd43::53]", "RequireDualStack"},
	} {
		config, err := networked(t, one.addresses, one.arguments...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		server, manager, words, critical := config.apiServerArguments(), config.managerArguments(), config.words(), config.shared().Critical
		got := []string{manager["cluster-cidr"], manager["service-cluster-ip-range"], server["service-cluster-ip-range"], critical["cluster-dns"],
			config.APIServiceAddress, config.nodeIP(), words["CLUSTER_DNS_LIST"], words["CLUSTER_DNS_IPFAMILYPOLICY"]}
		want := []string{one.pods, one.services, one.services, one.dns, one.api, one.ip, one.list, one.policy}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestOptionsWhoseFamiliesDoNotFitAreRefused(t *testing.T) {
	for name, one := range map[string]struct {
		addresses string
		arguments []string
		want      string
	}{
		"Services of one":   {"192.0.2.1,fd00::1", both[:1], "and service-cidr: [10.43.0.0/16], must share the same IP version"},
		"a node of one":     {"192.0.2.1", both, "and node-ip: [192.0.2.1], must share the same IP version"},
		"a blank":           {"192.0.2.1", []string{"--cluster-cidr=10.42.0.0/16, fd42::/56"}, "invalid cluster-cidr  fd42::/56"},
		"no network":        {"192.0.2.1", []string{"--service-cidr=10.43.0.0"}, "invalid service-cidr 10.43.0.0"},
		"no address of DNS": {"192.0.2.1", []string{"--cluster-dns=10.43.0.10,dns"}, "invalid cluster-dns address dns"},
		"IPv6 alone":        {"fd00::1", nil, "stand-in: a cluster with IPv6 alone is not implemented"},
	} {
		if _, err := networked(t, one.addresses, one.arguments...); err == nil || !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s: got %v, want %s", name, err, one.want)
		}
	}
}

func TestCertificatesHoldTheAddressesOfBothFamilies(t *testing.T) {
	config, err := networked(t, "192.0.2.1,fd00::1", both...)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(config.server("tls", "server-ca.crt")); err != nil {
		t.Fatal(err)
	}
	if err := config.directories(); err != nil {
		t.Fatal(err)
	}
	if err := config.certificates(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{
		config.server("tls", "serving-kube-apiserver.crt"), config.server("tls", "etcd", "peer-server-client.crt"), config.agent("serving-kubelet.crt"),
	} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range config.NodeIPs {
			if err := certificate.VerifyHostname(address.String()); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
		if certificate.VerifyHostname(net.ParseIP("fd00::2").String()) == nil {
			t.Errorf("%s is of another node as well", file)
		}
	}
}
