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
	"strings"
	"text/template"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/supervisor"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// The pod network keeps flannel's names, files, annotations and port (K3S.md sections 3b, 5 and 6): what flannel does by
// netlink the host's ip, bridge and iptables do here.
const (
	vxlanLink = "flannel.1"
	vxlanPort = "8472"
	vxlanID   = 1
	// An outer header costs 50 bytes.
	vxlanOverhead = 50

	annotationPrefix = "flannel.alpha.coreos.com/"
)

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
      "ipam": {"type": "host-local", "ranges": [[{"subnet": "{{.Subnet}}"}]]}
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
	link    string
	mtu     int
	subnet  *net.IPNet
	address string
	mac     string
	known   map[string]peer
}

type peer struct{ subnet, gateway, address, mac string }

// ConfigureNetwork waits for the node's share of the pod network, writes the CNI's configuration from it, and keeps the
// ways to the other nodes' shares until the context ends.
func (n *Node) ConfigureNetwork(ctx context.Context, clients *kube.Clients) error {
	if n.FlannelBackend == "none" {
		return nil
	}
	var subnet string
	err := supervisor.Poll(ctx, 10*time.Minute, 500*time.Millisecond, func(ctx context.Context) error {
		node, err := clients.Typed.CoreV1().Nodes().Get(ctx, n.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if subnet = node.Spec.PodCIDR; subnet == "" {
			return fmt.Errorf("node %s has no podCIDR yet", n.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	own := &network{node: n, clients: clients, known: map[string]peer{}}
	if _, own.subnet, err = net.ParseCIDR(subnet); err != nil {
		return err
	}
	if err := own.find(); err != nil {
		return err
	}
	if n.FlannelBackend == "vxlan" {
		if err := own.vxlan(); err != nil {
			return fmt.Errorf("flannel exited: %w", err)
		}
	}
	if err := own.rules(); err != nil {
		return err
	}
	if err := own.write(); err != nil {
		return err
	}
	go clients.Loop(ctx, "flannel", 30*time.Second, own.reconcile, schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
	return nil
}

// find looks for the interface that has the node's address.
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
		for _, address := range addresses {
			if has, ok := address.(*net.IPNet); ok && has.IP.String() == w.node.IP {
				w.link, w.mtu = candidate.Name, candidate.MTU
				return nil
			}
		}
	}
	return fmt.Errorf("failed to find the interface with IP %s", w.node.IP)
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
func (w *network) vxlan() error {
	w.mtu -= vxlanOverhead
	if _, err := net.InterfaceByName(vxlanLink); err != nil {
		// An address of its own choice: udev would change the kernel's a moment later.
		mac, err := randomMAC()
		if err != nil {
			return err
		}
		if err := command("ip", "link", "add", vxlanLink, "address", mac, "type", "vxlan", "id", fmt.Sprint(vxlanID), "local", w.node.IP, "dev", w.link,
			"dstport", vxlanPort, "nolearning"); err != nil {
			return err
		}
	}
	for _, arguments := range [][]string{
		{"address", "replace", w.subnet.IP.String() + "/32", "dev", vxlanLink},
		{"link", "set", vxlanLink, "mtu", fmt.Sprint(w.mtu), "up"},
	} {
		if err := command("ip", arguments...); err != nil {
			return err
		}
	}
	link, err := net.InterfaceByName(vxlanLink)
	if err != nil {
		return err
	}
	w.mac = link.HardwareAddr.String()
	return nil
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

// rules masquerade what leaves the pods' network and let their traffic through, in flannel's own chains.
func (w *network) rules() error {
	pods := w.node.ClusterCIDR
	chains := map[string]struct {
		table, parent string
		rules         [][]string
	}{
		"FLANNEL-POSTRTG": {"nat", "POSTROUTING", [][]string{
			{"-s", pods, "-d", pods, "-j", "RETURN"},
			{"-s", pods, "!", "-d", "224.0.0.0/4", "-j", "MASQUERADE", "--random-fully"},
			{"!", "-s", pods, "-d", w.subnet.String(), "-j", "RETURN"},
			{"!", "-s", pods, "-d", pods, "-j", "MASQUERADE", "--random-fully"},
		}},
		"FLANNEL-FWD": {"filter", "FORWARD", [][]string{{"-s", pods, "-j", "ACCEPT"}, {"-d", pods, "-j", "ACCEPT"}}},
	}
	for chain, wanted := range chains {
		table := []string{"-w", "-t", wanted.table}
		run := func(arguments ...string) error {
			return command("iptables", append(append([]string{}, table...), arguments...)...)
		}
		if run("-n", "-L", chain) != nil {
			if err := run("-N", chain); err != nil {
				return err
			}
		}
		if err := run("-F", chain); err != nil {
			return err
		}
		for _, rule := range wanted.rules {
			if err := run(append([]string{"-A", chain, "-m", "comment", "--comment", "flanneld"}, rule...)...); err != nil {
				return err
			}
		}
		jump := []string{wanted.parent, "-m", "comment", "--comment", "flanneld", "-j", chain}
		if run(append([]string{"-C"}, jump...)...) != nil {
			if err := run(append([]string{"-A"}, jump...)...); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *network) write() error {
	gateway := append(net.IP{}, w.subnet.IP.To4()...)
	gateway[3]++
	ones, _ := w.subnet.Mask.Size()
	if err := os.MkdirAll("/run/flannel", 0o755); err != nil {
		return err
	}
	environment := fmt.Sprintf("FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s/%d\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=true\n", w.node.ClusterCIDR, gateway, ones, w.mtu)
	if err := os.WriteFile("/run/flannel/subnet.env", []byte(environment), 0o644); err != nil {
		return err
	}
	var content bytes.Buffer
	if err := networkTemplate.Execute(&content, map[string]any{"Subnet": w.subnet, "MTU": w.mtu}); err != nil {
		return err
	}
	return certs.WriteFile(w.node.path("etc", "cni", "net.d", "10-flannel.conflist"), content.Bytes(), 0o600)
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
		if other, ok := w.peerOf(node); ok {
			found[node.Name] = other
		}
	}
	for name, old := range w.known {
		if found[name] != old {
			w.forget(old)
			delete(w.known, name)
		}
	}
	for name, other := range found {
		if w.known[name] == other {
			continue
		}
		if err := w.reach(other); err != nil {
			return err
		}
		logs.Infof("Flannel: subnet %s of node %s is at %s", other.subnet, name, other.address)
		w.known[name] = other
	}
	return nil
}

func (w *network) announce(ctx context.Context, node *corev1.Node) error {
	wanted := map[string]string{annotationPrefix + "kube-subnet-manager": "true", annotationPrefix + "public-ip": w.node.IP,
		annotationPrefix + "backend-type": w.node.FlannelBackend, annotationPrefix + "backend-data": "null"}
	if w.mac != "" {
		wanted[annotationPrefix+"backend-data"] = fmt.Sprintf(`{"VNI":%d,"VtepMAC":"%s"}`, vxlanID, w.mac)
	}
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

func (w *network) peerOf(node *corev1.Node) (peer, bool) {
	address := node.Annotations[annotationPrefix+"public-ip"]
	_, subnet, err := net.ParseCIDR(node.Spec.PodCIDR)
	if err != nil || address == "" || node.Annotations[annotationPrefix+"backend-type"] != w.node.FlannelBackend {
		return peer{}, false
	}
	other := peer{subnet: subnet.String(), gateway: subnet.IP.String(), address: address}
	if w.node.FlannelBackend == "vxlan" {
		var data struct{ VtepMAC string }
		if json.Unmarshal([]byte(node.Annotations[annotationPrefix+"backend-data"]), &data) != nil || data.VtepMAC == "" {
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
	if err := command("ip", "neighbour", "replace", other.gateway, "lladdr", other.mac, "dev", vxlanLink, "nud", "permanent"); err != nil {
		return err
	}
	if err := command(hostBridge, "fdb", "replace", other.mac, "dev", vxlanLink, "dst", other.address, "self", "permanent"); err != nil {
		return err
	}
	return command("ip", "route", "replace", other.subnet, "via", other.gateway, "dev", vxlanLink, "onlink")
}

// forget undoes reach; what is gone already is as it should be.
func (w *network) forget(other peer) {
	_ = command("ip", "route", "delete", other.subnet)
	if other.mac != "" {
		_ = command(hostBridge, "fdb", "delete", other.mac, "dev", vxlanLink, "dst", other.address, "self")
		_ = command("ip", "neighbour", "delete", other.gateway, "dev", vxlanLink)
	}
}
