// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package addons

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestTheServiceOfDNSHasTheAddressesThatItIsGiven(t *testing.T) {
	for list, want := range map[string][]string{"[10.43.0.10]": {"10.43.0.10"}, "[10.43.0.10,fd43::a]": {"10.43.0.10", "fd43::a"}} {
		directory := t.TempDir()
		words := map[string]string{"CLUSTER_DNS": "10.43.0.10", "CLUSTER_DNS_LIST": list, "CLUSTER_DNS_IPFAMILYPOLICY": "SingleStack"}
		if err := Stage(directory, words, nil); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(directory, "coredns.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		objects, err := parse(content)
		if err != nil {
			t.Fatal(err)
		}
		service := objects[len(objects)-1]
		got, _, err := unstructured.NestedStringSlice(service.Object, "spec", "clusterIPs")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v, %v", list, got, err)
		}
		if policy, _, _ := unstructured.NestedString(service.Object, "spec", "ipFamilyPolicy"); policy != "SingleStack" {
			t.Errorf("%s: got %q", list, policy)
		}
	}
}
