// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package agent is the node's part of k3s: containerd, the kubelet, kube-proxy, the pod network and imported images.
package agent

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/options"
	"flyte.onprem/testbed/k3s/internal/supervisor"
	netutils "k8s.io/utils/net"
	"sigs.k8s.io/yaml"
)

// Node is what the agent has to know; paths are K3S.md section 3b.
type Node struct {
	Data, Bin string
	Name      string
	// IPs are an address, or one of each family.
	IPs                        []net.IP
	ClusterCIDRs, ServiceCIDRs []*net.IPNet
	ClusterDNS                 []net.IP
	ClusterDomain              string
	PauseImage, Snapshotter    string
	RegistriesFile             string
	ResolvConf                 string
	Labels, Taints             []string
	ServiceLB, CCM             bool
	// FlannelBackend is vxlan, host-gw or none.
	FlannelBackend         string
	FlannelIPv6Masq        bool
	ProtectKernel          bool
	Verbosity              string
	KubeletArgs, ProxyArgs []string
	DisableProxy           bool
	// BindAddress and SupervisorPort are where an agent serves its part of the embedded registry.
	BindAddress      string
	SupervisorPort   int
	EmbeddedRegistry bool
	// shared are the registries whose images nodes share, p2pAddress is where this one tells the others what it has.
	shared     []string
	p2pAddress string
}

// Fill takes a node's own settings from the options that server and agent share.
func (n *Node) Fill(values *options.Values) (err error) {
	if n.Name, n.IPs, err = Identity(values); err != nil {
		return err
	}
	if n.Snapshotter = values.String("snapshotter"); n.Snapshotter != "overlayfs" && n.Snapshotter != "native" {
		return fmt.Errorf("stand-in: snapshotter %s is not implemented", n.Snapshotter)
	}
	n.PauseImage, n.RegistriesFile, n.ResolvConf = values.String("pause-image"), values.String("private-registry"), values.String("resolv-conf")
	n.Labels, n.Taints = values.List("node-label"), values.List("node-taint")
	n.ProtectKernel, n.Verbosity = values.Bool("protect-kernel-defaults"), values.String("v")
	n.BindAddress = values.String("bind-address")
	n.KubeletArgs, n.ProxyArgs = values.List("kubelet-arg"), values.List("kube-proxy-arg")
	return nil
}

// Join takes what the cluster decides.
func (n *Node) Join(cluster ClusterConfig) {
	n.ClusterCIDRs, n.ServiceCIDRs = cluster.ClusterCIDRs, cluster.ServiceCIDRs
	n.ClusterDNS, n.ClusterDomain = cluster.ClusterDNS, cluster.ClusterDomain
	n.FlannelBackend, n.FlannelIPv6Masq = cluster.FlannelBackend, cluster.FlannelIPv6Masq
	n.ServiceLB, n.CCM, n.DisableProxy = !cluster.DisableServiceLB, !cluster.DisableCCM, cluster.DisableKubeProxy
	n.EmbeddedRegistry, n.SupervisorPort = cluster.EmbeddedRegistry, cluster.SupervisorPort
}

// Directories makes those below D/agent.
func (n *Node) Directories() error {
	if err := os.MkdirAll(n.path("containerd"), 0o700); err != nil {
		return err
	}
	for _, directory := range []string{
		n.path("etc", "containerd", "certs.d"), n.path("etc", "cni", "net.d"), n.path("etc", "kubelet.conf.d"),
		n.path("images"), n.path("pod-manifests"), filepath.Join(n.Data, "storage"),
	} {
		if err := os.MkdirAll(directory, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// ContainerdAddress is the CRI's socket.
const ContainerdAddress = "/run/k3s/containerd/containerd.sock"

func (n *Node) path(parts ...string) string {
	return filepath.Join(append([]string{n.Data, "agent"}, parts...)...)
}

// sysctls are the kernel's switches that have to be on (k3s-io/k3s pkg/agent/syssetup/setup.go).
func (n *Node) sysctls() []string {
	names := []string{
		"net/ipv4/conf/all/forwarding", "net/ipv4/conf/default/forwarding", "net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables",
	}
	if families.Of(netutils.IPv6, n.ClusterCIDRs) == nil {
		return names
	}
	return append(names, "net/ipv6/conf/all/forwarding", "net/ipv6/conf/default/forwarding", "net/core/devconf_inherit_init_net",
		"net/bridge/bridge-nf-call-ip6tables")
}

// Prepare sets the kernel's switches and writes the configuration of containerd and kubelet.
func (n *Node) Prepare() error {
	for _, name := range n.sysctls() {
		file := filepath.Join("/proc/sys", name)
		if current, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(current)) == "1" {
			continue
		}
		if err := os.WriteFile(file, []byte("1"), 0o644); err != nil {
			logs.Errorf("Failed to set sysctl: %v", err)
		}
	}
	if err := n.writeRegistries(); err != nil {
		return err
	}
	if err := n.resolvConf(); err != nil {
		return err
	}
	if err := n.writeContainerd(); err != nil {
		return err
	}
	return n.writeKubelet()
}

// resolvConf takes the first file whose servers a pod can reach, else one of its own (K3S.md section 3b).
func (n *Node) resolvConf() error {
	if n.ResolvConf != "" {
		return nil
	}
	for _, file := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"} {
		if reachable(file) {
			n.ResolvConf = file
			return nil
		}
	}
	n.ResolvConf = n.path("etc", "resolv.conf")
	return os.WriteFile(n.ResolvConf, []byte("nameserver 8.8.8.8\n"), 0o444)
}

func reachable(file string) bool {
	content, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	found := false
	for _, line := range strings.Split(string(content), "\n") {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		address := net.ParseIP(words[1])
		if address == nil || !address.IsGlobalUnicast() {
			return false
		}
		found = true
	}
	return found
}

// restrict_oom_score_adj: inside a container without CAP_SYS_RESOURCE runc could not lower the score.
var containerdTemplate = template.Must(template.New("").Parse(`# File generated by k3s. DO NOT EDIT. Use config-v3.toml.tmpl instead.
version = 3
root = "{{.Data}}/agent/containerd"
state = "/run/k3s/containerd"

[grpc]
  address = "/run/k3s/containerd/containerd.sock"

[plugins.'io.containerd.cri.v1.runtime']
  enable_selinux = false
  enable_unprivileged_ports = true
  enable_unprivileged_icmp = true
  device_ownership_from_security_context = false
  restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["{{.Data}}/data/current/bin"]
  conf_dir = "{{.Data}}/agent/etc/cni/net.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = "runc"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
  BinaryName = "{{.Data}}/data/current/bin/runc"

[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{{.Snapshotter}}"
  disable_snapshot_annotations = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{{.PauseImage}}"

[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = "{{.Data}}/agent/etc/containerd/certs.d"

[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
  stream_server_port = "10010"
`))

func (n *Node) writeContainerd() error {
	for _, name := range []string{"config.toml.tmpl", "config-v3.toml.tmpl", "config-v3.toml.d"} {
		if _, err := os.Stat(n.path("etc", "containerd", name)); err == nil {
			return fmt.Errorf("stand-in: %s is not implemented", n.path("etc", "containerd", name))
		}
	}
	pause := n.PauseImage
	if host, _, found := strings.Cut(pause, "/"); !found || !strings.ContainsAny(host, ".:") {
		pause = "docker.io/" + pause
	}
	var content bytes.Buffer
	if err := containerdTemplate.Execute(&content, map[string]string{"Data": n.Data, "Snapshotter": n.Snapshotter, "PauseImage": pause}); err != nil {
		return err
	}
	return certs.WriteFile(n.path("etc", "containerd", "config.toml"), content.Bytes(), 0o600)
}

// writeKubelet writes 00-k3s-defaults.conf; drop-ins beside it are the user's (K3S.md section 2).
func (n *Node) writeKubelet() error {
	sysctls := []string{}
	if n.ServiceLB {
		sysctls = []string{"net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}
	}
	content, err := yaml.Marshal(map[string]any{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"address":       n.everywhere(),
		"cgroupDriver":  "cgroupfs",
		"clusterDNS":    families.Texts(n.ClusterDNS),
		"clusterDomain": n.ClusterDomain,
		"authentication": map[string]any{"anonymous": map[string]any{"enabled": false}, "webhook": map[string]any{"enabled": true, "cacheTTL": "2m0s"},
			"x509": map[string]any{"clientCAFile": n.path("client-ca.crt")}},
		"authorization":            map[string]any{"mode": "Webhook"},
		"containerRuntimeEndpoint": "unix://" + ContainerdAddress,
		"evictionHard":             map[string]any{"imagefs.available": "5%", "nodefs.available": "5%"},
		"evictionMinimumReclaim":   map[string]any{"imagefs.available": "10%", "nodefs.available": "10%"},
		"failSwapOn":               false,
		"healthzBindAddress":       n.loopback(),
		"healthzPort":              10248,
		"port":                     10250,
		"readOnlyPort":             0,
		"protectKernelDefaults":    n.ProtectKernel,
		"providerID":               "k3s://" + n.Name,
		"resolvConf":               n.ResolvConf,
		"serializeImagePulls":      false,
		"allowedUnsafeSysctls":     sysctls,
		"staticPodPath":            n.path("pod-manifests"),
		"tlsCertFile":              n.path("serving-kubelet.crt"),
		"tlsPrivateKeyFile":        n.path("serving-kubelet.key"),
	})
	if err != nil {
		return err
	}
	return certs.WriteFile(n.path("etc", "kubelet.conf.d", "00-k3s-defaults.conf"), content, 0o600)
}

// StartContainerd runs containerd and imports the images that lie in D/agent/images.
func (n *Node) StartContainerd(ctx context.Context, group *supervisor.Group) error {
	if err := os.MkdirAll(filepath.Dir(ContainerdAddress), 0o711); err != nil {
		return err
	}
	output, err := os.OpenFile(n.path("containerd", "containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	var environment []string
	for _, entry := range os.Environ() {
		// CONTAINERD_X reaches containerd as X.
		if name, found := strings.CutPrefix(entry, "CONTAINERD_"); found {
			environment = append(environment, name)
		}
	}
	logs.Infof("Logging containerd to %s", output.Name())
	err = group.Start(supervisor.Program{
		Name: "containerd", Path: filepath.Join(n.Bin, "containerd"), Output: output, Environment: environment,
		Arguments: []string{"-c", n.path("etc", "containerd", "config.toml")},
	})
	if err != nil {
		return err
	}
	err = supervisor.Poll(ctx, time.Minute, 200*time.Millisecond, func(ctx context.Context) error {
		return n.ctr(ctx, "version").Run()
	})
	if err != nil {
		return fmt.Errorf("failed to wait for containerd: %w", err)
	}
	logs.Infof("containerd is now running")
	return nil
}

func (n *Node) ctr(ctx context.Context, arguments ...string) *exec.Cmd {
	return exec.CommandContext(ctx, filepath.Join(n.Bin, "ctr"), append([]string{"-a", ContainerdAddress, "-n", "k8s.io"}, arguments...)...)
}

// everywhere and loopback are where the node's components listen, of its primary family.
func (n *Node) everywhere() string {
	if netutils.IsIPv6(n.IPs[0]) {
		return "::"
	}
	return "0.0.0.0"
}

func (n *Node) loopback() string {
	if netutils.IsIPv6(n.IPs[0]) {
		return "::1"
	}
	return "127.0.0.1"
}

func (n *Node) kubeletArguments() map[string]string {
	arguments := map[string]string{
		"config-dir":        n.path("etc", "kubelet.conf.d"),
		"hostname-override": n.Name,
		"kubeconfig":        n.path("kubelet.kubeconfig"),
		"node-labels":       strings.Join(append([]string{"node.kubernetes.io/instance-type=k3s"}, n.Labels...), ","),
		"root-dir":          "/var/lib/kubelet",
		"v":                 n.Verbosity,
	}
	// Another cloud provider may not take two addresses: k3s leaves them to kubelet-arg then.
	if n.CCM || len(n.IPs) == 1 {
		arguments["node-ip"] = families.Join(n.IPs)
	}
	if len(n.Taints) > 0 {
		arguments["register-with-taints"] = strings.Join(n.Taints, ",")
	}
	return arguments
}

func (n *Node) proxyArguments() map[string]string {
	return map[string]string{
		"bind-address":                      n.loopback(),
		"cluster-cidr":                      families.Join(n.ClusterCIDRs),
		"healthz-bind-address":              n.loopback(),
		"hostname-override":                 n.Name,
		"kubeconfig":                        n.path("kubeproxy.kubeconfig"),
		"metrics-bind-address":              n.loopback(),
		"proxy-mode":                        "iptables",
		"v":                                 n.Verbosity,
		"conntrack-max-per-core":            "0",
		"conntrack-tcp-timeout-established": "0s",
		"conntrack-tcp-timeout-close-wait":  "0s",
	}
}

// StartKubelet runs kubelet and kube-proxy.
func (n *Node) StartKubelet(group *supervisor.Group) error {
	for _, argument := range n.KubeletArgs {
		name, _, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if name == "config" || name == "config-dir" {
			return fmt.Errorf("stand-in: kubelet-arg %s is not implemented; put a file into %s", name, n.path("etc", "kubelet.conf.d"))
		}
	}
	program := supervisor.Program{Name: "kubelet", Path: filepath.Join(n.Bin, "kubelet"), Arguments: options.MergeArguments(n.kubeletArguments(), n.KubeletArgs)}
	if err := group.Start(program); err != nil {
		return err
	}
	if n.DisableProxy {
		return nil
	}
	return group.Start(supervisor.Program{Name: "kube-proxy", Path: filepath.Join(n.Bin, "kube-proxy"),
		Arguments: options.MergeArguments(n.proxyArguments(), n.ProxyArgs), Grace: 3 * time.Second})
}
