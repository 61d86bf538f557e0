// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"flyte.onprem/testbed/k3s/internal/access"
	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/logs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What all servers of a cluster have in common, below D/server (K3S.md sections 4 and 6; k3s-io/k3s pkg/bootstrap and
// pkg/cluster/{bootstrap,storage}.go). A server that joins gets it from another one, or from the external datastore.
var commonFiles = []string{
	"tls/client-ca.crt", "tls/client-ca.key", "tls/server-ca.crt", "tls/server-ca.key",
	"tls/request-header-ca.crt", "tls/request-header-ca.key", "tls/service.key",
	"tls/etcd/server-ca.crt", "tls/etcd/server-ca.key", "tls/etcd/peer-ca.crt", "tls/etcd/peer-ca.key",
	"cred/passwd", "cred/encryption-config.json",
}

const bootstrapPrefix = "/bootstrap/"

// common reads those files.
func (c *Config) common() ([]byte, error) {
	files := map[string][]byte{}
	for _, name := range commonFiles {
		content, err := os.ReadFile(c.server(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = content
	}
	return json.Marshal(files)
}

// adopt writes them, where they differ from what is there.
func (c *Config) adopt(content []byte) error {
	files := map[string][]byte{}
	if err := json.Unmarshal(content, &files); err != nil {
		return err
	}
	for _, name := range commonFiles {
		wanted, given := files[name]
		if !given {
			continue
		}
		if current, err := os.ReadFile(c.server(name)); err == nil && string(current) == string(wanted) {
			continue
		}
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") {
			mode = 0o644
		}
		if err := os.MkdirAll(filepath.Dir(c.server(name)), 0o700); err != nil {
			return err
		}
		if err := certs.WriteFile(c.server(name), wanted, mode); err != nil {
			return err
		}
	}
	return nil
}

// joinedServer is the server of option "server", proved to be the one that the token means.
func (c *Config) joinedServer() (*access.Info, error) {
	secret, err := c.Values.Secret("token")
	if err != nil {
		return nil, err
	}
	if secret == "" {
		return nil, errors.New("K3S_TOKEN is required to join a cluster")
	}
	token, err := access.Parse(secret, "server")
	if err != nil {
		return nil, err
	}
	return access.Validate(c.Values.String("server"), token, nil)
}

// bootstrapFromServer gets the common files by HTTP and compares the options that must be equal.
func (c *Config) bootstrapFromServer() error {
	other, err := c.joinedServer()
	if err != nil {
		return err
	}
	content, err := other.Get("/v1-k3s/server-bootstrap")
	if err != nil {
		return err
	}
	if err := c.adopt(content); err != nil {
		return err
	}
	return c.compareWith(other)
}

func (c *Config) compareWith(other *access.Info) error {
	content, err := other.Get("/v1-k3s/config")
	if err != nil {
		logs.Warnf("Skipping cluster configuration validation: %v", err)
		return nil
	}
	var theirs agent.ClusterConfig
	if err := json.Unmarshal(content, &theirs); err != nil {
		return err
	}
	different := mismatches(c.shared().Critical, theirs.Critical)
	for _, name := range different {
		logs.Warnf("critical configuration mismatched: %s", name)
	}
	if len(different) > 0 {
		return errors.New("failed to validate server configuration: critical configuration value mismatch between servers")
	}
	return nil
}

// bootstrap answers other servers.
func (j *joining) bootstrap(response http.ResponseWriter, request *http.Request) {
	if j.config.etcd == nil {
		logs.Warnf("Received HTTP bootstrap request from %s, but embedded etcd is not enabled.", request.RemoteAddr)
		http.Error(response, "etcd disabled", http.StatusBadRequest)
		return
	}
	content, err := j.config.common()
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = response.Write(content)
}

// bootstrapFromStorage gets the common files from the external datastore, where they lie encrypted with the token.
// It tells whether there were any.
func (c *Config) bootstrapFromStorage(ctx context.Context, client *clientv3.Client) (bool, error) {
	password, err := c.secret("token")
	if err != nil {
		return false, err
	}
	if password == "" {
		return false, errors.New("K3S_TOKEN is required to join a cluster")
	}
	found, err := client.Get(ctx, bootstrapPrefix, clientv3.WithPrefix())
	if err != nil {
		return false, err
	}
	for _, pair := range found.Kvs {
		if string(pair.Key) != bootstrapKey(password) {
			continue
		}
		content, err := decrypt(password, string(pair.Value))
		if err != nil {
			return false, err
		}
		return true, c.adopt(content)
	}
	if len(found.Kvs) > 0 {
		return false, errDifferentToken
	}
	return false, nil
}

// saveToStorage puts them there, unless somebody else was faster: then a new start takes over those.
func (c *Config) saveToStorage(ctx context.Context, client *clientv3.Client) error {
	password, err := c.password()
	if err != nil {
		return err
	}
	return c.store(ctx, client, password, 0)
}

// store puts them there, encrypted with a password, in the place of what lies there since that revision; 0 means nothing.
func (c *Config) store(ctx context.Context, client *clientv3.Client, password string, revision int64) error {
	content, err := c.common()
	if err != nil {
		return err
	}
	text, err := encrypt(password, content)
	if err != nil {
		return err
	}
	return change(ctx, client, clientv3.OpPut(bootstrapKey(password), text), revision)
}

// change puts or deletes a key that is still at that revision. kine deletes no other way, and knows transactions of few shapes
// besides this one (k3s-io/kine pkg/server/{limited,create,update,delete}.go).
func change(ctx context.Context, client *clientv3.Client, operation clientv3.Op, revision int64) error {
	key := string(operation.KeyBytes())
	answer, err := client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).Then(operation).Else(clientv3.OpGet(key)).Commit()
	if err == nil && !answer.Succeeded {
		err = fmt.Errorf("bootstrap key %s is not at revision %d", key, revision)
	}
	return err
}

func bootstrapKey(password string) string {
	sum := sha256.Sum256([]byte(password))
	return bootstrapPrefix + hex.EncodeToString(sum[:])[:12]
}

func cipherOf(password string, salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha1.New, password, salt, 4096, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func encrypt(password string, content []byte) (string, error) {
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	aead, err := cipherOf(password, salt)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return hex.EncodeToString(salt) + ":" + base64.StdEncoding.EncodeToString(aead.Seal(nonce, nonce, content, nil)), nil
}

func decrypt(password, text string) ([]byte, error) {
	first, second, _ := strings.Cut(text, ":")
	salt, err := hex.DecodeString(first)
	if err != nil {
		return nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(second)
	if err != nil {
		return nil, err
	}
	aead, err := cipherOf(password, salt)
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, fmt.Errorf("%d bytes of bootstrap data", len(sealed))
	}
	return aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], nil)
}
