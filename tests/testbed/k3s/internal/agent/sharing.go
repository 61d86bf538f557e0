// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/spegel"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Marks of a Node that shares images (k3s-io/k3s pkg/spegel/{spegel,bootstrap}.go).
const (
	p2pEnabled = "p2p.k3s.cattle.io/enabled"
	p2pAddress = "p2p.k3s.cattle.io/node-address"
	p2pPort    = "5001"
	// loopback is where containerd asks the registry of its own node.
	loopback = "127.0.0.1"
)

// share puts this node's part of the embedded registry in front of each registry's mirrors (k3s-io/k3s pkg/spegel/registry.go).
func (n *Node) share(given *registries) {
	own := net.JoinHostPort(loopback, strconv.Itoa(n.SupervisorPort))
	if given.Configs == nil {
		given.Configs = map[string]registryConfig{}
	}
	given.Configs[own] = registryConfig{TLS: &registryTLS{CAFile: n.path("server-ca.crt"),
		CertFile: n.path("client-k3s-controller.crt"), KeyFile: n.path("client-k3s-controller.key")}}
	for host, entry := range given.Mirrors {
		if isLocalhost(host) {
			logs.Errorf("Distributed registry mirror skipping invalid registry: %s", host)
			continue
		}
		entry.Endpoint = append([]string{"https://" + own + "/v2"}, entry.Endpoint...)
		given.Mirrors[host] = entry
		n.shared = append(n.shared, host)
	}
}

func isLocalhost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	address := net.ParseIP(name)
	return name == "localhost" || address != nil && address.IsLoopback()
}

// StartRegistry tells the peers from now on what this node has, and returns what serves it on the port of supervisor and API;
// nil where nothing is shared.
func (n *Node) StartRegistry() (http.Handler, error) {
	if !n.EmbeddedRegistry {
		return nil, nil
	}
	if len(n.shared) == 0 {
		logs.Errorf("Not starting distributed registry mirror: no registries configured for distributed mirroring")
		return nil, nil
	}
	callers, err := certs.ReadPool(n.path("client-ca.crt"))
	if err != nil {
		return nil, err
	}
	servers, err := certs.ReadPool(n.path("server-ca.crt"))
	if err != nil {
		return nil, err
	}
	identity, err := tls.LoadX509KeyPair(n.path("client-k3s-controller.crt"), n.path("client-k3s-controller.key"))
	if err != nil {
		return nil, err
	}
	clients, err := kube.Connect(n.path("k3scontroller.kubeconfig"))
	if err != nil {
		return nil, err
	}
	registry := &spegel.Registry{
		Hosts: n.shared, Latest: sharesLatest(), Port: n.SupervisorPort, Callers: callers,
		Blobs:   n.path("containerd", "io.containerd.content.v1.content", "blobs"),
		Resolve: n.imageDigest,
		Peers:   func(ctx context.Context) ([]string, error) { return n.peers(ctx, clients) },
		Client: &http.Client{Transport: &http.Transport{
			// Peers have one part of the time at most; a port may be closed without a word.
			DialContext:     (&net.Dialer{Timeout: spegel.ResolveTimeout}).DialContext,
			TLSClientConfig: &tls.Config{RootCAs: servers, Certificates: []tls.Certificate{identity}, MinVersion: tls.VersionTLS12},
		}},
	}
	n.p2pAddress = net.JoinHostPort(n.IPs[0].String(), portOfPeers())
	logs.Infof("Starting distributed registry P2P node at %s", n.p2pAddress)
	if err := n.serve(n.p2pAddress, registry.PeerHandler()); err != nil {
		return nil, err
	}
	logs.Infof("Starting distributed registry mirror at https://%s/v2 for registries %v",
		net.JoinHostPort(n.IPs[0].String(), strconv.Itoa(n.SupervisorPort)), n.shared)
	return registry.Handler(), nil
}

// ServeRegistry is for agents, which have no API: they listen at its port for the registry alone.
func (n *Node) ServeRegistry() error {
	registry, err := n.StartRegistry()
	if registry == nil {
		return err
	}
	addresses := []string{n.BindAddress}
	if bound := net.ParseIP(n.BindAddress); bound != nil && !bound.IsUnspecified() && !bound.IsLoopback() {
		addresses = append(addresses, loopback)
	}
	for _, address := range addresses {
		if err := n.serve(net.JoinHostPort(address, strconv.Itoa(n.SupervisorPort)), registry); err != nil {
			return err
		}
	}
	return nil
}

// serve listens with the kubelet's certificate until the process ends.
func (n *Node) serve(address string, handler http.Handler) error {
	certificate, err := tls.LoadX509KeyPair(n.path("serving-kubelet.crt"), n.path("serving-kubelet.key"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:   handler,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		// Broken connections of clients are no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	return nil
}

// imageDigest asks containerd for an image by its full name.
func (n *Node) imageDigest(ctx context.Context, image string) (string, error) {
	output, err := n.ctr(ctx, "images", "ls", "name=="+strconv.Quote(image)).Output()
	if err != nil {
		return "", fmt.Errorf("failed to look for image %s: %w", image, err)
	}
	return listedDigest(string(output), image)
}

// listedDigest reads the table of ctr: name, type and digest of an image are its first columns.
func listedDigest(table, image string) (string, error) {
	for line := range strings.Lines(table) {
		if columns := strings.Fields(line); len(columns) > 2 && columns[0] == image {
			return columns[2], nil
		}
	}
	return "", fs.ErrNotExist
}

// peers are the other nodes that share images.
func (n *Node) peers(ctx context.Context, clients *kube.Clients) ([]string, error) {
	nodes, err := clients.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: p2pEnabled + "=true"})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, node := range nodes.Items {
		if address := hostPort(node.Annotations[p2pAddress]); address != "" && node.Name != n.Name {
			found = append(found, address)
		}
	}
	return found, nil
}

// multiaddress is the form of libp2p; in place of a key's hash it has the node's name.
func multiaddress(address, node string) string {
	host, port, _ := net.SplitHostPort(address)
	family := "ip4"
	if strings.Contains(host, ":") {
		family = "ip6"
	}
	return fmt.Sprintf("/%s/%s/tcp/%s/p2p/%s", family, host, port, node)
}

var multiaddressForm = regexp.MustCompile(`^/ip[46]/([0-9a-fA-F.:]+)/tcp/([0-9]+)/p2p/`)

// hostPort is the address in a multiaddress, "" if it is none.
func hostPort(address string) string {
	parts := multiaddressForm.FindStringSubmatch(address)
	if parts == nil {
		return ""
	}
	return net.JoinHostPort(parts[1], parts[2])
}

// portOfPeers is K3S_P2P_PORT, if that is a number.
func portOfPeers() string {
	given := os.Getenv("K3S_P2P_PORT")
	if given == "" {
		return p2pPort
	}
	if port, err := strconv.Atoi(given); err != nil || port == 0 {
		logs.Warnf("Invalid K3S_P2P_PORT value; using default %s", p2pPort)
		return p2pPort
	}
	return given
}

// sharesLatest is K3S_P2P_ENABLE_LATEST, if that is true or false.
func sharesLatest() bool {
	given := os.Getenv("K3S_P2P_ENABLE_LATEST")
	if given == "" {
		return false
	}
	enabled, err := strconv.ParseBool(given)
	if err != nil {
		logs.Warnf("Invalid K3S_P2P_ENABLE_LATEST value; using default false")
	}
	return enabled
}
