// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"flyte.onprem/testbed/k3s/internal/access"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/options"
	"flyte.onprem/testbed/k3s/internal/server"
)

// etcdSnapshot is the command of that name: it asks the running server (K3S.md section 7; k3s-io/k3s pkg/cli/etcdsnapshot).
func etcdSnapshot(arguments []string) {
	if len(arguments) == 0 {
		fmt.Print(options.Usage("etcd-snapshot", options.Snapshot()))
		return
	}
	operation, arguments := arguments[0], arguments[1:]
	switch operation {
	case "ls", "l":
		operation = "list"
	case "save", "list", "delete", "prune":
	default:
		fmt.Printf("No help topic for '%s'\n", operation)
		os.Exit(3)
	}
	values := parse("etcd-snapshot "+operation, options.Snapshot(), arguments)
	store, err := server.S3From(values)
	if err != nil {
		logs.Fatalf("%v", err)
	}
	names := values.Rest()
	if operation == "delete" && len(names) == 0 {
		logs.Fatalf("no snapshots given for removal")
	}
	answer, err := ask(values, server.SnapshotRequest{Operation: operation, Names: names, Base: values.String("etcd-snapshot-name"),
		Directory: values.String("etcd-snapshot-dir"), Retention: values.Int("etcd-snapshot-retention"), Compress: values.Bool("etcd-snapshot-compress"), S3: store})
	if err != nil {
		logs.Fatalf("%v", err)
	}
	switch operation {
	case "list":
		show(answer.Snapshots, values.String("output"))
	case "save":
		for _, one := range answer.Snapshots {
			logs.Infof("Snapshot %s saved.", one.Name)
		}
	default:
		for _, one := range answer.Snapshots {
			logs.Infof("Snapshot %s deleted.", one.Name)
		}
		for _, name := range answer.Missing {
			logs.Warnf("Snapshot %s not found.", name)
		}
	}
}

func ask(values *options.Values, request server.SnapshotRequest) (server.SnapshotAnswer, error) {
	var answer server.SnapshotAnswer
	info, err := reach(values, "etcd-token", "etcd-server")
	if err != nil {
		return answer, err
	}
	body, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	content, err := info.Do(http.MethodPost, "/db/snapshot", body, nil)
	var status *access.StatusError
	if errors.As(err, &status) {
		return answer, fmt.Errorf("see server log for details: %s", status.Error())
	}
	if err != nil {
		return answer, err
	}
	return answer, json.Unmarshal(content, &answer)
}

func show(snapshots []server.Snapshot, format string) {
	switch format {
	case "", "table":
		table := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
		fmt.Fprintln(table, "Name\tLocation\tSize\tCreated")
		for _, one := range snapshots {
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\n", one.Name, one.Location, one.Size, one.Created.Format(time.RFC3339))
		}
		_ = table.Flush()
	case "json":
		items := []any{}
		for _, one := range snapshots {
			items = append(items, map[string]any{"apiVersion": "k3s.cattle.io/v1", "kind": "ETCDSnapshotFile", "metadata": map[string]any{"name": one.Name},
				"spec":   map[string]any{"snapshotName": one.Name, "nodeName": one.Node, "location": one.Location},
				"status": map[string]any{"readyToUse": true, "size": fmt.Sprint(one.Size), "creationTime": one.Created.Format(time.RFC3339)}})
		}
		content, _ := json.MarshalIndent(map[string]any{"apiVersion": "v1", "kind": "List", "items": items}, "", "  ")
		fmt.Println(string(content))
	default:
		logs.Fatalf("stand-in: output %s is not implemented", format)
	}
}
