// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"flyte.onprem/testbed/k3s/internal/access"
	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/options"
	"flyte.onprem/testbed/k3s/internal/payload"
	"flyte.onprem/testbed/k3s/internal/supervisor"
)

// Headers with which a node asks for its certificates (K3S.md section 4).
const (
	HeaderName     = "K3s-Node-Name"
	HeaderPassword = "K3s-Node-Password"
	HeaderIP       = "K3s-Node-Ip"
)

// ClusterConfig is a server's answer to /v1-k3s/config. The real one sends its whole configuration; these are the parts that
// this program reads.
type ClusterConfig struct {
	ClusterCIDRs, ServiceCIDRs         []*net.IPNet
	ClusterDNS                         []net.IP
	ClusterDomain                      string
	FlannelBackend                     string
	FlannelIPv6Masq                    bool
	DisableKubeProxy, DisableServiceLB bool
	DisableCCM                         bool
	EmbeddedRegistry                   bool
	SupervisorPort                     int
	// Critical are the options that servers compare.
	Critical map[string]string
}

// ErrStopped is the orderly end after SIGTERM.
var ErrStopped = errors.New("stopped")

// Config is what the options of "k3s agent" come to.
type Config struct {
	Values         *options.Values
	Version        string
	Node           *Node
	server         string
	token          access.Token
	hasCertificate bool
	balancer       *Balancer
}

// NewConfig works the options out, with the messages of k3s for what it refuses (K3S.md section 1c).
func NewConfig(values *options.Values, version string) (*Config, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("agent requires additional privilege if not run with --rootless")
	}
	config := &Config{Values: values, Version: version, server: values.String("server")}
	data := values.String("data-dir")
	if !filepath.IsAbs(data) {
		return nil, fmt.Errorf("stand-in: data-dir %s is not an absolute path", data)
	}
	config.Node = &Node{Data: data}
	if _, err := os.Stat(config.Node.path("client-kubelet.crt")); err == nil {
		config.hasCertificate = true
	}
	secret, err := values.Secret("token")
	if err != nil {
		return nil, err
	}
	if secret == "" && !config.hasCertificate {
		return nil, errors.New("--token is required")
	}
	if config.server == "" {
		return nil, errors.New("--server is required")
	}
	if secret != "" {
		if config.token, err = access.Parse(secret, "node"); err != nil {
			return nil, err
		}
	}
	return config, config.Node.Fill(values)
}

// Run is the whole life of "k3s agent".
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
		if errors.Is(err, ErrStopped) || ctx.Err() != nil {
			logs.Infof("Shutting down")
			return nil
		}
		return err
	}
}

func (c *Config) run(ctx context.Context, group *supervisor.Group) error {
	notify := os.Getenv("NOTIFY_SOCKET")
	os.Unsetenv("NOTIFY_SOCKET")
	bin, err := payload.Unpack(c.Node.Data)
	if err != nil {
		return err
	}
	c.Node.Bin = bin
	os.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := c.Node.Directories(); err != nil {
		return err
	}
	if err := c.reach(ctx); err != nil {
		return err
	}
	port := c.Values.Int("lb-server-port")
	if c.balancer, err = StartBalancer(c.Node.path("etc", "k3s-agent-load-balancer.json"), c.server, port); err != nil {
		return err
	}
	local := fmt.Sprintf("https://127.0.0.1:%d", port)
	if err := c.configure(ctx, local); err != nil {
		return err
	}
	if err := families.Check(c.Node.ClusterCIDRs, c.Node.ServiceCIDRs, c.Node.IPs); err != nil {
		return err
	}
	if err := c.Node.Prepare(); err != nil {
		return err
	}
	if err := c.Node.ServeRegistry(); err != nil {
		return fmt.Errorf("failed to start embedded registry: %w", err)
	}
	known := c.Node.Imported()
	if err := c.Node.StartContainerd(ctx, group); err != nil {
		return err
	}
	c.Node.ImportImages(ctx, known, false)
	clients, err := kube.Connect(c.Node.path("k3scontroller.kubeconfig"))
	if err != nil {
		return err
	}
	if err := supervisor.Poll(ctx, 24*time.Hour, time.Second, func(ctx context.Context) error {
		_, err := clients.Typed.Discovery().ServerVersion()
		return err
	}); err != nil {
		return err
	}
	go c.followServers(ctx, local)
	if err := c.Node.StartKubelet(group); err != nil {
		return err
	}
	go c.Node.WatchImages(ctx, known)
	logs.Infof("k3s agent is up and running")
	if err := supervisor.Ready(notify); err != nil {
		return err
	}
	if err := c.Node.ConfigureNetwork(ctx, clients); err != nil {
		return err
	}
	go KeepMarks(ctx, clients, c.Node, append([]string{"agent"}, c.Values.Masked()...), Environment())
	<-ctx.Done()
	return ErrStopped
}

// reach asks the server of option "server" until it is the one that the token means; a wrong one is asked for ever.
func (c *Config) reach(ctx context.Context) error {
	return supervisor.Poll(ctx, 10*365*24*time.Hour, 2*time.Second, func(context.Context) error {
		if c.hasCertificate {
			// A node that has joined knows its servers; the balancer finds one that lives.
			return nil
		}
		_, err := access.Validate(c.server, c.token, nil)
		if err != nil {
			logs.Errorf("Failed to validate connection to cluster at %s: %v", c.server, err)
		}
		return err
	})
}

// connect is access through the balancer, with the node's certificate where it has one.
func (c *Config) connect(local string) (*access.Info, error) {
	var certificate *tls.Certificate
	if pair, err := tls.LoadX509KeyPair(c.Node.path("client-kubelet.crt"), c.Node.path("client-kubelet.key")); err == nil {
		certificate = &pair
	}
	return access.Validate(local, c.token, certificate)
}

// configure gets the cluster's settings and the node's certificates from a server, and writes the kubeconfigs.
func (c *Config) configure(ctx context.Context, local string) error {
	return supervisor.Poll(ctx, 10*365*24*time.Hour, 5*time.Second, func(ctx context.Context) error {
		err := c.get(local)
		if err != nil {
			logs.Infof("Waiting to retrieve agent configuration; server is not ready: %v", err)
		}
		return err
	})
}

func (c *Config) get(local string) error {
	info, err := c.connect(local)
	if err != nil {
		return err
	}
	content, err := info.Get("/v1-k3s/config")
	if err != nil {
		return fmt.Errorf("failed to retrieve configuration from server: %w", err)
	}
	var cluster ClusterConfig
	if err := json.Unmarshal(content, &cluster); err != nil {
		return fmt.Errorf("failed to retrieve configuration from server: %w", err)
	}
	c.Node.Join(cluster)
	for _, name := range []string{"client-ca.crt", "server-ca.crt"} {
		content, err := info.Get("/v1-k3s/" + name)
		if err != nil {
			return err
		}
		if err := certs.WriteFile(c.Node.path(name), content, 0o600); err != nil {
			return err
		}
	}
	password, err := EnsurePassword()
	if err != nil {
		return err
	}
	header := http.Header{HeaderName: {c.Node.Name}, HeaderPassword: {password}, HeaderIP: {families.Join(c.Node.IPs)}}
	for _, name := range []string{"serving-kubelet", "client-kubelet", "client-kube-proxy", "client-k3s-controller"} {
		if err := c.certificate(info, name, header); err != nil {
			return err
		}
	}
	for file, client := range map[string]string{"kubelet": "client-kubelet", "kubeproxy": "client-kube-proxy", "k3scontroller": "client-k3s-controller"} {
		content := kube.Config("local", "user", "Default", map[string]any{"server": local, "certificate-authority": c.Node.path("server-ca.crt")},
			map[string]any{"client-certificate": c.Node.path(client + ".crt"), "client-key": c.Node.path(client + ".key")})
		if err := certs.WriteFile(c.Node.path(file+".kubeconfig"), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) certificate(info *access.Info, name string, header http.Header) error {
	key, err := certs.EnsureKey(c.Node.path(name + ".key"))
	if err != nil {
		return err
	}
	wanted, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: c.Node.Name}}, key)
	if err != nil {
		return err
	}
	path := "/v1-k3s/" + name + ".crt"
	chain, err := info.Do(http.MethodPost, path, wanted, header)
	var status *access.StatusError
	if errors.As(err, &status) && status.Code == http.StatusUnauthorized && strings.Contains(status.Body, "verify nodename") {
		// The Node was deleted: the certificate counts no more, the token does.
		logs.Infof("Node authorization rejected, retrying without client certificate authentication")
		plain, failure := access.Validate(info.Base, c.token, nil)
		if failure != nil {
			return failure
		}
		chain, err = plain.Do(http.MethodPost, path, wanted, header)
	}
	if errors.As(err, &status) && status.Code == http.StatusForbidden {
		return fmt.Errorf("Node password rejected, duplicate hostname or contents of '%s' may not match server node-passwd entry, try enabling a unique node name with the --with-node-id flag", PasswordFile)
	}
	if err != nil {
		return err
	}
	return certs.WriteFile(c.Node.path(name+".crt"), chain, 0o600)
}

// followServers keeps the balancer's list.
func (c *Config) followServers(ctx context.Context, local string) {
	for ctx.Err() == nil {
		if info, err := c.connect(local); err == nil {
			if content, err := info.Get("/v1-k3s/apiservers"); err == nil {
				var servers []string
				if json.Unmarshal(content, &servers) == nil {
					c.balancer.SetServers(servers)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Second):
		}
	}
}
