// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"flyte.onprem/testbed/k3s/internal/options"
	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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

// kine answers as kine does, as far as the bootstrap data goes: what deletes a key, and what depends on its revision, has to be
// a transaction that creates, updates or deletes this one key.
type kine struct {
	etcdserverpb.UnimplementedKVServer
	revision int64
	pairs    map[string]mvccpb.KeyValue
	changes  []string
}

func (k *kine) Put(_ context.Context, request *etcdserverpb.PutRequest) (*etcdserverpb.PutResponse, error) {
	key := string(request.Key)
	k.revision++
	k.pairs[key] = mvccpb.KeyValue{Key: request.Key, Value: request.Value, ModRevision: k.revision}
	k.changes = append(k.changes, "put "+key)
	return &etcdserverpb.PutResponse{}, nil
}

func (k *kine) Range(_ context.Context, request *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	answer := &etcdserverpb.RangeResponse{}
	for key, pair := range k.pairs {
		if key >= string(request.Key) && key < string(request.RangeEnd) {
			answer.Kvs = append(answer.Kvs, &pair)
		}
	}
	return answer, nil
}

func (k *kine) Txn(ctx context.Context, request *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	refusal := status.Error(codes.InvalidArgument, "etcdserver: unsupported operations in txn request")
	if len(request.Compare) != 1 || len(request.Success) != 1 {
		return nil, refusal
	}
	compare, put, deletion := request.Compare[0], request.Success[0].GetRequestPut(), request.Success[0].GetRequestDeleteRange()
	creates := put != nil && compare.GetModRevision() == 0 && len(request.Failure) == 0
	changes := (put != nil || deletion != nil) && len(request.Failure) == 1 && request.Failure[0].GetRequestRange() != nil
	if compare.Target != etcdserverpb.Compare_MOD || compare.Result != etcdserverpb.Compare_EQUAL || !creates && !changes {
		return nil, refusal
	}
	key := string(compare.Key)
	if k.pairs[key].ModRevision != compare.GetModRevision() {
		return &etcdserverpb.TxnResponse{}, nil
	}
	if put != nil {
		_, _ = k.Put(ctx, put)
	} else {
		delete(k.pairs, key)
		k.changes = append(k.changes, "delete "+key)
	}
	return &etcdserverpb.TxnResponse{Succeeded: true}, nil
}

// withDatastore is a server's configuration, and the datastore that answers at the place where it looks for its own.
func withDatastore(t *testing.T, token string) (*Config, *kine, *clientv3.Client) {
	t.Helper()
	config := configuration(t, "--token="+token, "--datastore-endpoint=postgres://somewhere")
	listener, err := net.Listen("unix", config.server("kine.sock"))
	if err != nil {
		t.Fatal(err)
	}
	datastore := &kine{pairs: map[string]mvccpb.KeyValue{}}
	server := grpc.NewServer()
	etcdserverpb.RegisterKVServer(server, datastore)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	client, err := config.bootstrapClient()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := config.tokens(); err != nil {
		t.Fatal(err)
	}
	if err := config.saveToStorage(context.Background(), client); err != nil {
		t.Fatal(err)
	}
	return config, datastore, client
}

func TestARotationSuitsKine(t *testing.T) {
	key := bootstrapKey
	for wanted, changes := range map[string][]string{
		"new": {"put " + key("old"), "put " + key("new"), "delete " + key("old")},
		"old": {"put " + key("old"), "put " + key("old")},
	} {
		config, datastore, client := withDatastore(t, "old")
		if err := config.rotateToken(context.Background(), wanted); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(datastore.changes, changes) {
			t.Errorf("token %s: got %v, want %v", wanted, datastore.changes, changes)
		}
		for token, want := range map[string]error{wanted: nil, "other": errDifferentToken} {
			starting := configuration(t, "--token="+token)
			if _, err := starting.bootstrapFromStorage(context.Background(), client); err != want {
				t.Errorf("a start with token %s: got %v, want %v", token, err, want)
			}
			if want == nil && starting.passwords()["server"] != wanted {
				t.Errorf("the passwords were not taken over: %v", starting.passwords())
			}
		}
	}
}

func TestARotationNeedsTheTokenOfTheBootstrapData(t *testing.T) {
	config, datastore, _ := withDatastore(t, "old")
	elsewhere := bootstrapKey("elsewhere")
	datastore.pairs = map[string]mvccpb.KeyValue{elsewhere: {Key: []byte(elsewhere), ModRevision: 1}}
	if err := config.rotateToken(context.Background(), "new"); err != errDifferentToken {
		t.Errorf("got %v, want %v", err, errDifferentToken)
	}
	if len(datastore.changes) != 1 {
		t.Errorf("got %v", datastore.changes)
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
