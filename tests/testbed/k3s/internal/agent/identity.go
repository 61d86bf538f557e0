// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/options"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	netutils "k8s.io/utils/net"
)

// PasswordFile is what a node proves its name with (K3S.md section 3b).
const PasswordFile = "/etc/rancher/node/password"

// Identity is a node's name and addresses. Without addresses of its own it has those of the default routes, or of the interface
// that flannel-iface names (k3s-io/k3s pkg/util/net.go).
func Identity(values *options.Values) (name string, addresses []net.IP, err error) {
	if name = strings.ToLower(values.String("node-name")); name == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", nil, err
		}
		name = strings.ToLower(host)
	}
	if given := values.SplitList("node-ip"); len(given) > 0 {
		if addresses, err = families.Addresses(given); err != nil {
			err = fmt.Errorf("invalid node-ip: %w", err)
		}
		return name, addresses, err
	}
	if iface := values.String("flannel-iface"); iface != "" {
		if addresses, err = interfaceAddresses(iface); err != nil {
			err = fmt.Errorf("interface %s does not have a correct global unicast ip: %w", iface, err)
		}
		return name, addresses, err
	}
	// Without a default route this fails as in k3s.
	first, err := utilnet.ChooseHostInterface()
	if err != nil {
		return "", nil, err
	}
	addresses = []net.IP{first}
	if netutils.IsIPv4(first) {
		if second, err := utilnet.ResolveBindAddress(net.IPv6loopback); err == nil && !second.Equal(first) {
			addresses = append(addresses, second)
		}
	}
	return name, addresses, nil
}

// interfaceAddresses are the address of IPv4 and the first one of IPv6.
func interfaceAddresses(name string) ([]net.IP, error) {
	found, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	all, err := found.Addrs()
	if err != nil {
		return nil, err
	}
	var first, second []net.IP
	for _, address := range all {
		network, ok := address.(*net.IPNet)
		switch {
		case !ok || !network.IP.IsGlobalUnicast():
		case netutils.IsIPv4(network.IP):
			first = append(first, network.IP)
		case len(second) == 0:
			second = append(second, network.IP)
		}
	}
	if len(first) > 1 {
		return nil, fmt.Errorf("multiple global unicast addresses defined for %s, please set ip from one of %v", name, first)
	}
	if first = append(first, second...); len(first) == 0 {
		return nil, fmt.Errorf("can't find ip for interface %s", name)
	}
	return first, nil
}

// EnsurePassword reads or makes the node's password.
func EnsurePassword() (string, error) {
	if content, err := os.ReadFile(PasswordFile); err == nil {
		return strings.TrimSpace(string(content)), nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(PasswordFile), 0o755); err != nil {
		return "", err
	}
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return "", err
	}
	password := hex.EncodeToString(random)
	return password, certs.WriteFile(PasswordFile, []byte(password+"\n"), 0o600)
}
