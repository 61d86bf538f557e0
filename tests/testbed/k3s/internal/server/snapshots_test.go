// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"fmt"
	"testing"
)

func TestTheOldestSnapshotsOfABaseGo(t *testing.T) {
	var all []Snapshot
	for _, name := range []string{"on-demand-box-1", "etcd-snapshot-box-2", "etcd-snapshot-box-3", "etcd-snapshot-other-3", "etcd-snapshot-box-4"} {
		all = append(all, Snapshot{Name: name})
	}
	var gone []string
	for _, one := range beyond(all, "etcd-snapshot", "box", 1) {
		gone = append(gone, one.Name)
	}
	if got := fmt.Sprint(gone); got != "[etcd-snapshot-box-2 etcd-snapshot-box-3]" {
		t.Errorf("got %s", got)
	}
	if got := beyond(all, "etcd-snapshot", "box", 3); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}
