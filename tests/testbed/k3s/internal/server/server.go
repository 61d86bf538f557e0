// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"flyte.onprem/testbed/k3s/internal/addons"
	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/helmchart"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/nodes"
	"flyte.onprem/testbed/k3s/internal/payload"
	"flyte.onprem/testbed/k3s/internal/servicelb"
	"flyte.onprem/testbed/k3s/internal/supervisor"
)

// errStopped is the orderly end after SIGTERM.
var errStopped = errors.New("stopped")

// Run is the whole life of "k3s server". Its end, whatever the reason, takes all children with it but leaves the pods
// (their shims belong to no one).
func (c *Config) Run() error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	group := supervisor.New()
	defer group.Stop()

	finished := make(chan error, 1)
	go func() { finished <- c.run(ctx, group) }()
	select {
	case err := <-group.Failed():
		return err
	case err := <-finished:
		if errors.Is(err, errStopped) {
			logs.Infof("Shutting down")
			return nil
		}
		return err
	}
}

func (c *Config) run(ctx context.Context, group *supervisor.Group) error {
	notify := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	bin, err := payload.Unpack(c.Data)
	if err != nil {
		return err
	}
	c.Bin = bin
	// The bundled runc and shim come first, the host's iptables and mount tools are found behind them.
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := c.prepare(); err != nil {
		return err
	}
	node := c.node()
	if err := node.Prepare(); err != nil {
		return err
	}
	if err := helmchart.Stage(c.server("static", "charts")); err != nil {
		return err
	}
	words := map[string]string{
		"CLUSTER_DNS": c.ClusterDNS, "CLUSTER_DOMAIN": c.ClusterDomain, "DEFAULT_LOCAL_STORAGE_PATH": c.localStorage(),
	}
	if err := addons.Stage(c.server("manifests"), words, c.Disabled); err != nil {
		return err
	}
	// Supervisor and API share a port that answers from early on.
	front, err := c.listen()
	if err != nil {
		return err
	}
	defer front.Close()
	if err := c.startDatastore(ctx, group); err != nil {
		return err
	}
	if err := c.startAPIServer(group); err != nil {
		return err
	}
	clients, err := kube.Connect(c.server("cred", "supervisor.kubeconfig"))
	if err != nil {
		return err
	}

	// containerd needs no API; its images are in before there is a kubelet to collect them.
	known := node.Imported()
	containerd := make(chan error, 1)
	go func() {
		err := node.StartContainerd(ctx, group)
		if err == nil {
			node.ImportImages(ctx, known, false)
		}
		containerd <- err
	}()

	logs.Infof("Waiting for API server to become available")
	if err := supervisor.Poll(ctx, 10*time.Minute, 500*time.Millisecond, apiReady(clients)); err != nil {
		return stopped(ctx, fmt.Errorf("failed to wait for API server: %w", err))
	}
	logs.Infof("Kube API server is now running")
	logs.Infof("ETCD server is now running")
	// They would give up soon without an apiserver that answers them.
	if err := c.startControllers(group); err != nil {
		return err
	}
	if err := supervisor.Poll(ctx, time.Minute, time.Second, func(ctx context.Context) error { return addons.Define(ctx, clients) }); err != nil {
		return stopped(ctx, err)
	}
	logs.Infof("k3s is up and running")
	if err := ready(notify); err != nil {
		return err
	}
	c.startOwnControllers(ctx, clients)

	if err := <-containerd; err != nil {
		return stopped(ctx, err)
	}
	if err := node.StartKubelet(group); err != nil {
		return err
	}
	go node.WatchImages(ctx, known)
	if err := node.ConfigureNetwork(ctx, clients); err != nil {
		return stopped(ctx, err)
	}
	<-ctx.Done()
	return errStopped
}

// stopped prefers the orderly end over the error that it causes.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errStopped
	}
	return err
}

// startOwnControllers runs what k3s has beside Kubernetes' own controllers.
func (c *Config) startOwnControllers(ctx context.Context, clients *kube.Clients) {
	node := &nodes.Controller{Clients: clients, Name: c.NodeName, IP: c.NodeIP, Arguments: append([]string{"server"}, c.Values.Masked()...),
		Environment: environment(), Labels: pairs(c.Values.List("node-label")), APIAddress: c.AdvertiseAddress, APIPort: c.AdvertisePort, CoreDNS: !c.Disabled["coredns"]}
	go node.Run(ctx)
	deploy := &addons.Controller{Clients: clients, Directory: c.server("manifests"), NodeName: c.NodeName, Disabled: c.Disabled}
	go deploy.Run(ctx)
	if !c.Values.Bool("disable-helm-controller") {
		helm := &helmchart.Controller{Clients: clients, Program: c.bin("helm"), Kubeconfig: c.server("cred", "supervisor.kubeconfig"),
			CA: c.server("tls", "server-ca.crt"), API: fmt.Sprintf("%s:%d", loopback, c.Port), NodeName: c.NodeName}
		go helm.Run(ctx)
	}
	if !c.Values.Bool("disable-cloud-controller") {
		balancer := &servicelb.Controller{Clients: clients, Namespace: c.Values.String("servicelb-namespace"), Off: c.Disabled["servicelb"]}
		go balancer.Run(ctx)
	}
}

// pairs splits key=value items.
func pairs(items []string) map[string]string {
	result := map[string]string{}
	for _, item := range items {
		key, value, _ := strings.Cut(item, "=")
		result[key] = value
	}
	return result
}

// environment is what the Node is annotated with: K3S_* and the data directory, secrets masked.
func environment() map[string]string {
	shown := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "K3S_") {
			continue
		}
		if strings.HasSuffix(name, "_TOKEN") || name == "K3S_DATASTORE_ENDPOINT" || name == "K3S_VPN_AUTH" {
			value = "********"
		}
		shown[name] = value
	}
	return shown
}

func (c *Config) localStorage() string {
	if given := c.Values.String("default-local-storage-path"); given != "" {
		return given
	}
	return filepath.Join(c.Data, "storage")
}

func (c *Config) node() *agent.Node {
	return &agent.Node{
		Data: c.Data, Bin: c.Bin, Name: c.NodeName, IP: c.NodeIP,
		ClusterCIDR: c.ClusterCIDR, ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain,
		PauseImage: c.Values.String("pause-image"), Snapshotter: c.Values.String("snapshotter"),
		RegistriesFile: c.Values.String("private-registry"), ResolvConf: c.Values.String("resolv-conf"),
		Labels: c.Values.List("node-label"), Taints: c.Values.List("node-taint"),
		ServiceLB: !c.Disabled["servicelb"], Flannel: c.Values.String("flannel-backend") != "none",
		ProtectKernel: c.Values.Bool("protect-kernel-defaults"), Verbosity: c.verbosity(),
		KubeletArgs: c.Values.List("kubelet-arg"), ProxyArgs: c.Values.List("kube-proxy-arg"),
		DisableProxy: c.Values.Bool("disable-kube-proxy"), MergeArguments: mergeArguments,
	}
}
