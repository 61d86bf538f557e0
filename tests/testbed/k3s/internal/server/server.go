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
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/helmchart"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/nodes"
	"flyte.onprem/testbed/k3s/internal/payload"
	"flyte.onprem/testbed/k3s/internal/servicelb"
	"flyte.onprem/testbed/k3s/internal/supervisor"
	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
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

	life := c.run
	if c.Values.Bool("cluster-reset") {
		life = c.reset
	}
	finished := make(chan error, 1)
	go func() { finished <- life(ctx, group) }()
	select {
	case err := <-group.Failed():
		if c.etcd != nil {
			if removal := c.etcd.ended(); removal != nil {
				return removal
			}
		}
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
	if err := c.bootstrap(ctx, group); err != nil {
		return stopped(ctx, fmt.Errorf("starting kubernetes: preparing server: %w", err))
	}
	node := c.Node
	if err := node.Prepare(); err != nil {
		return err
	}
	if err := helmchart.Stage(c.server("static", "charts")); err != nil {
		return err
	}
	if err := addons.Stage(c.server("manifests"), c.words(), c.Disabled); err != nil {
		return err
	}
	// Supervisor and API share a port that answers from early on.
	front, err := c.listen()
	if err != nil {
		return err
	}
	defer front.Close()
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

	if c.etcd != nil {
		if err := c.etcd.run(ctx, group); err != nil {
			return stopped(ctx, err)
		}
		if err := c.saveToEtcd(ctx); err != nil {
			return stopped(ctx, err)
		}
		os.Remove(c.resetFlag())
		go c.etcd.manage(ctx)
	} else if c.Values.String("datastore-endpoint") == "" {
		if err := c.startKine(ctx, group, c.sqlite(), nil); err != nil {
			return err
		}
	}
	if err := c.startAPIServer(group); err != nil {
		return err
	}
	clients, err := kube.Connect(c.server("cred", "supervisor.kubeconfig"))
	if err != nil {
		return err
	}

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
	c.startOwnControllers(ctx, clients, group)

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

// bootstrap gets what the cluster's servers have in common, from another one or from the datastore, and lays out the rest.
func (c *Config) bootstrap(ctx context.Context, group *supervisor.Group) error {
	if err := c.directories(); err != nil {
		return err
	}
	if c.usesEtcd() {
		member, err := newEtcd(c)
		if err != nil {
			return err
		}
		c.etcd = member
		if member.initialized() {
			if err := c.reconcile(); err != nil {
				return err
			}
		}
		if server := c.Values.String("server"); server != "" && !member.initialized() {
			if err := c.bootstrapFromServer(); err != nil {
				return err
			}
		} else if server != "" {
			if other, err := c.joinedServer(); err != nil {
				logs.Warnf("Skipping cluster configuration validation: %v", err)
			} else if err := c.compareWith(other); err != nil {
				return err
			}
		}
	}
	if c.Values.String("datastore-endpoint") == "" {
		return c.prepare()
	}
	if err := c.startKine(ctx, group, c.Values.String("datastore-endpoint"), c.datastoreEnvironment()); err != nil {
		return err
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + c.server("kine.sock")}})
	if err != nil {
		return err
	}
	defer client.Close()
	found, err := c.bootstrapFromStorage(ctx, client)
	if err != nil {
		return err
	}
	if err := c.prepare(); err != nil || found {
		return err
	}
	return c.saveToStorage(ctx, client)
}

// startOwnControllers runs what k3s has beside Kubernetes' own controllers: some on each server, some on the one that leads.
func (c *Config) startOwnControllers(ctx context.Context, clients *kube.Clients, group *supervisor.Group) {
	node := &nodes.Controller{Clients: clients, Name: c.NodeName, APIAddress: c.AdvertiseAddress, APIPort: c.AdvertisePort, CoreDNS: !c.Disabled["coredns"]}
	go node.Run(ctx)
	go agent.KeepMarks(ctx, clients, c.Node, append([]string{"server"}, c.Values.Masked()...), agent.Environment())
	deploy := &addons.Controller{Clients: clients, Directory: c.server("manifests"), NodeName: c.NodeName, Disabled: c.Disabled}
	go deploy.Run(ctx)
	if c.etcd != nil {
		go c.etcd.keepMembers(ctx, clients)
		go c.etcd.schedule(ctx, clients)
	}
	if !c.hasPeers() {
		c.startLeadersControllers(ctx, clients)
		return
	}
	lock := &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Name: "k3s", Namespace: metav1.NamespaceSystem}, Client: clients.Typed.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: c.NodeName}}
	go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{Lock: lock, LeaseDuration: 45 * time.Second, RenewDeadline: 30 * time.Second, RetryPeriod: 5 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) { c.startLeadersControllers(ctx, clients) },
			OnStoppedLeading: func() {
				if ctx.Err() == nil {
					group.Fail(errors.New("leaderelection lost for k3s"))
				}
			},
		}})
}

func (c *Config) startLeadersControllers(ctx context.Context, clients *kube.Clients) {
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

// words are those that stand for something in packaged manifests (K3S.md section 8).
func (c *Config) words() map[string]string {
	policy := "SingleStack"
	if len(c.ClusterDNS) > 1 {
		policy = "RequireDualStack"
	}
	return map[string]string{
		"CLUSTER_DNS": c.ClusterDNS[0].String(), "CLUSTER_DNS_LIST": "[" + families.Join(c.ClusterDNS) + "]", "CLUSTER_DNS_IPFAMILYPOLICY": policy,
		"CLUSTER_DOMAIN": c.ClusterDomain, "DEFAULT_LOCAL_STORAGE_PATH": c.localStorage(),
	}
}

func (c *Config) localStorage() string {
	if given := c.Values.String("default-local-storage-path"); given != "" {
		return given
	}
	return filepath.Join(c.Data, "storage")
}
