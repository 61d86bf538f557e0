// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package server is "k3s server": the control plane, the node beside it and the controllers k3s brings.
package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/options"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	netutils "k8s.io/utils/net"
)

// Config is what the options come to.
type Config struct {
	Values *options.Values
	// Data is D of K3S.md, Bin the unpacked payload.
	Data, Bin         string
	Node              *agent.Node
	NodeName          string
	NodeIPs           []net.IP
	BindAddress       string
	Port              int
	APIServerPort     int
	AdvertiseAddress  string
	AdvertisePort     int
	ClusterCIDRs      []*net.IPNet
	ServiceCIDRs      []*net.IPNet
	ClusterDNS        []net.IP
	ClusterDomain     string
	APIServiceAddress string
	Disabled          map[string]bool
	Version           string
	joining           *joining
	etcd              *etcd
}

// loopback is where everything listens that is not for other hosts.
const loopback = "127.0.0.1"

// NewConfig works the options out, with the messages of k3s for what it refuses (K3S.md section 1c).
func NewConfig(values *options.Values, version string) (*Config, error) {
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("server must run as root, or with --rootless and/or --disable-agent")
	}
	config := &Config{
		Values:        values,
		Version:       version,
		Data:          values.String("data-dir"),
		BindAddress:   values.String("bind-address"),
		Port:          values.Int("https-listen-port"),
		ClusterDomain: values.String("cluster-domain"),
		Disabled:      map[string]bool{},
	}
	config.APIServerPort = config.Port + 1
	if !filepath.IsAbs(config.Data) {
		return nil, fmt.Errorf("stand-in: data-dir %s is not an absolute path", config.Data)
	}

	endpoint := values.String("datastore-endpoint")
	if scheme, _, _ := strings.Cut(endpoint, "://"); endpoint != "" && scheme != "postgres" {
		return nil, fmt.Errorf("stand-in: a datastore-endpoint other than postgres:// is not implemented")
	}
	if endpoint != "" && (values.Bool("cluster-init") || values.String("server") != "") {
		return nil, fmt.Errorf("stand-in: datastore-endpoint together with cluster-init or server is not implemented")
	}
	if err := checkReset(values.Bool("cluster-reset"), values.String("cluster-reset-restore-path"), values.String("server")); err != nil {
		return nil, err
	}
	for _, name := range values.SplitList("disable") {
		config.Disabled[strings.TrimSpace(name)] = true
	}

	config.Node = &agent.Node{Data: config.Data}
	if err := config.Node.Fill(values); err != nil {
		return nil, err
	}
	config.NodeName, config.NodeIPs = config.Node.Name, config.Node.IPs
	if err := config.networks(); err != nil {
		return nil, err
	}
	if _, err := utilnet.ParsePortRange(values.String("service-node-port-range")); err != nil {
		return nil, fmt.Errorf("invalid port range %s: %w", values.String("service-node-port-range"), err)
	}
	if mode := values.String("egress-selector-mode"); !slices.Contains([]string{"agent", "cluster", "pod", "disabled"}, mode) {
		return nil, fmt.Errorf("invalid egress-selector-mode %s", mode)
	}
	if values.String("flannel-backend") == "wireguard-native" {
		return nil, fmt.Errorf("stand-in: flannel-backend wireguard-native is not implemented")
	}
	if backend := values.String("flannel-backend"); !slices.Contains([]string{"vxlan", "host-gw", "none"}, backend) {
		return nil, fmt.Errorf("Cannot configure unknown flannel backend '%s'", backend)
	}
	if provider := values.String("secrets-encryption-provider"); !slices.Contains([]string{"aescbc", "secretbox"}, provider) {
		return nil, fmt.Errorf("unsupported secrets-encryption-provider %s", provider)
	}
	if mode := values.String("write-kubeconfig-mode"); mode != "" {
		if _, err := strconv.ParseUint(mode, 8, 32); err != nil {
			return nil, fmt.Errorf("unable to parse kubeconfig mode %s: %w", mode, err)
		}
	}

	config.Node.Join(config.shared())
	if config.AdvertiseAddress = values.String("advertise-address"); config.AdvertiseAddress == "" {
		config.AdvertiseAddress = config.nodeIP()
	}
	if config.AdvertisePort = values.Int("advertise-port"); config.AdvertisePort == 0 {
		config.AdvertisePort = config.Port
	}
	return config, nil
}

// networks works out those of pods and Services, and the fixed addresses in the latter. The Service "kubernetes" has one
// address alone, of the primary family; DNS has one of each.
func (c *Config) networks() (err error) {
	pods, services := "10.42.0.0/16", "10.43.0.0/16"
	if netutils.IsIPv6(c.NodeIPs[0]) {
		pods, services = "fd00:42::/56", "fd00:43::/112"
	}
	if c.ClusterCIDRs, err = families.Networks("cluster-cidr", c.Values.SplitList("cluster-cidr"), pods); err != nil {
		return err
	}
	if c.ServiceCIDRs, err = families.Networks("service-cidr", c.Values.SplitList("service-cidr"), services); err != nil {
		return err
	}
	api, err := netutils.GetIndexedIP(c.ServiceCIDRs[0], 1)
	if err != nil {
		return err
	}
	c.APIServiceAddress = api.String()
	for _, text := range c.Values.SplitList("cluster-dns") {
		address := net.ParseIP(text)
		if address == nil {
			return fmt.Errorf("invalid cluster-dns address %s", text)
		}
		c.ClusterDNS = append(c.ClusterDNS, address)
	}
	if len(c.ClusterDNS) == 0 {
		for _, network := range c.ServiceCIDRs {
			address, err := netutils.GetIndexedIP(network, 10)
			if err != nil {
				return fmt.Errorf("cannot configure default cluster-dns address: %w", err)
			}
			c.ClusterDNS = append(c.ClusterDNS, address)
		}
	}
	if err := families.Check(c.ClusterCIDRs, c.ServiceCIDRs, c.NodeIPs); err != nil {
		return err
	}
	if families.Of(netutils.IPv4, c.ClusterCIDRs) == nil {
		return errors.New("stand-in: a cluster with IPv6 alone is not implemented")
	}
	return nil
}

// nodeIP is the node's address of its primary family: etcd and the API have no other.
func (c *Config) nodeIP() string { return c.NodeIPs[0].String() }

// server and agent are paths below D/server and D/agent.
func (c *Config) server(parts ...string) string {
	return filepath.Join(append([]string{c.Data, "server"}, parts...)...)
}
func (c *Config) agent(parts ...string) string {
	return filepath.Join(append([]string{c.Data, "agent"}, parts...)...)
}
func (c *Config) bin(name string) string { return filepath.Join(c.Bin, name) }
