// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"fmt"
	"sort"

	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/families"
)

// critical are the options that must be equal on all servers (K3S.md section 1, the marks; k3s-io/k3s
// pkg/daemons/config/types.go, CriticalControlArgs). Those of token and encryption are compared elsewhere.
var critical = []string{
	"cluster-dns", "cluster-domain", "cluster-cidr", "service-cidr", "flannel-backend", "flannel-ipv6-masq", "flannel-external-ip",
	"egress-selector-mode", "disable-cloud-controller", "disable-network-policy", "disable-helm-controller", "embedded-registry",
	"secrets-encryption",
}

// shared is what /v1-k3s/config answers: what agents need, and the critical options of this server.
func (c *Config) shared() agent.ClusterConfig {
	values := map[string]string{"disable-service-lb": fmt.Sprint(c.Disabled["servicelb"])}
	for _, name := range critical {
		switch name {
		case "cluster-dns":
			values[name] = families.Join(c.ClusterDNS)
		case "cluster-cidr":
			values[name] = families.Join(c.ClusterCIDRs)
		case "service-cidr":
			values[name] = families.Join(c.ServiceCIDRs)
		case "cluster-domain", "flannel-backend", "egress-selector-mode":
			values[name] = c.Values.String(name)
		default:
			values[name] = fmt.Sprint(c.Values.Bool(name))
		}
	}
	return agent.ClusterConfig{
		ClusterCIDRs: c.ClusterCIDRs, ServiceCIDRs: c.ServiceCIDRs, ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain,
		FlannelBackend: c.Values.String("flannel-backend"), FlannelIPv6Masq: c.Values.Bool("flannel-ipv6-masq"),
		DisableKubeProxy: c.Values.Bool("disable-kube-proxy"), DisableServiceLB: c.Disabled["servicelb"],
		DisableCCM:       c.Values.Bool("disable-cloud-controller"),
		EmbeddedRegistry: c.Values.Bool("embedded-registry"), SupervisorPort: c.Port, Critical: values,
	}
}

// mismatches are the critical options in which another server differs.
func mismatches(own, other map[string]string) []string {
	var names []string
	for name, value := range own {
		if other[name] != value {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}
