// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"flyte.onprem/testbed/k3s/internal/access"
	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/kube"
)

// directories makes those of D/server and D/agent.
func (c *Config) directories() error {
	for _, directory := range []string{
		c.server(), c.server("tls"), c.server("tls", "etcd"), c.server("cred"), c.server("etc"), c.server("manifests"),
		c.server("static", "charts"), c.server("db"),
	} {
		if err := os.MkdirAll(directory, 0o700); err != nil {
			return err
		}
	}
	return c.Node.Directories()
}

// prepare lays out D/server and D/agent (K3S.md section 3): certificates, tokens, kubeconfigs.
func (c *Config) prepare() error {
	if err := c.checkToken(); err != nil {
		return err
	}
	if err := c.certificates(); err != nil {
		return err
	}
	if err := c.tokens(); err != nil {
		return err
	}
	if err := c.encryption(); err != nil {
		return err
	}
	if err := c.kubeconfigs(); err != nil {
		return err
	}
	return nil
}

func (c *Config) certificates() error {
	authorities := map[string]*certs.Authority{}
	for file, name := range map[string]string{
		"client-ca": "k3s-client-ca", "server-ca": "k3s-server-ca", "request-header-ca": "k3s-request-header-ca",
		"etcd/server-ca": "etcd-server-ca", "etcd/peer-ca": "etcd-peer-ca",
	} {
		authority, err := certs.EnsureAuthority(c.server("tls", file), name)
		if err != nil {
			return err
		}
		authorities[file] = authority
	}
	if err := certs.EnsureServiceAccountKey(c.server("tls", "service.key")); err != nil {
		return err
	}
	if err := copyFile(c.server("tls", "service.key"), c.server("tls", "service.current.key"), 0o600); err != nil {
		return err
	}
	masters := []string{"system:masters"}
	clients := []certs.Leaf{
		{File: "client-admin", CommonName: "system:admin", Organization: masters},
		{File: "client-supervisor", CommonName: "system:k3s-supervisor", Organization: masters},
		{File: "client-controller", CommonName: "system:kube-controller-manager"},
		{File: "client-scheduler", CommonName: "system:kube-scheduler"},
		{File: "client-kube-apiserver", CommonName: "system:apiserver", Organization: masters},
		{File: "client-kube-proxy", CommonName: "system:kube-proxy"},
		{File: "client-k3s-controller", CommonName: "system:k3s-controller"},
		{File: "client-k3s-cloud-controller", CommonName: "k3s-cloud-controller-manager"},
	}
	for _, leaf := range clients {
		leaf.File, leaf.Client = c.server("tls", leaf.File), true
		if err := authorities["client-ca"].Ensure(leaf); err != nil {
			return err
		}
	}
	proxy := certs.Leaf{File: c.server("tls", "client-auth-proxy"), CommonName: "system:auth-proxy", Client: true}
	if err := authorities["request-header-ca"].Ensure(proxy); err != nil {
		return err
	}
	names := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + c.ClusterDomain,
		"localhost", loopback, "::1", c.APIServiceAddress, c.NodeName, c.AdvertiseAddress,
	}
	addresses := families.Texts(c.NodeIPs)
	serving := certs.Leaf{File: c.server("tls", "serving-kube-apiserver"), CommonName: "kube-apiserver", Server: true,
		Names: slices.Concat(names, addresses, c.Values.SplitList("tls-san"))}
	if err := authorities["server-ca"].Ensure(serving); err != nil {
		return err
	}

	own := append([]string{"localhost", loopback, c.NodeName}, addresses...)
	for _, leaf := range []struct {
		authority string
		certs.Leaf
	}{
		{"etcd/server-ca", certs.Leaf{File: c.server("tls", "etcd", "server-client"), CommonName: "etcd-server", Names: own, Server: true, Client: true}},
		{"etcd/peer-ca", certs.Leaf{File: c.server("tls", "etcd", "peer-server-client"), CommonName: "etcd-peer", Names: own, Server: true, Client: true}},
		{"etcd/server-ca", certs.Leaf{File: c.server("tls", "etcd", "client"), CommonName: "etcd-client", Client: true}},
	} {
		if err := authorities[leaf.authority].Ensure(leaf.Leaf); err != nil {
			return err
		}
	}

	// The node's own: copies of the CAs, keys of its own.
	for _, name := range []string{"client-ca", "server-ca"} {
		if err := copyFile(c.server("tls", name+".crt"), c.agent(name+".crt"), 0o644); err != nil {
			return err
		}
	}
	for _, name := range []string{"client-kubelet", "serving-kubelet"} {
		if _, err := certs.EnsureKey(c.server("tls", name+".key")); err != nil {
			return err
		}
		if err := copyFile(c.server("tls", name+".key"), c.agent(name+".key"), 0o600); err != nil {
			return err
		}
	}
	kubelet := certs.Leaf{File: c.agent("client-kubelet"), CommonName: "system:node:" + c.NodeName,
		Organization: []string{"system:nodes"}, Client: true}
	if err := authorities["client-ca"].Ensure(kubelet); err != nil {
		return err
	}
	kubelet = certs.Leaf{File: c.agent("serving-kubelet"), CommonName: c.NodeName, Server: true,
		Names: append([]string{c.NodeName, "localhost", loopback, "::1"}, addresses...)}
	if err := authorities["server-ca"].Ensure(kubelet); err != nil {
		return err
	}
	for _, name := range []string{"client-kube-proxy", "client-k3s-controller"} {
		for suffix, mode := range map[string]fs.FileMode{".crt": 0o644, ".key": 0o600} {
			if err := copyFile(c.server("tls", name+suffix), c.agent(name+suffix), mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// secret is the password of a token option: given in full it carries the CA's hash and a user besides.
func (c *Config) secret(option string) (string, error) {
	value, err := c.Values.Secret(option)
	if err != nil {
		return "", err
	}
	return access.Password(value)
}

// checkToken refuses another token than the cluster's: it encrypts the bootstrap data.
func (c *Config) checkToken() error {
	given, err := c.secret("token")
	if err != nil {
		return err
	}
	known := c.passwords()["server"]
	if given != "" && known != "" && given != known {
		return errDifferentToken
	}
	return nil
}

func (c *Config) passwords() map[string]string {
	passwords := map[string]string{}
	file, err := os.Open(c.server("cred", "passwd"))
	if err != nil {
		return passwords
	}
	defer file.Close()
	rows, _ := csv.NewReader(file).ReadAll()
	for _, row := range rows {
		if len(row) > 1 {
			passwords[row[1]] = row[0]
		}
	}
	return passwords
}

func (c *Config) tokens() error {
	known := c.passwords()
	server, err := c.secret("token")
	if err != nil {
		return err
	}
	if server == "" {
		server = known["server"]
	}
	if server == "" {
		server = randomHex(16)
	}
	node, err := c.secret("agent-token")
	if err != nil {
		return err
	}
	separate := node != ""
	if !separate {
		node = server
	}
	return c.writeTokens(server, node, separate)
}

func (c *Config) writeTokens(server, node string, separate bool) error {
	var passwd strings.Builder
	writer := csv.NewWriter(&passwd)
	_ = writer.Write([]string{node, "node", "node", "k3s:agent"})
	_ = writer.Write([]string{server, "server", "server", "k3s:server"})
	writer.Flush()
	if err := certs.WriteFile(c.server("cred", "passwd"), []byte(passwd.String()), 0o600); err != nil {
		return err
	}
	hash, err := certs.Hash(c.server("tls", "server-ca.crt"))
	if err != nil {
		return err
	}
	if err := certs.WriteFile(c.server("token"), []byte("K10"+hash+"::server:"+server+"\n"), 0o600); err != nil {
		return err
	}
	if err := relink("token", c.server("node-token")); err != nil {
		return err
	}
	if separate {
		os.Remove(c.server("agent-token"))
		return certs.WriteFile(c.server("agent-token"), []byte("K10"+hash+"::node:"+node+"\n"), 0o600)
	}
	return relink("token", c.server("agent-token"))
}

func relink(target, name string) error {
	if current, err := os.Readlink(name); err == nil && current == target {
		return nil
	}
	os.Remove(name)
	return os.Symlink(target, name)
}

// encryption writes the key of secrets-encryption once.
func (c *Config) encryption() error {
	if !c.Values.Bool("secrets-encryption") {
		return nil
	}
	file := c.server("cred", "encryption-config.json")
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	provider := c.Values.String("secrets-encryption-provider")
	content, err := json.Marshal(map[string]any{
		"kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
		"resources": []any{map[string]any{
			"resources": []string{"secrets"},
			"providers": []any{
				map[string]any{provider: map[string]any{"keys": []any{map[string]string{
					"name": provider + "key", "secret": base64.StdEncoding.EncodeToString(key)}}}},
				map[string]any{"identity": map[string]any{}},
			},
		}},
	})
	if err != nil {
		return err
	}
	return certs.WriteFile(file, content, 0o600)
}

// kubeconfigs of the components refer to files, the admin's embeds them.
func (c *Config) kubeconfigs() error {
	internal := fmt.Sprintf("https://%s:%d", loopback, c.APIServerPort)
	tls := func(name string) string { return c.server("tls", name) }
	for target, client := range map[string]string{
		c.server("cred", "admin.kubeconfig"):            tls("client-admin"),
		c.server("cred", "supervisor.kubeconfig"):       tls("client-supervisor"),
		c.server("cred", "controller.kubeconfig"):       tls("client-controller"),
		c.server("cred", "scheduler.kubeconfig"):        tls("client-scheduler"),
		c.server("cred", "api-server.kubeconfig"):       tls("client-kube-apiserver"),
		c.server("cred", "cloud-controller.kubeconfig"): tls("client-k3s-cloud-controller"),
		c.agent("kubelet.kubeconfig"):                   c.agent("client-kubelet"),
		c.agent("kubeproxy.kubeconfig"):                 c.agent("client-kube-proxy"),
		c.agent("k3scontroller.kubeconfig"):             c.agent("client-k3s-controller"),
	} {
		content := kube.Config("local", "user", "Default", map[string]any{"server": internal, "certificate-authority": c.server("tls", "server-ca.crt")},
			map[string]any{"client-certificate": client + ".crt", "client-key": client + ".key"})
		if err := certs.WriteFile(target, content, 0o600); err != nil {
			return err
		}
	}
	return c.userKubeconfig()
}

const userKubeconfig = "/etc/rancher/k3s/k3s.yaml"

func (c *Config) userKubeconfig() error {
	host := c.BindAddress
	if host == "" || host == "0.0.0.0" {
		host = loopback
	}
	data := map[string]string{}
	for _, file := range []string{"server-ca.crt", "client-admin.crt", "client-admin.key"} {
		content, err := os.ReadFile(c.server("tls", file))
		if err != nil {
			return err
		}
		data[file] = base64.StdEncoding.EncodeToString(content)
	}
	content := kube.Config("default", "default", "default",
		map[string]any{"server": fmt.Sprintf("https://%s:%d", host, c.Port), "certificate-authority-data": data["server-ca.crt"]},
		map[string]any{"client-certificate-data": data["client-admin.crt"], "client-key-data": data["client-admin.key"]})
	mode := uint64(0o600)
	if given := c.Values.String("write-kubeconfig-mode"); given != "" {
		mode, _ = strconv.ParseUint(given, 8, 32)
	}
	target := userKubeconfig
	if given := c.Values.String("write-kubeconfig"); given != "" {
		target = given
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if err := certs.WriteFile(target, content, fs.FileMode(mode)); err != nil {
		return err
	}
	if name := c.Values.String("write-kubeconfig-group"); name != "" {
		group, err := user.LookupGroup(name)
		if err != nil {
			return err
		}
		id, _ := strconv.Atoi(group.Gid)
		if err := os.Chown(target, -1, id); err != nil {
			return err
		}
	}
	if target != userKubeconfig {
		if err := os.MkdirAll(filepath.Dir(userKubeconfig), 0o755); err != nil {
			return err
		}
		return relink(target, userKubeconfig)
	}
	return nil
}

func randomHex(bytes int) string {
	content := make([]byte, bytes)
	if _, err := rand.Read(content); err != nil {
		panic(err)
	}
	return hex.EncodeToString(content)
}

func copyFile(from, to string, mode fs.FileMode) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return certs.WriteFile(to, content, mode)
}
