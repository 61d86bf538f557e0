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
	"flyte.onprem/testbed/k3s/internal/options"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// PasswordFile is what a node proves its name with (K3S.md section 3b).
const PasswordFile = "/etc/rancher/node/password"

// Identity is a node's name and address. Without an address of its own it is that of the default route, or of the
// interface that flannel-iface names.
func Identity(values *options.Values) (name, address string, err error) {
	if name = strings.ToLower(values.String("node-name")); name == "" {
		host, err := os.Hostname()
		if err != nil {
			return "", "", err
		}
		name = strings.ToLower(host)
	}
	given := values.SplitList("node-ip")
	if len(given) > 1 {
		return "", "", errors.New("stand-in: more than one node-ip is not implemented")
	}
	if len(given) == 1 {
		if net.ParseIP(given[0]) == nil {
			return "", "", fmt.Errorf("invalid node-ip %s", given[0])
		}
		return name, given[0], nil
	}
	if iface := values.String("flannel-iface"); iface != "" {
		address, err := interfaceAddress(iface)
		return name, address, err
	}
	// Without a default route this fails as in k3s.
	chosen, err := utilnet.ChooseHostInterface()
	if err != nil {
		return "", "", err
	}
	return name, chosen.String(), nil
}

func interfaceAddress(name string) (string, error) {
	found, err := net.InterfaceByName(name)
	if err != nil {
		return "", fmt.Errorf("unable to find interface %s: %w", name, err)
	}
	addresses, err := found.Addrs()
	if err != nil {
		return "", err
	}
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.IP.To4() != nil {
			return network.IP.String(), nil
		}
	}
	return "", fmt.Errorf("no IPv4 address found for interface %s", name)
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
