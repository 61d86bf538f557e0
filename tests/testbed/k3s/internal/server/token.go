// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/logs"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Rotation of the server's token (K3S.md section 4; k3s-io/k3s pkg/server/handlers/token.go, pkg/cluster/storage.go). What lies
// under bootstrapPrefix in the datastore gets the new token at once. A process knows the passwords that its start has read:
// every server has to start again, and with the new token, for one with the old token cannot open that data any more.

// TokenRequest is the body of a PUT to /v1-k3s/token.
type TokenRequest struct {
	NewToken *string `json:"newToken,omitempty"`
}

var errDifferentToken = errors.New("bootstrap data already found and encrypted with different token")

func (j *joining) token(response http.ResponseWriter, request *http.Request) {
	if request.Method != http.MethodPut {
		http.Error(response, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	var wanted TokenRequest
	if err := json.NewDecoder(request.Body).Decode(&wanted); err != nil || wanted.NewToken == nil {
		http.Error(response, "stand-in: the body has to be {\"newToken\": \"...\"}", http.StatusBadRequest)
		return
	}
	if err := j.config.rotateToken(request.Context(), *wanted.NewToken); err != nil {
		logs.Errorf("Sending HTTP 500 response to %s: %v", request.RemoteAddr, err)
		http.Error(response, "token: "+err.Error(), http.StatusInternalServerError)
	}
}

func (c *Config) rotateToken(ctx context.Context, wanted string) error {
	known := c.passwords()
	old, node := known["server"], known["node"]
	if old == "" {
		return errors.New("server token not found")
	}
	if wanted == "" {
		wanted = randomHex(16)
	}
	separate, err := c.secret("agent-token")
	if err != nil {
		return err
	}
	if node == old && separate == "" {
		node = wanted
	}
	if err := c.writeTokens(wanted, node, separate != ""); err != nil {
		return err
	}
	client, err := c.bootstrapClient()
	if client == nil || err != nil {
		return err
	}
	defer client.Close()
	found, err := client.Get(ctx, bootstrapPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	revisions := map[string]int64{}
	for _, pair := range found.Kvs {
		revisions[string(pair.Key)] = pair.ModRevision
	}
	before, after := bootstrapKey(old), bootstrapKey(wanted)
	// Another server was given yet another token, and this one has not started since.
	if len(revisions) > 0 && revisions[before] == 0 && revisions[after] == 0 {
		return errDifferentToken
	}
	// The new one first, or a failure in between would leave none.
	if err := c.store(ctx, client, wanted, revisions[after]); err != nil || before == after || revisions[before] == 0 {
		return err
	}
	logs.Infof("created bootstrap key %s", after)
	return change(ctx, client, clientv3.OpDelete(before), revisions[before])
}

// bootstrapClient opens the datastore that holds bootstrap data; SQLite, which no other server reads, holds none here.
func (c *Config) bootstrapClient() (*clientv3.Client, error) {
	if c.etcd != nil {
		return c.etcd.connect(etcdEndpoint)
	}
	if c.Values.String("datastore-endpoint") == "" {
		return nil, nil
	}
	return clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + c.server("kine.sock")}})
}

// reconcile compares the token with the bootstrap data in this member's own copy of the datastore, and takes over what it
// holds: after a rotation elsewhere that is the new password. The real one starts a temporary etcd on a copy for that.
func (c *Config) reconcile() error {
	password, err := c.password()
	if err != nil {
		return err
	}
	logs.Infof("Reconciling bootstrap data between datastore and disk")
	found, err := bootstrapData(c.etcd.directory("member", "snap", "db"))
	if err != nil || len(found) == 0 {
		return err
	}
	text, known := found[bootstrapKey(password)]
	if !known {
		return errDifferentToken
	}
	content, err := decrypt(password, text)
	if err != nil {
		return err
	}
	return c.adopt(content)
}

// saveToEtcd puts the bootstrap data there, unless it lies there already.
func (c *Config) saveToEtcd(ctx context.Context) error {
	found, err := c.etcd.client.Get(ctx, bootstrapPrefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil || len(found.Kvs) > 0 {
		return err
	}
	logs.Infof("Saving cluster bootstrap data to datastore")
	return c.saveToStorage(ctx, c.etcd.client)
}

// password is the server's, of the option or else of the file with which an earlier start has ended.
func (c *Config) password() (string, error) {
	given, err := c.secret("token")
	if err != nil || given != "" {
		return given, err
	}
	return c.passwords()["server"], nil
}

// bootstrapData reads the keys under bootstrapPrefix from the database file of a member that does not run. etcd keeps there, by
// revision, each change of a key; a revision with a mark behind it is a deletion.
func bootstrapData(file string) (map[string]string, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	database, err := bolt.Open(file, 0o600, &bolt.Options{ReadOnly: true, Timeout: 10 * time.Second})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", file, err)
	}
	defer database.Close()
	found := map[string]string{}
	const revision = 17 // main, a separator, sub
	err = database.View(func(transaction *bolt.Tx) error {
		bucket := transaction.Bucket([]byte("key"))
		if bucket == nil {
			return nil
		}
		return bucket.ForEach(func(key, value []byte) error {
			// Cheaper than to read every change.
			if len(key) < revision || binary.BigEndian.Uint64(key) == 0 || !bytes.Contains(value, []byte(bootstrapPrefix)) {
				return nil
			}
			var pair mvccpb.KeyValue
			if err := pair.Unmarshal(value); err != nil {
				return err
			}
			if !strings.HasPrefix(string(pair.Key), bootstrapPrefix) {
				return nil
			}
			if len(key) > revision {
				delete(found, string(pair.Key))
			} else {
				found[string(pair.Key)] = string(pair.Value)
			}
			return nil
		})
	})
	return found, err
}
