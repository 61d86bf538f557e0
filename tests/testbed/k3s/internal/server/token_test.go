// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"flyte.onprem/testbed/k3s/internal/options"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// member writes changes of keys as etcd does: the one without a value is a deletion.
func member(t *testing.T, file string, changes [][2]string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	database, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	err = database.Update(func(transaction *bolt.Tx) error {
		bucket, err := transaction.CreateBucket([]byte("key"))
		if err != nil {
			return err
		}
		for index, change := range changes {
			key := append(binary.BigEndian.AppendUint64(nil, uint64(index+1)), '_')
			key = binary.BigEndian.AppendUint64(key, 0)
			pair := mvccpb.KeyValue{Key: []byte(change[0]), Value: []byte(change[1])}
			if change[1] == "" {
				key = append(key, 't')
			}
			value, err := pair.Marshal()
			if err != nil {
				return err
			}
			if err := bucket.Put(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func configuration(t *testing.T, arguments ...string) *Config {
	t.Helper()
	t.Setenv("K3S_CONFIG_FILE", filepath.Join(t.TempDir(), "none.yaml"))
	values, err := options.Parse("server", options.Server(), arguments)
	if err != nil {
		t.Fatal(err)
	}
	config := &Config{Data: t.TempDir(), Values: values}
	for name, content := range map[string]string{"tls/server-ca.crt": "CA", "cred/passwd": ""} {
		if err := os.MkdirAll(filepath.Dir(config.server(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config.server(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return config
}

func TestWhatWasDeletedIsNoBootstrapDataAnyMore(t *testing.T) {
	file := filepath.Join(t.TempDir(), "db")
	member(t, file, [][2]string{{"/bootstrap/a", "1"}, {"/registry/x", "2"}, {"/bootstrap/b", "3"}, {"/bootstrap/a", ""}})
	found, err := bootstrapData(file)
	if want := map[string]string{"/bootstrap/b": "3"}; err != nil || !reflect.DeepEqual(found, want) {
		t.Errorf("got %v, %v; want %v", found, err, want)
	}
}

func TestAServerStartsWithTheTokenOfTheBootstrapDataOnly(t *testing.T) {
	text, err := encrypt("new", []byte(`{"cred/passwd": "bmV3LHNlcnZlcixzZXJ2ZXIsazNzOnNlcnZlcgo="}`))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]error{"new": nil, "old": errDifferentToken} {
		config := configuration(t, "--token="+token)
		config.etcd = &etcd{config: config}
		member(t, config.etcd.directory("member", "snap", "db"), [][2]string{{bootstrapKey("new"), text}})
		if err := config.reconcile(); err != want {
			t.Errorf("token %s: got %v, want %v", token, err, want)
		}
		if want == nil && config.passwords()["server"] != "new" {
			t.Errorf("the passwords were not taken over: %v", config.passwords())
		}
	}
}

func TestARotationLeavesAnAgentTokenOfItsOwn(t *testing.T) {
	for _, example := range []struct {
		arguments []string
		want      map[string]string
	}{
		{[]string{"--token=old"}, map[string]string{"server": "new", "node": "new"}},
		{[]string{"--token=old", "--agent-token=agents"}, map[string]string{"server": "new", "node": "agents"}},
	} {
		config := configuration(t, example.arguments...)
		if err := config.tokens(); err != nil {
			t.Fatal(err)
		}
		if err := config.rotateToken(context.Background(), "new"); err != nil {
			t.Fatal(err)
		}
		if found := config.passwords(); !reflect.DeepEqual(found, example.want) {
			t.Errorf("%v: got %v", example.arguments, found)
		}
		content, err := os.ReadFile(config.server("token"))
		if err != nil || !strings.HasSuffix(string(content), "::server:new\n") {
			t.Errorf("got %s, %v", content, err)
		}
	}
}

func TestAResetIsRefusedWhereItCannotBeMeant(t *testing.T) {
	for _, example := range []struct {
		reset            bool
		snapshot, server string
		want             string
	}{
		{true, "/snapshot", "", "<nil>"},
		{false, "/snapshot", "", "invalid flag use; --cluster-reset required with --cluster-reset-restore-path"},
		{true, "", "https://a:6443", "cannot perform cluster-reset while server URL is set - remove server from configuration before resetting"},
	} {
		if got := fmt.Sprint(checkReset(example.reset, example.snapshot, example.server)); got != example.want {
			t.Errorf("got %s", got)
		}
	}
}

func TestARestorationNeedsTheSnapshotAndTheToken(t *testing.T) {
	snapshot := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(snapshot, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, example := range []struct{ snapshot, want string }{
		{"/nowhere", "etcd: snapshot path does not exist: /nowhere"},
		{filepath.Dir(snapshot), "etcd: snapshot path must be a file, not a directory: " + filepath.Dir(snapshot)},
		{snapshot, "server/token does not exist, please pass --token to complete the restoration"},
	} {
		config := configuration(t)
		err := config.restore(context.Background(), &etcd{config: config}, example.snapshot)
		if err == nil || !strings.HasSuffix(err.Error(), example.want) {
			t.Errorf("got %v, want %s", err, example.want)
		}
	}
}
