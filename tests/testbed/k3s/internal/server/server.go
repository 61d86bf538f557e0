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
	c.Bin, c.Node.Bin = bin, bin
	// The bundled runc and shim come first, the host's iptables and mount tools are found behind them.
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := c.prepare(); err != nil {
		return err
	}
	node := c.Node
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
	c.joining.clients.Store(clients)
	logs.Infof("k3s is up and running")
	if err := supervisor.Ready(notify); err != nil {
		return err
	}
	c.startOwnControllers(ctx, clients)

	if err := <-containerd; err != nil {
		return stopped(ctx, err)
	}
	if err := c.proveName(ctx, clients); err != nil {
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

// proveName shows the password of this host's node like any agent: a host that was set up anew under an old name is refused.
func (c *Config) proveName(ctx context.Context, clients *kube.Clients) error {
	password, err := agent.EnsurePassword()
	if err != nil {
		return err
	}
	return supervisor.Poll(ctx, 24*time.Hour, 5*time.Second, func(ctx context.Context) error {
		err := ensureNodePassword(ctx, clients, c.NodeName, password)
		if err != nil {
			logs.Infof("Waiting to retrieve agent configuration; server is not ready: Node password rejected, duplicate hostname or contents of '%s' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag", agent.PasswordFile)
		}
		return err
	})
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
	node := &nodes.Controller{Clients: clients, Name: c.NodeName, APIAddress: c.AdvertiseAddress, APIPort: c.AdvertisePort, CoreDNS: !c.Disabled["coredns"]}
	go node.Run(ctx)
	go agent.KeepMarks(ctx, clients, c.Node, append([]string{"server"}, c.Values.Masked()...), agent.Environment())
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

func (c *Config) localStorage() string {
	if given := c.Values.String("default-local-storage-path"); given != "" {
		return given
	}
	return filepath.Join(c.Data, "storage")
}
