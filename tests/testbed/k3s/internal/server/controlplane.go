// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/options"
	"flyte.onprem/testbed/k3s/internal/supervisor"
)

// verbosity is option v, for every component.
func (c *Config) verbosity() string { return strconv.Itoa(c.Values.Int("v")) }

// component is one of the programs of the multi-call binary.
func (c *Config) component(name string, arguments []string) supervisor.Program {
	return supervisor.Program{Name: name, Path: c.bin(name), Arguments: arguments, Directory: c.server(), Grace: 5 * time.Second}
}

// sqlite is kine's address of D/server/db/state.db; the settings are kine's own defaults, written out to fix the file's place.
func (c *Config) sqlite() string {
	return "sqlite://" + c.server("db", "state.db") + "?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate"
}

// startKine runs kine on a socket. The address may hold a password, so it goes by the environment.
func (c *Config) startKine(ctx context.Context, group *supervisor.Group, endpoint string, environment []string) error {
	socket := c.server("kine.sock")
	os.Remove(socket)
	err := group.Start(supervisor.Program{
		Name: "kine", Path: c.bin("kine"), Directory: c.server(), Grace: 5 * time.Second,
		Arguments:   []string{"--listen-address=unix://" + socket, "--metrics-bind-address=0"},
		Environment: append([]string{"KINE_ENDPOINT=" + endpoint}, environment...),
	})
	if err != nil {
		return err
	}
	return supervisor.Poll(ctx, time.Minute, 100*time.Millisecond, func(context.Context) error {
		connection, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

// datastoreEnvironment are the files of datastore-cafile, -certfile and -keyfile, in kine's words.
func (c *Config) datastoreEnvironment() []string {
	var environment []string
	for option, name := range map[string]string{"datastore-cafile": "KINE_CA_FILE", "datastore-certfile": "KINE_CERT_FILE", "datastore-keyfile": "KINE_KEY_FILE"} {
		if file := c.Values.String(option); file != "" {
			environment = append(environment, name+"="+file)
		}
	}
	return environment
}

// startAPIServer runs the apiserver on loopback behind the listener of this process. Its own upkeep of the Service
// "kubernetes" is off, for it would publish that inner port: nodes.KeepAPIEndpoint does it.
func (c *Config) startAPIServer(group *supervisor.Group) error {
	arguments := options.MergeArguments(c.apiServerArguments(), c.Values.List("kube-apiserver-arg"))
	return group.Start(c.component("kube-apiserver", arguments))
}

func (c *Config) apiServerArguments() map[string]string {
	tls := func(name string) string { return c.server("tls", name) }
	arguments := map[string]string{
		"advertise-address":                  c.AdvertiseAddress,
		"allow-privileged":                   "true",
		"anonymous-auth":                     "false",
		"api-audiences":                      "https://kubernetes.default.svc." + c.ClusterDomain + ",k3s",
		"authorization-mode":                 "Node,RBAC",
		"bind-address":                       loopback,
		"cert-dir":                           c.server("tls", "temporary-certs"),
		"client-ca-file":                     tls("client-ca.crt"),
		"enable-admission-plugins":           "NodeRestriction",
		"enable-aggregator-routing":          "true",
		"enable-bootstrap-token-auth":        "true",
		"endpoint-reconciler-type":           "none",
		"etcd-servers":                       "unix://" + c.server("kine.sock"),
		"kubelet-certificate-authority":      tls("server-ca.crt"),
		"kubelet-client-certificate":         tls("client-kube-apiserver.crt"),
		"kubelet-client-key":                 tls("client-kube-apiserver.key"),
		"kubelet-preferred-address-types":    "InternalIP,ExternalIP,Hostname",
		"profiling":                          "false",
		"proxy-client-cert-file":             tls("client-auth-proxy.crt"),
		"proxy-client-key-file":              tls("client-auth-proxy.key"),
		"requestheader-allowed-names":        "system:auth-proxy",
		"requestheader-client-ca-file":       tls("request-header-ca.crt"),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"secure-port":                        strconv.Itoa(c.APIServerPort),
		"service-account-issuer":             "https://kubernetes.default.svc." + c.ClusterDomain,
		"service-account-key-file":           tls("service.key"),
		"service-account-signing-key-file":   tls("service.current.key"),
		"service-cluster-ip-range":           families.Join(c.ServiceCIDRs),
		"service-node-port-range":            c.Values.String("service-node-port-range"),
		"storage-backend":                    "etcd3",
		"tls-cert-file":                      tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":               tls("serving-kube-apiserver.key"),
		"v":                                  c.verbosity(),
	}
	if c.etcd != nil {
		arguments["etcd-servers"] = etcdEndpoint
		arguments["etcd-cafile"] = tls("etcd/server-ca.crt")
		arguments["etcd-certfile"], arguments["etcd-keyfile"] = tls("etcd/client.crt"), tls("etcd/client.key")
	}
	if c.Values.Bool("secrets-encryption") {
		arguments["encryption-provider-config"] = c.server("cred", "encryption-config.json")
	}
	return arguments
}

// hasPeers tells whether there may be other servers; without them there is no one to elect.
func (c *Config) hasPeers() bool { return c.etcd != nil || c.Values.String("datastore-endpoint") != "" }

// startControllers runs controller manager and scheduler.
func (c *Config) startControllers(group *supervisor.Group) error {
	manager := options.MergeArguments(c.managerArguments(), c.Values.List("kube-controller-manager-arg"))
	if err := group.Start(c.component("kube-controller-manager", manager)); err != nil {
		return err
	}
	if c.Values.Bool("disable-scheduler") {
		return nil
	}
	kubeconfig := c.server("cred", "scheduler.kubeconfig")
	scheduler := map[string]string{
		"authentication-kubeconfig": kubeconfig,
		"authorization-kubeconfig":  kubeconfig,
		"bind-address":              loopback,
		"kubeconfig":                kubeconfig,
		"leader-elect":              strconv.FormatBool(c.hasPeers()),
		"profiling":                 "false",
		"secure-port":               "10259",
		"v":                         c.verbosity(),
	}
	return group.Start(c.component("kube-scheduler", options.MergeArguments(scheduler, c.Values.List("kube-scheduler-arg"))))
}

// managerArguments leave the size of a node's share to the defaults, 24 and 64 bits: other ones come by kube-controller-manager-arg
// (node-cidr-mask-size-ipv4, node-cidr-mask-size-ipv6).
func (c *Config) managerArguments() map[string]string {
	tls := func(name string) string { return c.server("tls", name) }
	kubeconfig := c.server("cred", "controller.kubeconfig")
	return map[string]string{
		"allocate-node-cidrs":       "true",
		"authentication-kubeconfig": kubeconfig,
		"authorization-kubeconfig":  kubeconfig,
		"bind-address":              loopback,
		"cluster-cidr":              families.Join(c.ClusterCIDRs),
		"cluster-signing-kube-apiserver-client-cert-file": tls("client-ca.crt"),
		"cluster-signing-kube-apiserver-client-key-file":  tls("client-ca.key"),
		"cluster-signing-kubelet-client-cert-file":        tls("client-ca.crt"),
		"cluster-signing-kubelet-client-key-file":         tls("client-ca.key"),
		"cluster-signing-kubelet-serving-cert-file":       tls("server-ca.crt"),
		"cluster-signing-kubelet-serving-key-file":        tls("server-ca.key"),
		"cluster-signing-legacy-unknown-cert-file":        tls("client-ca.crt"),
		"cluster-signing-legacy-unknown-key-file":         tls("client-ca.key"),
		"configure-cloud-routes":                          "false",
		"controllers":                                     "*,tokencleaner",
		"kubeconfig":                                      kubeconfig,
		"leader-elect":                                    strconv.FormatBool(c.hasPeers()),
		"profiling":                                       "false",
		"root-ca-file":                                    tls("server-ca.crt"),
		"secure-port":                                     "10257",
		"service-account-private-key-file":                tls("service.current.key"),
		"service-cluster-ip-range":                        families.Join(c.ServiceCIDRs),
		"use-service-account-credentials":                 "true",
		"v":                                               c.verbosity(),
	}
}

// apiReady asks the apiserver itself.
func apiReady(clients *kube.Clients) func(context.Context) error {
	return func(ctx context.Context) error {
		var status int
		err := clients.Typed.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).StatusCode(&status).Error()
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("readyz answers %d", status)
		}
		return err
	}
}
