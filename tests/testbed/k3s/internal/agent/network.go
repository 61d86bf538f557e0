// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/template"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/supervisor"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	netutils "k8s.io/utils/net"
)

// The pod network keeps flannel's names, files, annotations and port (K3S.md sections 3b, 5 and 6): what flannel does by
// netlink the host's ip, bridge, iptables and ip6tables do here.
const (
	vxlanPort = "8472"
	vxlanID   = 1
	// flannel takes this off for the pods, whose packets may be of either family.
	vxlanOverhead = 50

	annotationPrefix = "flannel.alpha.coreos.com/"
)

// family is what flannel does otherwise for IPv4 and IPv6 (k3s-io/k3s pkg/agent/flannel, flannel-io/flannel
// pkg/backend/vxlan, pkg/subnet/kube).
type family struct {
	ip   netutils.IPFamily
	name string
	// tunnel is the VXLAN link, whose outer header costs overhead bytes.
	tunnel                string
	overhead              int
	iptables, multicast   string
	publicIP, backendData string
	// environment begins the names in subnet.env.
	environment string
}

var families4and6 = []family{
	{ip: netutils.IPv4, name: "IPv4", tunnel: "flannel.1", overhead: vxlanOverhead, iptables: "iptables", multicast: "224.0.0.0/4",
		publicIP: annotationPrefix + "public-ip", backendData: annotationPrefix + "backend-data", environment: "FLANNEL_"},
	{ip: netutils.IPv6, name: "IPv6", tunnel: "flannel-v6.1", overhead: vxlanOverhead + 20, iptables: "ip6tables", multicast: "ff00::/8",
		publicIP: annotationPrefix + "public-ipv6", backendData: annotationPrefix + "backend-v6-data", environment: "FLANNEL_IPV6_"},
}

var networkTemplate = template.Must(template.New("").Parse(`{
  "name": "cbr0",
  "cniVersion": "1.0.0",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni0",
      "isGateway": true,
      "isDefaultGateway": true,
      "hairpinMode": true,
      "forceAddress": true,
      "mtu": {{.MTU}},
      "ipam": {"type": "host-local", "ranges": [{{range $index, $stack := .Stacks}}{{if $index}}, {{end}}[{"subnet": "{{$stack.Subnet}}"}]{{end}}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`))

// network is this node's part of the pod network.
type network struct {
	node    *Node
	clients *kube.Clients
	// link is the interface that leads to the other nodes.
	link   string
	mtu    int
	stacks []*stack
	known  map[string]peer
}

// stack is the part of one family.
type stack struct {
	family
	// Pods is the network of all pods, Subnet this node's share of it.
	Pods, Subnet *net.IPNet
	address      string
	mac          string
}

// peer is the way to another node's share.
type peer struct{ node, subnet, gateway, address, mac, tunnel string }

// ConfigureNetwork waits for the node's share of the pod network, writes the CNI's configuration from it, and keeps the
// ways to the other nodes' shares until the context ends.
func (n *Node) ConfigureNetwork(ctx context.Context, clients *kube.Clients) error {
	if n.FlannelBackend == "none" {
		return nil
	}
	var shares []string
	err := supervisor.Poll(ctx, 10*time.Minute, 500*time.Millisecond, func(ctx context.Context) error {
		node, err := clients.Typed.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if shares = node.Spec.PodCIDRs; len(shares) == 0 {
			return fmt.Errorf("node %s has no podCIDR yet", n.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	own := &network{node: n, clients: clients, known: map[string]peer{}}
	if own.stacks, err = n.stacks(shares); err != nil {
		return fmt.Errorf("flannel exited: %w", err)
	}
	if err := own.find(); err != nil {
		return err
	}
	if n.FlannelBackend == "vxlan" {
		for _, stack := range own.stacks {
			if err := own.vxlan(stack); err != nil {
				return fmt.Errorf("flannel exited: %w", err)
			}
		}
		own.mtu -= vxlanOverhead
	}
	for _, stack := range own.stacks {
		if err := stack.ensure(stack.rules(n.FlannelIPv6Masq)); err != nil {
			return err
		}
	}
	if err := own.write(); err != nil {
		return err
	}
	go clients.Loop(ctx, "flannel", 30*time.Second, own.reconcile, schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	return nil
}

// stacks are those of the cluster's families, IPv4 first. A node that got its share before the cluster had both families gets no
// second one.
func (n *Node) stacks(shares []string) ([]*stack, error) {
	subnets, err := families.Networks("podCIDR", shares, "")
	if err != nil {
		return nil, err
	}
	var found []*stack
	for _, one := range families4and6 {
		pods := families.Of(one.ip, n.ClusterCIDRs)
		if pods == nil {
			continue
		}
		subnet := families.Of(one.ip, subnets)
		if subnet == nil {
			return nil, fmt.Errorf("failed to acquire lease: node %q has no podCIDR of %s", n.Name, one.name)
		}
		found = append(found, &stack{family: one, Pods: pods, Subnet: subnet, address: families.AddressOf(one.ip, n.IPs).String()})
	}
	return found, nil
}

// find looks for the interface that has the node's addresses.
func (w *network) find() error {
	interfaces, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, candidate := range interfaces {
		addresses, err := candidate.Addrs()
		if err != nil {
			return err
		}
		var has []string
		for _, address := range addresses {
			if one, ok := address.(*net.IPNet); ok {
				has = append(has, one.IP.String())
			}
		}
		if !slices.Contains(has, w.stacks[0].address) {
			continue
		}
		for _, stack := range w.stacks[1:] {
			if !slices.Contains(has, stack.address) {
				return fmt.Errorf("flannel exited: failed to find %s address for interface %s", stack.name, candidate.Name)
			}
		}
		w.link, w.mtu = candidate.Name, candidate.MTU
		return nil
	}
	return fmt.Errorf("failed to find the interface with IP %s", w.stacks[0].address)
}

// hostBridge is iproute2's program: in the payload, which stands first in PATH later on, the name is a CNI plugin's.
var hostBridge, _ = exec.LookPath("bridge")

func command(name string, arguments ...string) error {
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(arguments, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}

// vxlan makes the link, or keeps one that fits: pods go on talking while k3s restarts.
func (w *network) vxlan(stack *stack) error {
	if _, err := net.InterfaceByName(stack.tunnel); err != nil {
		// An address of its own choice: udev would change the kernel's a moment later.
		mac, err := randomMAC()
		if err != nil {
			return err
		}
		if err := command("ip", "link", "add", stack.tunnel, "address", mac, "type", "vxlan", "id", fmt.Sprint(vxlanID), "local", stack.address, "dev", w.link,
			"dstport", vxlanPort, "nolearning"); err != nil {
			return err
		}
	}
	for _, arguments := range [][]string{
		stack.tunnelAddress(),
		{"link", "set", stack.tunnel, "mtu", fmt.Sprint(w.mtu - stack.overhead), "up"},
	} {
		if err := command("ip", arguments...); err != nil {
			return err
		}
	}
	link, err := net.InterfaceByName(stack.tunnel)
	if err != nil {
		return err
	}
	stack.mac = link.HardwareAddr.String()
	return nil
}

// tunnelAddress gives the link the first address of the share, alone. Nobody else can have it: IPv6 need not ask first.
func (s *stack) tunnelAddress() []string {
	if s.ip == netutils.IPv6 {
		return []string{"address", "replace", s.Subnet.IP.String() + "/128", "dev", s.tunnel, "nodad"}
	}
	return []string{"address", "replace", s.Subnet.IP.String() + "/32", "dev", s.tunnel}
}

func randomMAC() (string, error) {
	address := make(net.HardwareAddr, 6)
	if _, err := rand.Read(address); err != nil {
		return "", err
	}
	// Local, unicast.
	address[0] = address[0]&^1 | 2
	return address.String(), nil
}

// chain is one of flannel's own.
type chain struct {
	name, table, parent string
	rules               [][]string
}

// rules masquerade what leaves the pods' network, IPv6 only when asked for it, and let the pods' traffic through.
func (s *stack) rules(masqueradeIPv6 bool) []chain {
	pods := s.Pods.String()
	forward := chain{"FLANNEL-FWD", "filter", "FORWARD", [][]string{{"-s", pods, "-j", "ACCEPT"}, {"-d", pods, "-j", "ACCEPT"}}}
	if s.ip == netutils.IPv6 && !masqueradeIPv6 {
		return []chain{forward}
	}
	return []chain{forward, {"FLANNEL-POSTRTG", "nat", "POSTROUTING", [][]string{
		{"-s", pods, "-d", pods, "-j", "RETURN"},
		{"-s", pods, "!", "-d", s.multicast, "-j", "MASQUERADE", "--random-fully"},
		{"!", "-s", pods, "-d", s.Subnet.String(), "-j", "RETURN"},
		{"!", "-s", pods, "-d", pods, "-j", "MASQUERADE", "--random-fully"},
	}}}
}

// ensure fills the chains anew, and has them asked.
func (s *stack) ensure(chains []chain) error {
	for _, one := range chains {
		run := func(arguments ...string) error {
			return command(s.iptables, append([]string{"-w", "-t", one.table}, arguments...)...)
		}
		if run("-n", "-L", one.name) != nil {
			if err := run("-N", one.name); err != nil {
				return err
			}
		}
		if err := run("-F", one.name); err != nil {
			return err
		}
		for _, rule := range one.rules {
			if err := run(append([]string{"-A", one.name, "-m", "comment", "--comment", "flanneld"}, rule...)...); err != nil {
				return err
			}
		}
		jump := []string{one.parent, "-m", "comment", "--comment", "flanneld", "-j", one.name}
		if run(append([]string{"-C"}, jump...)...) != nil {
			if err := run(append([]string{"-A"}, jump...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *network) write() error {
	if err := os.MkdirAll("/run/flannel", 0o755); err != nil {
		return err
	}
	environment, err := w.environment()
	if err != nil {
		return err
	}
	if err := os.WriteFile("/run/flannel/subnet.env", []byte(environment), 0o644); err != nil {
		return err
	}
	configuration, err := w.configuration()
	if err != nil {
		return err
	}
	return certs.WriteFile(w.node.path("etc", "cni", "net.d", "10-flannel.conflist"), configuration, 0o600)
}

// environment is subnet.env.
func (w *network) environment() (string, error) {
	var text strings.Builder
	for _, stack := range w.stacks {
		gateway, err := netutils.GetIndexedIP(stack.Subnet, 1)
		if err != nil {
			return "", err
		}
		ones, _ := stack.Subnet.Mask.Size()
		fmt.Fprintf(&text, "%[1]sNETWORK=%[2]s\n%[1]sSUBNET=%[3]s/%[4]d\n", stack.environment, stack.Pods, gateway, ones)
	}
	fmt.Fprintf(&text, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=true\n", w.mtu)
	return text.String(), nil
}

// configuration is the CNI's: a pod gets an address from each range.
func (w *network) configuration() ([]byte, error) {
	var content bytes.Buffer
	err := networkTemplate.Execute(&content, map[string]any{"Stacks": w.stacks, "MTU": w.mtu})
	return content.Bytes(), err
}

// reconcile announces this node and follows the others.
func (w *network) reconcile(ctx context.Context) error {
	nodes, err := w.clients.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	found := map[string]peer{}
	for index := range nodes.Items {
		node := &nodes.Items[index]
		if node.Name == w.node.Name {
			if err := w.announce(ctx, node); err != nil {
				return err
			}
			continue
		}
		for _, stack := range w.stacks {
			if other, ok := w.peerOf(node, stack); ok {
				found[other.subnet] = other
			}
		}
	}
	for subnet, old := range w.known {
		if found[subnet] != old {
			w.forget(old)
			delete(w.known, subnet)
		}
	}
	for subnet, other := range found {
		if w.known[subnet] == other {
			continue
		}
		if err := w.reach(other); err != nil {
			return err
		}
		logs.Infof("Flannel: subnet %s of node %s is at %s", other.subnet, other.node, other.address)
		w.known[subnet] = other
	}
	return nil
}

func (w *network) announce(ctx context.Context, node *corev1.Node) error {
	wanted := w.announcement()
	same := true
	for key, value := range wanted {
		same = same && node.Annotations[key] == value
	}
	if same {
		return nil
	}
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": wanted}})
	_, err := w.clients.Typed.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}

// announcement is what the other nodes have to know.
func (w *network) announcement() map[string]string {
	annotations := map[string]string{annotationPrefix + "kube-subnet-manager": "true", annotationPrefix + "backend-type": w.node.FlannelBackend}
	for _, stack := range w.stacks {
		annotations[stack.publicIP], annotations[stack.backendData] = stack.address, "null"
		if stack.mac != "" {
			annotations[stack.backendData] = fmt.Sprintf(`{"VNI":%d,"VtepMAC":"%s"}`, vxlanID, stack.mac)
		}
	}
	return annotations
}

func (w *network) peerOf(node *corev1.Node, stack *stack) (peer, bool) {
	subnets, err := families.Networks("podCIDR", node.Spec.PodCIDRs, "")
	if err != nil {
		return peer{}, false
	}
	address, subnet := node.Annotations[stack.publicIP], families.Of(stack.ip, subnets)
	if subnet == nil || address == "" || node.Annotations[annotationPrefix+"backend-type"] != w.node.FlannelBackend {
		return peer{}, false
	}
	other := peer{node: node.Name, subnet: subnet.String(), gateway: subnet.IP.String(), address: address, tunnel: stack.tunnel}
	if w.node.FlannelBackend == "vxlan" {
		var data struct{ VtepMAC string }
		if json.Unmarshal([]byte(node.Annotations[stack.backendData]), &data) != nil || data.VtepMAC == "" {
			return peer{}, false
		}
		other.mac = data.VtepMAC
	}
	return other, true
}

func (w *network) reach(other peer) error {
	if other.mac == "" {
		return command("ip", "route", "replace", other.subnet, "via", other.address, "dev", w.link)
	}
	if err := command("ip", "neighbour", "replace", other.gateway, "lladdr", other.mac, "dev", other.tunnel, "nud", "permanent"); err != nil {
		return err
	}
	if err := command(hostBridge, "fdb", "replace", other.mac, "dev", other.tunnel, "dst", other.address, "self", "permanent"); err != nil {
		return err
	}
	return command("ip", "route", "replace", other.subnet, "via", other.gateway, "dev", other.tunnel, "onlink")
}

// forget undoes reach; what is gone already is as it should be.
func (w *network) forget(other peer) {
	_ = command("ip", "route", "delete", other.subnet)
	if other.mac != "" {
		_ = command(hostBridge, "fdb", "delete", other.mac, "dev", other.tunnel, "dst", other.address, "self")
		_ = command("ip", "neighbour", "delete", other.gateway, "dev", other.tunnel)
	}
}
