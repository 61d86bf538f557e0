// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package options

import "strings"

// Kind is the type of an option's value.
type Kind int

const (
	String Kind = iota
	Bool
	Int
	List
	Duration
)

// Support says what the stand-in makes of an option that k3s has.
type Support int

const (
	// Missing: k3s has it, the stand-in does not; any value but the default is refused.
	Missing Support = iota
	// Works as in k3s.
	Works
	// Ignored: it may be set and has no effect, as in a k3s of one server on SQLite.
	Ignored
)

// Option is one row of K3S.md section 1, which names its sources
// (k3s-io/k3s pkg/cli/cmds/{agent,server,etcd_snapshot,log,config,const_linux}.go and docs.k3s.io, cli/server and cli/agent).
type Option struct {
	Name    string
	Aliases []string
	Kind    Kind
	Env     string
	Default string
	Support Support
	// Secret values are masked in the Node's annotation k3s.io/node-args.
	Secret bool
	Help   string
}

// Shared are the options of "server" and "agent" (section 1a).
var Shared = []Option{
	{Name: "config", Aliases: []string{"c"}, Env: "K3S_CONFIG_FILE", Default: DefaultConfigFile, Support: Works, Help: "configuration file"},
	{Name: "debug", Kind: Bool, Env: "K3S_DEBUG", Support: Works, Help: "debug messages"},
	{Name: "v", Kind: Int, Default: "0", Support: Works, Help: "verbosity of the Kubernetes components"},
	{Name: "vmodule", Support: Missing, Help: "verbosity by source file"},
	{Name: "log", Aliases: []string{"l"}, Support: Missing, Help: "log to this file"},
	{Name: "alsologtostderr", Kind: Bool, Support: Missing, Help: "log to stderr as well as to the file"},
	{Name: "data-dir", Aliases: []string{"d"}, Env: "K3S_DATA_DIR", Default: DefaultDataDir, Support: Works, Help: "directory of all state"},
	{Name: "token", Aliases: []string{"t"}, Env: "K3S_TOKEN", Support: Works, Secret: true, Help: "shared secret of the cluster"},
	{Name: "token-file", Env: "K3S_TOKEN_FILE", Support: Works, Help: "file that holds the token"},
	{Name: "server", Aliases: []string{"s"}, Env: "K3S_URL", Support: Works, Help: "server to join"},
	{Name: "bind-address", Support: Works, Help: "address to listen on (default 0.0.0.0)"},
	{Name: "node-name", Env: "K3S_NODE_NAME", Support: Works, Help: "name of the Node"},
	{Name: "with-node-id", Kind: Bool, Support: Missing, Help: "append an id to the node name"},
	{Name: "node-label", Kind: List, Support: Works, Help: "label of the Node at registration"},
	{Name: "node-taint", Kind: List, Support: Works, Help: "taint of the Node at registration"},
	{Name: "node-ip", Aliases: []string{"i"}, Kind: List, Support: Works, Help: "address of the Node, or one of each family"},
	{Name: "node-external-ip", Kind: List, Support: Missing, Help: "external address of the Node"},
	{Name: "node-internal-dns", Kind: List, Support: Missing, Help: "internal DNS name of the Node"},
	{Name: "node-external-dns", Kind: List, Support: Missing, Help: "external DNS name of the Node"},
	{Name: "image-credential-provider-bin-dir", Default: "/var/lib/rancher/credentialprovider/bin", Support: Missing, Help: "credential providers"},
	{Name: "image-credential-provider-config", Default: "/var/lib/rancher/credentialprovider/config.yaml", Support: Missing, Help: "their configuration"},
	{Name: "selinux", Kind: Bool, Env: "K3S_SELINUX", Support: Missing, Help: "SELinux in containerd"},
	{Name: "lb-server-port", Kind: Int, Env: "K3S_LB_SERVER_PORT", Default: "6444", Support: Works, Help: "port of an agent's load balancer"},
	{Name: "protect-kernel-defaults", Kind: Bool, Support: Works, Help: "refuse to run with other kernel parameters than the kubelet's"},
	{Name: "container-runtime-endpoint", Support: Missing, Help: "another container runtime"},
	{Name: "default-runtime", Support: Missing, Help: "containerd's default runtime"},
	{Name: "image-service-endpoint", Support: Missing, Help: "another image service"},
	{Name: "pause-image", Default: PauseImage, Support: Works, Help: "image of a pod's sandbox"},
	{Name: "snapshotter", Default: "overlayfs", Support: Works, Help: "overlayfs or native"},
	{Name: "private-registry", Default: "/etc/rancher/k3s/registries.yaml", Support: Works, Help: "registries file"},
	{Name: "airgap-extra-registry", Kind: List, Support: Missing, Help: "more registry names for imported images"},
	{Name: "disable-default-registry-endpoint", Kind: Bool, Support: Missing, Help: "no fallback to a registry's own endpoint"},
	{Name: "nonroot-devices", Kind: Bool, Support: Missing, Help: "devices for containers that are not root"},
	{Name: "resolv-conf", Env: "K3S_RESOLV_CONF", Support: Works, Help: "resolv.conf for the kubelet"},
	{Name: "flannel-iface", Support: Works, Help: "interface of flannel"},
	{Name: "flannel-conf", Support: Missing, Help: "flannel's configuration"},
	{Name: "flannel-cni-conf", Support: Missing, Help: "flannel's CNI configuration"},
	{Name: "kubelet-arg", Kind: List, Support: Works, Help: "argument of the kubelet"},
	{Name: "kube-proxy-arg", Kind: List, Support: Works, Help: "argument of kube-proxy"},
	{Name: "enable-pprof", Kind: Bool, Support: Missing, Help: "profiles on the supervisor's port"},
	{Name: "rootless", Kind: Bool, Support: Missing, Help: "run without root"},
	{Name: "prefer-bundled-bin", Kind: Bool, Support: Missing, Help: "bundled tools before the host's"},
	{Name: "docker", Kind: Bool, Support: Missing, Help: "cri-dockerd"},
	{Name: "vpn-auth", Env: "K3S_VPN_AUTH", Support: Missing, Secret: true, Help: "credentials of a VPN"},
	{Name: "vpn-auth-file", Env: "K3S_VPN_AUTH_FILE", Support: Missing, Help: "file that holds them"},
}

// ServerOnly are the further options of "server" (section 1b).
var ServerOnly = []Option{
	{Name: "https-listen-port", Kind: Int, Default: "6443", Support: Works, Help: "port of the API"},
	{Name: "supervisor-port", Kind: Int, Env: "K3S_SUPERVISOR_PORT", Default: "0", Support: Missing, Help: "port of the supervisor"},
	{Name: "apiserver-port", Kind: Int, Env: "K3S_APISERVER_PORT", Default: "0", Support: Missing, Help: "port of the apiserver"},
	{Name: "apiserver-bind-address", Env: "K3S_APISERVER_BIND_ADDRESS", Support: Missing, Help: "address of the apiserver"},
	{Name: "advertise-address", Support: Works, Help: "address of the API for the cluster (default: the node's)"},
	{Name: "advertise-port", Kind: Int, Default: "0", Support: Works, Help: "port of the API for the cluster (default: https-listen-port)"},
	{Name: "tls-san", Kind: List, Support: Works, Help: "further name or address in the API's certificate"},
	{Name: "tls-san-security", Kind: Bool, Default: "true", Support: Works, Help: "no names in the certificate but those asked for"},
	{Name: "cluster-cidr", Kind: List, Support: Works, Help: "network of the pods, or one of each family (default 10.42.0.0/16)"},
	{Name: "service-cidr", Kind: List, Support: Works, Help: "network of the Services, or one of each family (default 10.43.0.0/16)"},
	{Name: "service-node-port-range", Default: "30000-32767", Support: Works, Help: "ports for NodePort Services"},
	{Name: "cluster-dns", Kind: List, Support: Works, Help: "address of the cluster's DNS (default: the tenth of each service-cidr)"},
	{Name: "cluster-domain", Default: "cluster.local", Support: Works, Help: "the cluster's domain"},
	{Name: "flannel-backend", Default: "vxlan", Support: Works, Help: "vxlan, host-gw, wireguard-native or none"},
	{Name: "flannel-ipv6-masq", Kind: Bool, Support: Works, Help: "masquerade IPv6"},
	{Name: "flannel-external-ip", Kind: Bool, Support: Missing, Help: "flannel over external addresses"},
	{Name: "egress-selector-mode", Default: "agent", Support: Works, Help: "agent, cluster, pod or disabled"},
	{Name: "servicelb-namespace", Default: "kube-system", Support: Works, Help: "namespace of the load balancer's pods"},
	{Name: "write-kubeconfig", Aliases: []string{"o"}, Env: "K3S_KUBECONFIG_OUTPUT", Support: Works, Help: "write the admin's kubeconfig here"},
	{Name: "write-kubeconfig-mode", Env: "K3S_KUBECONFIG_MODE", Support: Works, Help: "with this mode"},
	{Name: "write-kubeconfig-group", Env: "K3S_KUBECONFIG_GROUP", Support: Works, Help: "with this group"},
	{Name: "helm-job-image", Support: Ignored, Help: "image of the Helm jobs"},
	{Name: "agent-token", Env: "K3S_AGENT_TOKEN", Support: Works, Secret: true, Help: "secret with which agents join"},
	{Name: "agent-token-file", Env: "K3S_AGENT_TOKEN_FILE", Support: Works, Help: "file that holds it"},
	{Name: "cluster-init", Kind: Bool, Env: "K3S_CLUSTER_INIT", Support: Works, Help: "new cluster with embedded etcd"},
	{Name: "cluster-reset", Kind: Bool, Env: "K3S_CLUSTER_RESET", Support: Works, Help: "forget all other members"},
	{Name: "cluster-reset-restore-path", Support: Works, Help: "snapshot to restore"},
	{Name: "kube-apiserver-arg", Kind: List, Support: Works, Help: "argument of kube-apiserver"},
	{Name: "etcd-arg", Kind: List, Support: Works, Help: "argument of etcd"},
	{Name: "kube-controller-manager-arg", Kind: List, Support: Works, Help: "argument of kube-controller-manager"},
	{Name: "kube-scheduler-arg", Kind: List, Support: Works, Help: "argument of kube-scheduler"},
	{Name: "kube-cloud-controller-manager-arg", Kind: List, Support: Missing, Help: "argument of the cloud controller manager"},
	{Name: "kube-controller-arg", Kind: List, Support: Missing, Help: "deprecated"},
	{Name: "kube-cloud-controller-arg", Kind: List, Support: Missing, Help: "deprecated"},
	{Name: "helm-controller-arg", Kind: List, Support: Missing, Help: "argument of the Helm controller"},
	{Name: "kine-tls", Kind: Bool, Support: Missing, Help: "TLS between apiserver and kine"},
	{Name: "datastore-endpoint", Env: "K3S_DATASTORE_ENDPOINT", Support: Works, Secret: true, Help: "external datastore"},
	{Name: "datastore-cafile", Env: "K3S_DATASTORE_CAFILE", Support: Works, Help: "its CA"},
	{Name: "datastore-certfile", Env: "K3S_DATASTORE_CERTFILE", Support: Works, Help: "certificate for it"},
	{Name: "datastore-keyfile", Env: "K3S_DATASTORE_KEYFILE", Support: Works, Help: "key for it"},
	{Name: "etcd-expose-metrics", Kind: Bool, Support: Works, Help: "etcd's metrics on all interfaces"},
	{Name: "etcd-disable-snapshots", Kind: Bool, Support: Works, Help: "no snapshots"},
	{Name: "etcd-snapshot-name", Default: "etcd-snapshot", Support: Works, Help: "base name of snapshots"},
	{Name: "etcd-snapshot-schedule-cron", Default: "0 */12 * * *", Support: Works, Help: "when to take them"},
	{Name: "etcd-snapshot-reconcile-interval", Kind: Duration, Default: "10m", Support: Ignored, Help: "when to compare them with their objects"},
	{Name: "etcd-snapshot-retention", Kind: Int, Default: "5", Support: Works, Help: "how many to keep"},
	{Name: "etcd-snapshot-dir", Support: Works, Help: "where to keep them"},
	{Name: "etcd-snapshot-compress", Kind: Bool, Support: Works, Help: "compress them"},
	{Name: "etcd-s3", Kind: Bool, Support: Works, Help: "snapshots to S3"},
	{Name: "etcd-s3-endpoint", Default: "s3.amazonaws.com", Support: Works, Help: "S3 server"},
	{Name: "etcd-s3-endpoint-ca", Support: Works, Help: "its CA"},
	{Name: "etcd-s3-skip-ssl-verify", Kind: Bool, Support: Works, Help: "do not verify it"},
	{Name: "etcd-s3-access-key", Env: "AWS_ACCESS_KEY_ID", Support: Works, Secret: true, Help: "access key"},
	{Name: "etcd-s3-secret-key", Env: "AWS_SECRET_ACCESS_KEY", Support: Works, Secret: true, Help: "secret key"},
	{Name: "etcd-s3-session-token", Env: "AWS_SESSION_TOKEN", Support: Works, Secret: true, Help: "session token"},
	{Name: "etcd-s3-bucket", Support: Works, Help: "bucket"},
	{Name: "etcd-s3-bucket-lookup-type", Default: "auto", Support: Works, Help: "auto, dns or path"},
	{Name: "etcd-s3-region", Default: "us-east-1", Support: Works, Help: "region"},
	{Name: "etcd-s3-folder", Support: Works, Help: "folder"},
	{Name: "etcd-s3-retention", Kind: Int, Default: "5", Support: Works, Help: "how many to keep in S3"},
	{Name: "etcd-s3-proxy", Support: Works, Secret: true, Help: "proxy"},
	{Name: "etcd-s3-config-secret", Support: Missing, Help: "Secret with the S3 settings"},
	{Name: "etcd-s3-insecure", Kind: Bool, Support: Works, Help: "plain HTTP"},
	{Name: "etcd-s3-timeout", Kind: Duration, Default: "5m", Support: Works, Help: "timeout"},
	{Name: "default-local-storage-path", Support: Works, Help: "directory of local-path volumes"},
	{Name: "disable", Kind: List, Support: Works, Help: "packaged component to leave out or remove"},
	{Name: "disable-scheduler", Kind: Bool, Support: Works, Help: "no scheduler"},
	{Name: "disable-kube-proxy", Kind: Bool, Support: Works, Help: "no kube-proxy"},
	{Name: "disable-cloud-controller", Kind: Bool, Support: Works, Help: "no cloud controller, so no ServiceLB"},
	{Name: "disable-network-policy", Kind: Bool, Support: Ignored, Help: "no network policy controller (the stand-in has none)"},
	{Name: "disable-helm-controller", Kind: Bool, Support: Works, Help: "no Helm controller"},
	{Name: "disable-apiserver", Kind: Bool, Support: Missing, Help: "no apiserver"},
	{Name: "disable-controller-manager", Kind: Bool, Support: Missing, Help: "no controller manager"},
	{Name: "disable-etcd", Kind: Bool, Support: Missing, Help: "no etcd"},
	{Name: "disable-agent", Kind: Bool, Support: Missing, Help: "no Node on this host"},
	{Name: "embedded-registry", Kind: Bool, Support: Works, Help: "share images between nodes"},
	{Name: "supervisor-metrics", Kind: Bool, Support: Missing, Help: "metrics on the supervisor's port"},
	{Name: "system-default-registry", Env: "K3S_SYSTEM_DEFAULT_REGISTRY", Support: Missing, Help: "registry of all packaged images"},
	{Name: "secrets-encryption", Kind: Bool, Support: Works, Help: "encrypt Secrets in the datastore"},
	{Name: "secrets-encryption-provider", Default: "aescbc", Support: Works, Help: "aescbc or secretbox"},
}

// AgentOnly are the further options of "agent" (section 1a).
var AgentOnly = []Option{
	{Name: "disable-apiserver-lb", Kind: Bool, Support: Missing, Help: "no load balancer for the API on this node"},
}

// Agent is every option of "k3s agent".
func Agent() []Option { return append(append([]Option{}, Shared...), AgentOnly...) }

// Server is every option of "k3s server".
func Server() []Option { return append(append([]Option{}, Shared...), ServerOnly...) }

// Snapshot is every option of "k3s etcd-snapshot" (section 7; k3s-io/k3s pkg/cli/cmds/etcd_snapshot.go): the server's own about
// snapshots, and how to reach the server.
func Snapshot() []Option {
	table := []Option{
		{Name: "etcd-server", Aliases: []string{"s"}, Default: "https://127.0.0.1:6443", Support: Works, Help: "server to ask"},
		{Name: "etcd-token", Aliases: []string{"t"}, Env: "K3S_TOKEN", Support: Works, Secret: true, Help: "its token"},
		{Name: "etcd-token-file", Env: "K3S_TOKEN_FILE", Support: Works, Help: "file that holds it"},
		{Name: "output", Aliases: []string{"o"}, Support: Works, Help: "table, json or yaml"},
	}
	for _, option := range Server() {
		switch {
		case option.Name == "etcd-snapshot-name":
			option.Default, option.Aliases = "on-demand", []string{"name"}
		case option.Name == "etcd-snapshot-dir":
			option.Aliases = []string{"dir"}
		case strings.HasPrefix(option.Name, "etcd-s3"):
			option.Aliases = []string{strings.TrimPrefix(option.Name, "etcd-")}
		case option.Name == "debug" || option.Name == "config" || option.Name == "data-dir" || option.Name == "etcd-snapshot-compress" ||
			option.Name == "etcd-snapshot-retention":
		default:
			continue
		}
		table = append(table, option)
	}
	return table
}

// Token is every option of "k3s token rotate" (section 4; k3s-io/k3s pkg/cli/cmds/token.go).
func Token() []Option {
	table := []Option{
		{Name: "kubeconfig", Env: "KUBECONFIG", Support: Ignored, Help: "of the other commands about tokens"},
		{Name: "server", Aliases: []string{"s"}, Env: "K3S_URL", Default: "https://127.0.0.1:6443", Support: Works, Help: "server to ask"},
		{Name: "token", Aliases: []string{"t"}, Env: "K3S_TOKEN", Support: Works, Secret: true, Help: "its token"},
		{Name: "token-file", Env: "K3S_TOKEN_FILE", Support: Works, Help: "file that holds it"},
		{Name: "new-token", Support: Works, Secret: true, Help: "the token to come; without one it is made"},
	}
	for _, option := range Shared {
		if option.Name == "debug" || option.Name == "data-dir" {
			table = append(table, option)
		}
	}
	return table
}

const (
	DefaultConfigFile = "/etc/rancher/k3s/config.yaml"
	DefaultDataDir    = "/var/lib/rancher/k3s"
	// PauseImage is K3S.md section 9: pinned from 1.36.3 on.
	PauseImage = "rancher/mirrored-pause:3.10.2"
)
