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
	for _, one := range beyond(all, "etcd-snapshot-box-", 1) {
		gone = append(gone, one.Name)
	}
	if got := fmt.Sprint(gone); got != "[etcd-snapshot-box-2 etcd-snapshot-box-3]" {
		t.Errorf("got %s", got)
	}
	if got := beyond(all, "etcd-snapshot-box-", 3); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// In S3 it is those of all servers together.
func TestInS3TheOldestSnapshotsOfABaseGoWhateverTheirServer(t *testing.T) {
	var all []Snapshot
	for _, name := range []string{"on-demand-box-1", "etcd-snapshot-box-2", "etcd-snapshot-other-3", "etcd-snapshot-box-4"} {
		all = append(all, Snapshot{Name: name})
	}
	var gone []string
	for _, one := range beyond(all, "etcd-snapshot", 1) {
		gone = append(gone, one.Name)
	}
	if got := fmt.Sprint(gone); got != "[etcd-snapshot-box-2 etcd-snapshot-other-3]" {
		t.Errorf("got %s", got)
	}
	if got := beyond(all, "etcd-snapshot", 3); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestAStoreWithoutABucketIsRefused(t *testing.T) {
	_, err := (&S3{Endpoint: "127.0.0.1:1"}).connect(t.Context())
	if err == nil || err.Error() != "failed to initialize S3 client: s3 bucket name was not set" {
		t.Errorf("got %v", err)
	}
}

func TestACertificateThatIsNoneIsRefused(t *testing.T) {
	_, err := (&S3{Endpoint: "127.0.0.1:1", Bucket: "x", EndpointCA: "bm9uZQ=="}).connect(t.Context())
	if err == nil || err.Error() != "failed to initialize S3 client: no certificates loaded from etcd-s3-endpoint-ca" {
		t.Errorf("got %v", err)
	}
}

func TestAProxyIsAnAddressOrTheWordNone(t *testing.T) {
	if proxy, err := proxyOf("none"); proxy != nil || err != nil {
		t.Errorf("got %v, %v", proxy, err)
	}
	if _, err := proxyOf("example.com"); err == nil {
		t.Error("taken without a scheme")
	}
}
