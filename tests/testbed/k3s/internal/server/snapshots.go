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

// beyond are the snapshots of a base that are more than are kept.
func beyond(snapshots []Snapshot, base, node string, kept int) []Snapshot {
	var own []Snapshot
	for _, one := range snapshots {
		if strings.HasPrefix(one.Name, base+"-"+node+"-") {
			own = append(own, one)
		}
	}
	if len(own) <= kept {
		return nil
	}
	return own[:len(own)-kept]
}

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

func (e *etcd) handle(ctx context.Context, wanted SnapshotRequest) (SnapshotAnswer, error) {
	if wanted.Operation == "save" {
		one, err := e.save(ctx, wanted.Base, wanted.Directory, wanted.Compress)
		return SnapshotAnswer{Snapshots: []Snapshot{one}}, err
	}
	found, err := e.list(wanted.Directory)
	if err != nil {
		return SnapshotAnswer{}, err
	}
	switch wanted.Operation {
	case "list":
		return SnapshotAnswer{Snapshots: found}, nil
	case "prune":
		old := beyond(found, wanted.Base, e.config.NodeName, wanted.Retention)
		return SnapshotAnswer{Snapshots: old}, e.deleteSnapshots(old)
	case "delete":
		var answer SnapshotAnswer
		for _, name := range wanted.Names {
			known := false
			for _, one := range found {
				if one.Name == name {
					answer.Snapshots, known = append(answer.Snapshots, one), true
				}
			}
			if !known {
				answer.Missing = append(answer.Missing, name)
			}
		}
		return answer, e.deleteSnapshots(answer.Snapshots)
	}
	return SnapshotAnswer{}, fmt.Errorf("invalid operation %q", wanted.Operation)
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
	base := values.String("etcd-snapshot-name")
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(when.Next(time.Now()))):
		}
		_, err := e.save(ctx, base, "", values.Bool("etcd-snapshot-compress"))
		if err == nil {
			_, err = e.handle(ctx, SnapshotRequest{Operation: "prune", Base: base, Retention: values.Int("etcd-snapshot-retention")})
		}
		if err == nil {
			err = e.reconcileSnapshots(ctx, clients)
		}
		if err != nil {
			logs.Errorf("Failed to take etcd snapshot: %v", err)
		}
	}
}

func objectName(one Snapshot) string {
	return fmt.Sprintf("local-%s-%s", strings.ToLower(one.Name), hex.EncodeToString([]byte(bootstrapKey(one.Location)))[24:24+2*hashOfLocation])
}

// reconcileSnapshots keeps an ETCDSnapshotFile for each of this server's files.
func (e *etcd) reconcileSnapshots(ctx context.Context, clients *kube.Clients) error {
	found, err := e.list("")
	if err != nil {
		return err
	}
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
			"metadata": map[string]any{"name": name, "labels": map[string]any{nodeLabel: e.config.NodeName}},
			"spec":     map[string]any{"snapshotName": one.Name, "nodeName": one.Node, "location": one.Location},
			"status":   map[string]any{"readyToUse": true, "size": fmt.Sprint(one.Size), "creationTime": one.Created.Format(time.RFC3339)},
		}}, "k3s")
		if err != nil {
			return err
		}
	}
	objects, err := resource.List(ctx, metav1.ListOptions{LabelSelector: nodeLabel + "=" + e.config.NodeName})
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
