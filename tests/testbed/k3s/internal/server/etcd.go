// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"flyte.onprem/testbed/k3s/internal/access"
	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/supervisor"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"sigs.k8s.io/yaml"
)

// Times and messages: K3S.md section 6 (k3s-io/k3s pkg/etcd/etcd.go).
const (
	etcdEndpoint    = "https://127.0.0.1:2379"
	manageInterval  = 15 * time.Second
	learnerMaxStall = 5 * time.Minute
	keptBackups     = 5
)

// etcd is the member of this server: upstream etcd as a child process.
type etcd struct {
	config *Config
	name   string
	client *clientv3.Client
	// removed is set when the member's own log says that the others have removed it.
	removed atomic.Bool
	saving  sync.Mutex
}

func (e *etcd) directory(parts ...string) string {
	return e.config.server(append([]string{"db", "etcd"}, parts...)...)
}

func (e *etcd) peerURL() string   { return "https://" + net.JoinHostPort(e.config.nodeIP(), "2380") }
func (e *etcd) clientURL() string { return "https://" + net.JoinHostPort(e.config.nodeIP(), "2379") }

// initialized tells whether this server has been a member before.
func (e *etcd) initialized() bool {
	information, err := os.Stat(e.directory("member", "wal"))
	return err == nil && information.IsDir()
}

// usesEtcd: asked for, or there already.
func (c *Config) usesEtcd() bool {
	member := &etcd{config: c}
	return c.Values.String("datastore-endpoint") == "" &&
		(c.Values.Bool("cluster-init") || c.Values.String("server") != "" || member.initialized())
}

// newEtcd prepares the member's directory: a tombstone makes it begin again where it has somebody to join, and the name is chosen once.
func newEtcd(config *Config) (*etcd, error) {
	member := &etcd{config: config}
	if _, err := os.Stat(member.directory("tombstone")); err == nil {
		if config.Values.String("server") == "" {
			return nil, errors.New("tombstone file has been detected but --server is empty: " +
				"backup and delete ${datadir}/server/db to create a new cluster, or set --server to rejoin")
		}
		logs.Infof("tombstone file has been detected, removing data dir to rejoin the cluster")
		if err := member.backUp(); err != nil {
			return nil, err
		}
	}
	content, err := os.ReadFile(member.directory("name"))
	if err == nil {
		member.name = string(content)
		return member, nil
	}
	return member, member.rename()
}

func (e *etcd) rename() error {
	e.name = e.config.NodeName + "-" + randomHex(4)
	if err := os.MkdirAll(e.directory(), 0o700); err != nil {
		return err
	}
	return certs.WriteFile(e.directory("name"), []byte(e.name), 0o600)
}

func (e *etcd) backUp() error {
	parent := e.config.server("db")
	if err := os.Rename(e.directory(), filepath.Join(parent, fmt.Sprintf("etcd-backup-%d", time.Now().Unix()))); err != nil {
		return err
	}
	backups, err := filepath.Glob(filepath.Join(parent, "etcd-backup-*"))
	if err != nil {
		return err
	}
	slices.Sort(backups)
	for len(backups) > keptBackups {
		if err := os.RemoveAll(backups[0]); err != nil {
			return err
		}
		backups = backups[1:]
	}
	return nil
}

// watchLog passes the member's log on and notices its removal.
type watchLog struct{ member *etcd }

func (w watchLog) Write(content []byte) (int, error) {
	if bytes.Contains(content, []byte("permanently removed from the cluster")) ||
		bytes.Contains(content, []byte("data-dir used by this member must be removed")) {
		w.member.removed.Store(true)
	}
	return os.Stderr.Write(content)
}

// start runs the member. cluster and state are what etcd wants to know of its first start.
func (e *etcd) start(group *supervisor.Group, cluster, state string, forceNew bool) error {
	tlsFile := func(name string) string { return e.config.server("tls", "etcd", name) }
	metrics := "http://127.0.0.1:2381"
	if e.config.Values.Bool("etcd-expose-metrics") {
		metrics = "http://" + net.JoinHostPort(e.config.nodeIP(), "2381") + "," + metrics
	}
	settings := map[string]any{
		"name": e.name, "data-dir": e.directory(),
		"client-transport-security": map[string]any{"cert-file": tlsFile("server-client.crt"), "key-file": tlsFile("server-client.key"),
			"client-cert-auth": true, "trusted-ca-file": tlsFile("server-ca.crt")},
		"peer-transport-security": map[string]any{"cert-file": tlsFile("peer-server-client.crt"), "key-file": tlsFile("peer-server-client.key"),
			"client-cert-auth": true, "trusted-ca-file": tlsFile("peer-ca.crt")},
		"listen-client-urls": etcdEndpoint + "," + e.clientURL(), "advertise-client-urls": e.clientURL(),
		"listen-peer-urls": "https://127.0.0.1:2380," + e.peerURL(), "initial-advertise-peer-urls": e.peerURL(),
		"listen-metrics-urls": metrics, "listen-client-http-urls": "https://127.0.0.1:2382",
		"heartbeat-interval": 500, "election-timeout": 5000, "snapshot-count": 10000, "logger": "zap", "log-outputs": []string{"stderr"},
		"log-level": "warn",
	}
	if cluster != "" {
		settings["initial-cluster"], settings["initial-cluster-state"] = cluster, state
	}
	if forceNew {
		settings["force-new-cluster"] = true
	}
	for _, argument := range e.config.Values.List("etcd-arg") {
		key, text, _ := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if number, err := strconv.Atoi(text); err == nil {
			settings[key] = number
		} else if truth, err := strconv.ParseBool(text); err == nil {
			settings[key] = truth
		} else {
			settings[key] = text
		}
	}
	content, err := yaml.Marshal(settings)
	if err != nil {
		return err
	}
	if err := certs.WriteFile(e.directory("config"), content, 0o600); err != nil {
		return err
	}
	if err := os.Chmod(e.directory(), 0o700); err != nil {
		return err
	}
	return group.Start(supervisor.Program{Name: "etcd", Path: e.config.bin("etcd"), Directory: e.config.server(), Output: watchLog{e},
		Arguments: []string{"--config-file=" + e.directory("config")}})
}

// connect opens a client with the cluster's certificate.
func (e *etcd) connect(endpoints ...string) (*clientv3.Client, error) {
	pair, err := tls.LoadX509KeyPair(e.config.server("tls", "etcd", "client.crt"), e.config.server("tls", "etcd", "client.key"))
	if err != nil {
		return nil, err
	}
	roots, err := certs.ReadPool(e.config.server("tls", "etcd", "server-ca.crt"))
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 2 * time.Second,
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots, MinVersion: tls.VersionTLS12}})
}

// run starts the member in the way that fits: again, as the first one, or as a learner beside others. It returns when the
// member votes.
func (e *etcd) run(ctx context.Context, group *supervisor.Group) error {
	client, err := e.connect(etcdEndpoint)
	if err != nil {
		return err
	}
	e.client = client
	founding := false
	switch {
	case e.initialized():
		logs.Infof("Managed etcd cluster bootstrap already complete and initialized")
		err = e.start(group, "", "", false)
	case e.config.Values.String("server") == "":
		logs.Infof("Managed etcd cluster initializing")
		founding = true
		err = e.start(group, e.name+"="+e.peerURL(), "new", false)
	default:
		err = e.join(ctx, group)
	}
	if err != nil {
		return err
	}
	err = supervisor.Poll(ctx, 24*time.Hour, time.Second, func(ctx context.Context) error {
		err := e.test(ctx)
		if err != nil {
			logs.Debugf("Failed to test etcd connection: %v", err)
		}
		return err
	})
	if err == nil && founding {
		err = e.migrate(ctx, group)
	}
	return err
}

// test asks whether this member votes.
func (e *etcd) test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	status, err := e.client.Status(ctx, etcdEndpoint)
	if err != nil {
		return err
	}
	if status.IsLearner {
		return errors.New("this server has not yet been promoted from learner to voting member")
	}
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	var found []string
	for _, member := range members.Members {
		if member.Name == e.name && slices.Contains(member.PeerURLs, e.peerURL()) {
			return nil
		}
		found = append(found, describe(member))
	}
	return fmt.Errorf("this server is a not a member of the etcd cluster. Found %v, expect: %s=%s", found, e.name, e.config.nodeIP())
}

func describe(member *etcdserverpb.Member) string {
	if len(member.PeerURLs) == 0 {
		return member.Name
	}
	return member.Name + "=" + member.PeerURLs[0]
}

// memberList is the body of /db/info.
type memberList struct {
	Members []*etcdserverpb.Member `json:"members"`
}

// join adds this server as a learner and starts it; while another one learns it waits.
func (e *etcd) join(ctx context.Context, group *supervisor.Group) error {
	logs.Infof("Managed etcd cluster not yet initialized")
	info, err := e.config.joinedServer()
	if err != nil {
		return err
	}
	var cluster []string
	var refusal error
	err = supervisor.Poll(ctx, 24*time.Hour, 5*time.Second, func(ctx context.Context) error {
		var wait *waitError
		cluster, refusal = e.add(ctx, info)
		if !errors.As(refusal, &wait) {
			return nil
		}
		logs.Infof("Waiting for other members to finish joining etcd cluster: %v", wait.cause)
		return refusal
	})
	if err == nil {
		err = refusal
	}
	if err != nil {
		return fmt.Errorf("etcd cluster join failed: %w", err)
	}
	logs.Infof("Starting etcd to join cluster with members %v", cluster)
	return e.start(group, strings.Join(cluster, ","), "existing", false)
}

// waitError is a reason to ask again.
type waitError struct{ cause error }

func (w *waitError) Error() string { return w.cause.Error() }

func (e *etcd) add(ctx context.Context, info *access.Info) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	content, err := info.Get("/db/info")
	if err != nil {
		return nil, err
	}
	var list memberList
	if err := json.Unmarshal(content, &list); err != nil {
		return nil, err
	}
	var endpoints []string
	for _, member := range list.Members {
		if !member.IsLearner && !slices.Contains(member.ClientURLs, e.clientURL()) {
			endpoints = append(endpoints, member.ClientURLs...)
		}
	}
	client, err := e.connect(endpoints...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	members, err := client.MemberList(ctx)
	if err != nil {
		return nil, err
	}
	var cluster []string
	known := false
	for _, member := range members.Members {
		for _, peer := range member.PeerURLs {
			address, err := url.Parse(peer)
			if err != nil {
				return nil, err
			}
			if member.Name == "" && address.Hostname() == e.config.nodeIP() {
				member.Name = e.name
			}
			known = known || member.Name == e.name && address.Hostname() == e.config.nodeIP()
			cluster = append(cluster, member.Name+"="+peer)
		}
		node := member.Name
		if index := strings.LastIndex(node, "-"); index > 1 {
			node = node[:index]
		}
		if member.Name != e.name && node == e.config.NodeName {
			os.Remove(e.directory("name"))
			return nil, errors.New("duplicate node name found, please use a unique name for this node")
		}
	}
	if known {
		return cluster, nil
	}
	logs.Infof("Adding member %s=%s to etcd cluster %v", e.name, e.peerURL(), cluster)
	_, err = client.MemberAddAsLearner(ctx, []string{e.peerURL()})
	if errors.Is(err, rpctypes.ErrTooManyLearners) || errors.Is(err, rpctypes.ErrUnhealthy) {
		return nil, &waitError{err}
	}
	if err != nil {
		return nil, err
	}
	return append(cluster, e.name+"="+e.peerURL()), nil
}

// dbInfo answers a server that joins.
func (j *joining) dbInfo(response http.ResponseWriter, request *http.Request) {
	member := j.config.etcd
	if member == nil || member.client == nil {
		http.Error(response, "etcd disabled", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(request.Context(), 2*time.Second)
	defer cancel()
	list := memberList{}
	if members, err := member.client.MemberList(ctx); err == nil {
		list.Members = members.Members
	} else {
		list.Members = []*etcdserverpb.Member{{Name: member.name, PeerURLs: []string{member.peerURL()}, ClientURLs: []string{member.clientURL()}}}
	}
	sendJSON(response, list)
}

// migrate takes over what an SQLite of the same server held.
func (e *etcd) migrate(ctx context.Context, group *supervisor.Group) error {
	file := e.config.server("db", "state.db")
	if _, err := os.Stat(file); err != nil {
		return nil
	}
	logs.Infof("Migrating content from sqlite to etcd")
	if err := e.config.startKine(ctx, group, e.config.sqlite(), nil); err != nil {
		return err
	}
	old, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + e.config.server("kine.sock")}})
	if err != nil {
		return err
	}
	defer old.Close()
	found, err := old.Get(ctx, "/registry/", clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("failed to migrate content from sqlite to etcd: %w", err)
	}
	for _, pair := range found.Kvs {
		if _, err := e.client.Put(ctx, string(pair.Key), string(pair.Value)); err != nil {
			return fmt.Errorf("failed to migrate content from sqlite to etcd: %w", err)
		}
	}
	return os.Rename(file, file+".migrated")
}

// manage promotes learners, as long as this member leads, and removes one that makes no progress.
func (e *etcd) manage(ctx context.Context) {
	applied, since := map[uint64]uint64{}, map[uint64]time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(manageInterval):
		}
		limited, cancel := context.WithTimeout(ctx, 10*time.Second)
		if err := e.promote(limited, applied, since); err != nil {
			logs.Errorf("Failed to check local etcd status for learner management: %v", err)
		}
		cancel()
	}
}

func (e *etcd) promote(ctx context.Context, applied map[uint64]uint64, since map[uint64]time.Time) error {
	status, err := e.client.Status(ctx, etcdEndpoint)
	if err != nil || status.Header.MemberId != status.Leader {
		return err
	}
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range members.Members {
		if !member.IsLearner {
			continue
		}
		if _, err := e.client.MemberPromote(ctx, member.ID); err == nil {
			logs.Infof("Promoted learner %s", member.Name)
			return nil
		}
		progress := uint64(0)
		for _, address := range member.ClientURLs {
			if status, err := e.client.Status(ctx, address); err == nil {
				progress = status.RaftAppliedIndex
			}
		}
		if begin, seen := since[member.ID]; !seen || progress > applied[member.ID] {
			applied[member.ID], since[member.ID] = progress, time.Now()
		} else if time.Since(begin) > learnerMaxStall {
			if _, err := e.client.MemberRemove(ctx, member.ID); err != nil {
				return err
			}
			logs.Warnf("Removed learner %s from etcd cluster", member.Name)
		}
	}
	return nil
}

// remove takes another server's member out.
func (e *etcd) remove(ctx context.Context, name, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	members, err := e.client.MemberList(ctx)
	if err != nil {
		return err
	}
	for _, member := range members.Members {
		if member.Name != name || !slices.Contains(member.PeerURLs, fmt.Sprintf("https://%s:2380", address)) {
			continue
		}
		if name == e.name {
			return errors.New("not removing self from etcd cluster")
		}
		logs.Infof("Removing name=%s id=%d address=%s from etcd", member.Name, member.ID, address)
		if _, err := e.client.MemberRemove(ctx, member.ID); err != nil && !errors.Is(err, rpctypes.ErrMemberNotFound) {
			return err
		}
	}
	return nil
}

// ended leaves a tombstone when the member was removed: the next start joins anew.
func (e *etcd) ended() error {
	if !e.removed.Load() {
		return nil
	}
	if err := certs.WriteFile(e.directory("tombstone"), nil, 0o600); err != nil {
		return err
	}
	return errors.New("this node has been removed from the cluster please restart k3s to rejoin the cluster")
}
