// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package families knows the lists of addresses and networks of a cluster with IPv4, IPv6 or both. What stands first is of the
// primary family (k3s-io/k3s pkg/util/net.go, pkg/cli/server/server.go, pkg/agent/run.go).
package families

import (
	"fmt"
	"net"
	"strings"

	netutils "k8s.io/utils/net"
)

// Addresses reads the addresses of an option.
func Addresses(given []string) ([]net.IP, error) {
	addresses := make([]net.IP, 0, len(given))
	for _, text := range given {
		address := net.ParseIP(text)
		if address == nil {
			return nil, fmt.Errorf("invalid ip format '%s'", text)
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// Networks reads the networks of an option, or its default.
func Networks(option string, given []string, normal string) ([]*net.IPNet, error) {
	if len(given) == 0 {
		given = []string{normal}
	}
	networks := make([]*net.IPNet, 0, len(given))
	for _, text := range given {
		_, network, err := net.ParseCIDR(text)
		if err != nil {
			return nil, fmt.Errorf("invalid %s %s: %w", option, text, err)
		}
		networks = append(networks, network)
	}
	return networks, nil
}

// Join is a list as the components of Kubernetes take it.
func Join[T fmt.Stringer](items []T) string { return strings.Join(Texts(items), ",") }

// Texts are the items of a list.
func Texts[T fmt.Stringer](items []T) []string {
	texts := make([]string, 0, len(items))
	for _, item := range items {
		texts = append(texts, item.String())
	}
	return texts
}

// Of is the first network of a family, nil without one.
func Of(family netutils.IPFamily, networks []*net.IPNet) *net.IPNet {
	for _, network := range networks {
		if netutils.IPFamilyOfCIDR(network) == family {
			return network
		}
	}
	return nil
}

// AddressOf is the first address of a family, nil without one.
func AddressOf(family netutils.IPFamily, addresses []net.IP) net.IP {
	for _, address := range addresses {
		if netutils.IPFamilyOf(address) == family {
			return address
		}
	}
	return nil
}

// Check refuses the families that k3s's agent refuses: pods and Services need the same ones, the same one first, and the node has
// to have them. In which order the node has them is its own affair.
func Check(cluster, service []*net.IPNet, nodes []net.IP) error {
	const meaning = "must share the same IP version (IPv4, IPv6 or dual-stack)"
	dualCluster, err := netutils.IsDualStackCIDRs(cluster)
	if err != nil {
		return fmt.Errorf("failed to validate cluster-cidr: %w", err)
	}
	dualService, err := netutils.IsDualStackCIDRs(service)
	if err != nil {
		return fmt.Errorf("failed to validate service-cidr: %w", err)
	}
	dualNode, err := netutils.IsDualStackIPs(nodes)
	if err != nil {
		return fmt.Errorf("failed to validate node-ip: %w", err)
	}
	first := netutils.IPFamilyOfCIDR(cluster[0])
	if dualCluster != dualService || first != netutils.IPFamilyOfCIDR(service[0]) {
		return fmt.Errorf("cluster-cidr: %v and service-cidr: %v, %s", cluster, service, meaning)
	}
	if !dualNode && (dualCluster || first != netutils.IPFamilyOf(nodes[0])) {
		return fmt.Errorf("cluster-cidr: %v and node-ip: %v, %s", cluster, nodes, meaning)
	}
	return nil
}
