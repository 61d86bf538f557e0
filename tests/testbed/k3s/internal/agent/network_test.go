// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"flyte.onprem/testbed/k3s/internal/families"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// node is one of a cluster with these networks, as the server's answer describes it.
func node(t *testing.T, addresses, pods, services string) *Node {
	t.Helper()
	node := &Node{Name: "box", Data: "/data"}
	var cluster ClusterConfig
	var err error
	if node.IPs, err = families.Addresses(strings.Split(addresses, ",")); err != nil {
		t.Fatal(err)
	}
	if cluster.ClusterCIDRs, err = families.Networks("cluster-cidr", strings.Split(pods, ","), ""); err != nil {
		t.Fatal(err)
	}
	if cluster.ServiceCIDRs, err = families.Networks("service-cidr", strings.Split(services, ","), ""); err != nil {
		t.Fatal(err)
	}
	cluster.FlannelBackend = "vxlan"
	content, err := json.Marshal(cluster)
	if err != nil {
		t.Fatal(err)
	}
	var received ClusterConfig
	if err := json.Unmarshal(content, &received); err != nil {
		t.Fatal(err)
	}
	node.Join(received)
	return node
}

func single(t *testing.T) *Node { return node(t, "192.0.2.1", "10.42.0.0/16", "10.43.0.0/16") }

func dual(t *testing.T) *Node {
	return node(t, "192.0.2.1,fd00::1", "10.42.0.0/16,fd42::/56", "10.43.0.0/16,fd43::/112")
}

// networkOf has the tunnels' hardware addresses that it would find.
func networkOf(t *testing.T, node *Node, shares ...string) *network {
	t.Helper()
	stacks, err := node.stacks(shares)
	if err != nil {
		t.Fatal(err)
	}
	for index, stack := range stacks {
		stack.mac = "02:00:00:00:00:0" + string(rune('4'+2*index))
	}
	return &network{node: node, mtu: 1450, stacks: stacks}
}

func TestKubeletAndKubeProxyAreToldOfTheFamilies(t *testing.T) {
	first6 := node(t, "fd00::1,192.0.2.1", "fd42::/56,10.42.0.0/16", "fd43::/112,10.43.0.0/16")
	for name, one := range map[string]struct {
		node                      *Node
		address, pods, local, all string
	}{
		"IPv4":       {single(t), "192.0.2.1", "10.42.0.0/16", "127.0.0.1", "0.0.0.0"},
		"both":       {dual(t), "192.0.2.1,fd00::1", "10.42.0.0/16,fd42::/56", "127.0.0.1", "0.0.0.0"},
		"IPv6 first": {first6, "fd00::1,192.0.2.1", "fd42::/56,10.42.0.0/16", "::1", "::"},
	} {
		proxy := one.node.proxyArguments()
		got := []string{one.node.kubeletArguments()["node-ip"], proxy["cluster-cidr"], proxy["bind-address"], one.node.everywhere()}
		if want := []string{one.address, one.pods, one.local, one.all}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestWithAnotherCloudProviderTheKubeletFindsItsAddressesItself(t *testing.T) {
	for name, one := range map[string]*Node{"192.0.2.1": single(t), "": dual(t)} {
		one.CCM = false
		if got := one.kubeletArguments()["node-ip"]; got != name {
			t.Errorf("got %q, want %q", got, name)
		}
	}
}

func TestForwardingOfIPv6IsSwitchedOnWhereItIsNeeded(t *testing.T) {
	const forwarding = "net/ipv6/conf/all/forwarding"
	if names := single(t).sysctls(); len(names) != 4 || slices.Contains(names, forwarding) {
		t.Errorf("IPv4: %v", names)
	}
	if names := dual(t).sysctls(); !slices.Contains(names, forwarding) || !slices.Contains(names, "net/bridge/bridge-nf-call-ip6tables") {
		t.Errorf("both: %v", names)
	}
}

func TestFilesOfThePodNetwork(t *testing.T) {
	for name, one := range map[string]struct {
		network             *network
		environment, ranges string
	}{
		"IPv4": {networkOf(t, single(t), "10.42.1.0/24"),
			"FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
			`"ranges": [[{"subnet": "10.42.1.0/24"}]]}`},
		"both": {networkOf(t, dual(t), "10.42.1.0/24", "fd42:0:0:1::/64"),
			"FLANNEL_NETWORK=10.42.0.0/16\nFLANNEL_SUBNET=10.42.1.1/24\nFLANNEL_IPV6_NETWORK=fd42::/56\nFLANNEL_IPV6_SUBNET=fd42:0:0:1::1/64\n" +
				"FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
			`"ranges": [[{"subnet": "10.42.1.0/24"}], [{"subnet": "fd42:0:0:1::/64"}]]}`},
	} {
		if got, err := one.network.environment(); err != nil || got != one.environment {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		content, err := one.network.configuration()
		if err != nil || !strings.Contains(string(content), one.ranges) || !json.Valid(content) {
			t.Errorf("%s: got %s, %v", name, content, err)
		}
	}
}

func TestANodeThatGotItsShareBeforeTheSecondFamilyIsRefused(t *testing.T) {
	if _, err := dual(t).stacks([]string{"10.42.1.0/24"}); err == nil || err.Error() != `failed to acquire lease: node "box" has no podCIDR of IPv6` {
		t.Errorf("got %v", err)
	}
}

func TestANodeIsFoundByWhatItAnnounces(t *testing.T) {
	for name, one := range map[string]struct {
		network *network
		want    map[string]string
		peers   []peer
	}{
		"IPv4": {networkOf(t, single(t), "10.42.1.0/24"),
			map[string]string{"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.0.2.1",
				"backend-data": `{"VNI":1,"VtepMAC":"02:00:00:00:00:04"}`},
			[]peer{{"box", "10.42.1.0/24", "10.42.1.0", "192.0.2.1", "02:00:00:00:00:04", "flannel.1"}}},
		"both": {networkOf(t, dual(t), "10.42.1.0/24", "fd42:0:0:1::/64"),
			map[string]string{"kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.0.2.1", "public-ipv6": "fd00::1",
				"backend-data":    `{"VNI":1,"VtepMAC":"02:00:00:00:00:04"}`,
				"backend-v6-data": `{"VNI":1,"VtepMAC":"02:00:00:00:00:06"}`},
			[]peer{{"box", "10.42.1.0/24", "10.42.1.0", "192.0.2.1", "02:00:00:00:00:04", "flannel.1"},
				{"box", "fd42:0:0:1::/64", "fd42:0:0:1::", "fd00::1", "02:00:00:00:00:06", "flannel-v6.1"}}},
	} {
		announced := one.network.announcement()
		got := map[string]string{}
		for key, value := range announced {
			got[strings.TrimPrefix(key, annotationPrefix)] = value
		}
		if !maps.Equal(got, one.want) {
			t.Errorf("%s: got %v", name, got)
		}
		var shares []string
		for _, stack := range one.network.stacks {
			shares = append(shares, stack.Subnet.String())
		}
		other := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "box", Annotations: announced}, Spec: corev1.NodeSpec{PodCIDR: shares[0], PodCIDRs: shares}}
		for index, stack := range one.network.stacks {
			if found, ok := one.network.peerOf(other, stack); !ok || found != one.peers[index] {
				t.Errorf("%s: got %v, %v", name, found, ok)
			}
		}
	}
}

func TestIPv6IsMasqueradedWhenAskedFor(t *testing.T) {
	stacks := networkOf(t, dual(t), "10.42.1.0/24", "fd42:0:0:1::/64").stacks
	for name, one := range map[string]struct {
		stack      *stack
		masquerade bool
		want       string
	}{
		"IPv4":            {stacks[0], false, "-s 10.42.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully"},
		"IPv6":            {stacks[1], false, ""},
		"IPv6, asked for": {stacks[1], true, "-s fd42::/56 ! -d ff00::/8 -j MASQUERADE --random-fully"},
	} {
		var leaving string
		names := []string{}
		for _, chain := range one.stack.rules(one.masquerade) {
			names = append(names, chain.name)
			if chain.name == "FLANNEL-POSTRTG" {
				leaving = strings.Join(chain.rules[1], " ")
			}
		}
		if leaving != one.want || !slices.Contains(names, "FLANNEL-FWD") {
			t.Errorf("%s: got %q in %v", name, leaving, names)
		}
	}
}
