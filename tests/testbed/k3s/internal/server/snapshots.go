// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"archive/zip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"github.com/minio/minio-go/v7"
	"github.com/robfig/cron/v3"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Snapshot is one file (K3S.md section 7; k3s-io/k3s pkg/etcd/snapshot.go and pkg/etcd/snapshot).
type Snapshot struct {
	Name, Location, Node string
	Size                 int64
	Created              time.Time
}

// SnapshotRequest is the body of a POST to /db/snapshot, SnapshotAnswer what comes back.
type SnapshotRequest struct {
	Operation string
	Names     []string
	Base      string
	Directory string
	Retention int
	Compress  bool
	S3        *S3
}

// SnapshotAnswer names the snapshots that were made, listed or deleted, and those that were not there.
type SnapshotAnswer struct {
	Snapshots []Snapshot
	Missing   []string
}

const (
	zipped         = ".zip"
	hashOfLocation = 3
)

var snapshotKind = schema.GroupVersionKind{Group: "k3s.cattle.io", Version: "v1", Kind: "ETCDSnapshotFile"}

var errSnapshotRunning = errors.New("snapshot save already in progress")

// snapshotDirectory is the default, which is made, or the user's, which has to be there.
func (e *etcd) snapshotDirectory(given string) (string, error) {
	if given == "" {
		given = e.config.Values.String("etcd-snapshot-dir")
	}
	if given == "" {
		given = e.config.server("db", "snapshots")
		return given, os.MkdirAll(given, 0o700)
	}
	_, err := os.Stat(given)
	return given, err
}

// save takes a snapshot under a name made of base, node and time.
func (e *etcd) save(ctx context.Context, base, directory string, compress bool) (Snapshot, error) {
	if !e.saving.TryLock() {
		return Snapshot{}, errSnapshotRunning
	}
	defer e.saving.Unlock()
	directory, err := e.snapshotDirectory(directory)
	if err != nil {
		return Snapshot{}, err
	}
	name := fmt.Sprintf("%s-%s-%d", base, e.config.NodeName, time.Now().Unix())
	logs.Infof("Saving etcd snapshot to %s", filepath.Join(directory, name))
	stream, err := e.client.Snapshot(ctx)
	if err != nil {
		return Snapshot{}, err
	}
	defer stream.Close()
	file := filepath.Join(directory, name)
	if compress {
		file += zipped
	}
	if err := writeSnapshot(file, name, compress, stream); err != nil {
		os.Remove(file)
		return Snapshot{}, err
	}
	information, err := os.Stat(file)
	if err != nil {
		return Snapshot{}, err
	}
	return e.describeSnapshot(file, information), nil
}

func writeSnapshot(file, name string, compress bool, stream io.Reader) error {
	output, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	if !compress {
		_, err = io.Copy(output, stream)
		return err
	}
	archive := zip.NewWriter(output)
	entry, err := archive.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(entry, stream); err != nil {
		return err
	}
	return archive.Close()
}

func (e *etcd) describeSnapshot(file string, information os.FileInfo) Snapshot {
	return Snapshot{Name: filepath.Base(file), Location: "file://" + file, Node: e.config.NodeName, Size: information.Size(),
		Created: information.ModTime().UTC().Truncate(time.Second)}
}

// list are the snapshots of this server, the oldest first.
func (e *etcd) list(directory string) ([]Snapshot, error) {
	directory, err := e.snapshotDirectory(directory)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	found := []Snapshot{}
	for _, entry := range entries {
		if information, err := entry.Info(); err == nil && information.Mode().IsRegular() {
			found = append(found, e.describeSnapshot(filepath.Join(directory, entry.Name()), information))
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Created.Before(found[j].Created) })
	return found, nil
}

// beyond are the oldest of the snapshots whose names begin with prefix, where these are more than are kept.
func beyond(snapshots []Snapshot, prefix string, kept int) []Snapshot {
	var of []Snapshot
	for _, one := range snapshots {
		if strings.HasPrefix(one.Name, prefix) {
			of = append(of, one)
		}
	}
	if len(of) <= kept {
		return nil
	}
	return of[:len(of)-kept]
}

// own is how the names of this server's snapshots of a base begin.
func (e *etcd) own(base string) string { return base + "-" + e.config.NodeName + "-" }

func (e *etcd) deleteSnapshots(snapshots []Snapshot) error {
	for _, one := range snapshots {
		if err := os.Remove(strings.TrimPrefix(one.Location, "file://")); err != nil {
			return err
		}
	}
	return nil
}

// snapshot answers the command etcd-snapshot.
func (j *joining) snapshot(response http.ResponseWriter, request *http.Request) {
	member := j.config.etcd
	if member == nil || member.client == nil {
		http.Error(response, "etcd disabled", http.StatusBadRequest)
		return
	}
	var wanted SnapshotRequest
	if err := json.NewDecoder(request.Body).Decode(&wanted); err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := member.handle(request.Context(), wanted)
	if err != nil {
		logs.Errorf("%v", err)
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	if clients := j.clients.Load(); clients != nil {
		if err := member.reconcileSnapshots(request.Context(), clients); err != nil {
			logs.Errorf("Failed to record snapshots: %v", err)
		}
	}
	sendJSON(response, answer)
}

// handle answers a request. Without a word about S3 in it the server's own configuration counts; a store that is wrong is refused
// before anything is done.
func (e *etcd) handle(ctx context.Context, wanted SnapshotRequest) (SnapshotAnswer, error) {
	var store *minio.Client
	var err error
	if wanted.S3 == nil {
		if wanted.S3, err = S3From(e.config.Values); err != nil {
			return SnapshotAnswer{}, err
		}
	}
	if wanted.S3 != nil {
		if store, err = wanted.S3.connect(ctx); err != nil {
			return SnapshotAnswer{}, err
		}
	}
	if wanted.Operation == "save" {
		return e.saveAndSend(ctx, wanted)
	}
	found, err := e.list(wanted.Directory)
	if err != nil {
		return SnapshotAnswer{}, err
	}
	var sent []Snapshot
	if store != nil {
		if sent, err = wanted.S3.list(ctx, store); err != nil {
			return SnapshotAnswer{}, err
		}
	}
	switch wanted.Operation {
	case "list":
		found = append(found, sent...)
		sort.SliceStable(found, func(i, j int) bool { return found[i].Created.Before(found[j].Created) })
		return SnapshotAnswer{Snapshots: found}, nil
	case "prune":
		old := beyond(found, e.own(wanted.Base), wanted.Retention)
		if err = e.deleteSnapshots(old); err == nil && store != nil {
			err = wanted.S3.prune(ctx, store, wanted.Base)
		}
		return SnapshotAnswer{Snapshots: old}, err
	case "delete":
		var answer SnapshotAnswer
		for _, name := range wanted.Names {
			here, there := named(found, name), named(sent, name)
			if len(here)+len(there) == 0 {
				answer.Missing = append(answer.Missing, name)
			}
			answer.Snapshots = append(append(answer.Snapshots, here...), there...)
			for _, one := range there {
				if err := wanted.S3.remove(ctx, store, one.Name); err != nil {
					return answer, err
				}
			}
			if err := e.deleteSnapshots(here); err != nil {
				return answer, err
			}
		}
		return answer, nil
	}
	return SnapshotAnswer{}, fmt.Errorf("invalid operation %q", wanted.Operation)
}

func named(snapshots []Snapshot, name string) []Snapshot {
	var found []Snapshot
	for _, one := range snapshots {
		if one.Name == name {
			found = append(found, one)
		}
	}
	return found
}

// saveAndSend succeeds with the file of this server alone where it cannot be sent: of that the server's log speaks.
func (e *etcd) saveAndSend(ctx context.Context, wanted SnapshotRequest) (SnapshotAnswer, error) {
	one, err := e.save(ctx, wanted.Base, wanted.Directory, wanted.Compress)
	if err != nil {
		return SnapshotAnswer{}, err
	}
	answer := SnapshotAnswer{Snapshots: []Snapshot{one}}
	if wanted.S3 == nil {
		return answer, nil
	}
	store, err := wanted.S3.connect(ctx)
	if err != nil {
		logs.Warnf("Unable to initialize S3 client: %v", err)
		return answer, nil
	}
	sent, err := wanted.S3.upload(ctx, store, strings.TrimPrefix(one.Location, "file://"), wanted.Base)
	if err != nil {
		logs.Errorf("Error received during snapshot upload to S3: %v", err)
		return answer, nil
	}
	answer.Snapshots = append(answer.Snapshots, sent)
	return answer, nil
}

// schedule takes snapshots at their time and prunes the old ones.
func (e *etcd) schedule(ctx context.Context, clients *kube.Clients) {
	values := e.config.Values
	if values.Bool("etcd-disable-snapshots") {
		return
	}
	when, err := cron.ParseStandard(values.String("etcd-snapshot-schedule-cron"))
	if err != nil {
		logs.Errorf("Failed to parse etcd-snapshot-schedule-cron: %v", err)
		return
	}
	base, kept := values.String("etcd-snapshot-name"), values.Int("etcd-snapshot-retention")
	store, err := S3From(values)
	if err != nil {
		logs.Errorf("Failed to parse etcd-s3-timeout: %v", err)
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(when.Next(time.Now()))):
		}
		_, err := e.saveAndSend(ctx, SnapshotRequest{Base: base, Compress: values.Bool("etcd-snapshot-compress"), S3: store})
		if err == nil {
			err = e.prune(base, kept)
		}
		if err == nil {
			err = e.reconcileSnapshots(ctx, clients)
		}
		if err != nil {
			logs.Errorf("Failed to take etcd snapshot: %v", err)
		}
	}
}

func (e *etcd) prune(base string, kept int) error {
	found, err := e.list("")
	if err != nil {
		return err
	}
	return e.deleteSnapshots(beyond(found, e.own(base), kept))
}

func objectName(one Snapshot) string {
	kind := "local"
	if one.Node == storedInS3 {
		kind = storedInS3
	}
	return fmt.Sprintf("%s-%s-%s", kind, strings.ToLower(one.Name), hex.EncodeToString([]byte(bootstrapKey(one.Location)))[24:24+2*hashOfLocation])
}

// reconcileSnapshots keeps an ETCDSnapshotFile for each of this server's files, and for each in S3 where that can be asked.
func (e *etcd) reconcileSnapshots(ctx context.Context, clients *kube.Clients) error {
	found, err := e.list("")
	if err != nil {
		return err
	}
	if err := e.record(ctx, clients, e.config.NodeName, found); err != nil {
		return err
	}
	store, err := S3From(e.config.Values)
	if err != nil || store == nil {
		return err
	}
	client, err := store.connect(ctx)
	if err != nil {
		return err
	}
	sent, err := store.list(ctx, client)
	if err != nil {
		return err
	}
	return e.record(ctx, clients, storedInS3, sent)
}

// record makes the objects of one place what is there.
func (e *etcd) record(ctx context.Context, clients *kube.Clients, place string, found []Snapshot) error {
	resource, _, err := clients.Resource(snapshotKind, "")
	if err != nil {
		return err
	}
	const nodeLabel = "etcd.k3s.cattle.io/snapshot-storage-node"
	wanted := map[string]bool{}
	for _, one := range found {
		name := objectName(one)
		wanted[name] = true
		err := clients.Apply(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "k3s.cattle.io/v1", "kind": "ETCDSnapshotFile",
			"metadata": map[string]any{"name": name, "labels": map[string]any{nodeLabel: place}},
			"spec":     map[string]any{"snapshotName": one.Name, "nodeName": one.Node, "location": one.Location},
			"status":   map[string]any{"readyToUse": true, "size": fmt.Sprint(one.Size), "creationTime": one.Created.Format(time.RFC3339)},
		}}, "k3s")
		if err != nil {
			return err
		}
	}
	objects, err := resource.List(ctx, metav1.ListOptions{LabelSelector: nodeLabel + "=" + place})
	if err != nil {
		return err
	}
	for _, object := range objects.Items {
		if wanted[object.GetName()] {
			continue
		}
		if err := resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}
