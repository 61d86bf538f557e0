// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/families"
	"flyte.onprem/testbed/k3s/internal/kube"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// KeepMarks sets the annotations and labels that k3s's agent sets on its Node at each start (K3S.md section 6).
func KeepMarks(ctx context.Context, clients *kube.Clients, node *Node, arguments []string, environment map[string]string) {
	given, _ := json.Marshal(arguments)
	shown, _ := json.Marshal(environment)
	labels := map[string]string{}
	for _, label := range node.Labels {
		key, value, _ := strings.Cut(label, "=")
		labels[key] = value
	}
	addresses := families.Join(node.IPs)
	annotations := map[string]string{
		"k3s.io/hostname": node.Name, "k3s.io/internal-ip": addresses, "k3s.io/node-args": string(given), "k3s.io/node-env": string(shown),
		"alpha.kubernetes.io/provided-node-ip": addresses,
	}
	if node.p2pAddress != "" {
		labels[p2pEnabled], annotations[p2pAddress] = "true", multiaddress(node.p2pAddress, node.Name)
	}
	clients.Loop(ctx, "agent", 30*time.Second, func(ctx context.Context) error {
		found, err := clients.Typed.CoreV1().Nodes().Get(ctx, node.Name, metav1.GetOptions{})
		if err != nil || has(found.Labels, labels) && has(found.Annotations, annotations) {
			return err
		}
		patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
		_, err = clients.Typed.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}, schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
}

func has(current, wanted map[string]string) bool {
	for key, value := range wanted {
		if current[key] != value {
			return false
		}
	}
	return true
}

// Environment is what the Node is annotated with: K3S_*, secrets masked.
func Environment() map[string]string {
	shown := map[string]string{}
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "K3S_") {
			continue
		}
		if strings.HasSuffix(name, "_TOKEN") || name == "K3S_DATASTORE_ENDPOINT" || name == "K3S_VPN_AUTH" {
			value = "********"
		}
		shown[name] = value
	}
	return shown
}
