// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package nodes keeps what k3s's own controllers keep about nodes: labels and annotations of the servers,
// the hosts file of CoreDNS and the endpoint of the Service "kubernetes".
package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/kube"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Controller works for one server.
type Controller struct {
	Clients   *kube.Clients
	Name, IP  string
	Arguments []string
	// Labels are those of option node-label; like the agent of k3s, they are set again at each start.
	Labels      map[string]string
	Environment map[string]string
	// APIAddress and APIPort are where pods reach this server's API.
	APIAddress string
	APIPort    int
	// CoreDNS tells whether there is a ConfigMap coredns to keep.
	CoreDNS bool
}

// Run works until the context ends.
func (c *Controller) Run(ctx context.Context) {
	c.Clients.Loop(ctx, "node", 30*time.Second, c.reconcile,
		schema.GroupVersionResource{Version: "v1", Resource: "nodes"},
		schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
}

func (c *Controller) reconcile(ctx context.Context) error {
	if err := c.KeepAPIEndpoint(ctx); err != nil {
		return err
	}
	nodes, err := c.Clients.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for index := range nodes.Items {
		if nodes.Items[index].Name == c.Name {
			if err := c.mark(ctx, &nodes.Items[index]); err != nil {
				return err
			}
		}
	}
	if !c.CoreDNS {
		return nil
	}
	return c.nodeHosts(ctx, nodes.Items)
}

// mark sets what the cloud controller and the server set on their node.
func (c *Controller) mark(ctx context.Context, node *corev1.Node) error {
	arguments, _ := json.Marshal(c.Arguments)
	environment, _ := json.Marshal(c.Environment)
	labels := map[string]string{"node-role.kubernetes.io/control-plane": "true", "node.kubernetes.io/instance-type": "k3s"}
	for key, value := range c.Labels {
		labels[key] = value
	}
	annotations := map[string]string{
		"k3s.io/hostname": node.Name, "k3s.io/internal-ip": c.IP, "k3s.io/node-args": string(arguments), "k3s.io/node-env": string(environment),
		"alpha.kubernetes.io/provided-node-ip": c.IP,
	}
	if has(node.Labels, labels) && has(node.Annotations, annotations) {
		return nil
	}
	patch, _ := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	_, err := c.Clients.Typed.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

func has(current, wanted map[string]string) bool {
	for key, value := range wanted {
		if current[key] != value {
			return false
		}
	}
	return true
}

// nodeHosts writes the names of all nodes where CoreDNS reads them.
func (c *Controller) nodeHosts(ctx context.Context, nodes []corev1.Node) error {
	var lines []string
	for _, node := range nodes {
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				lines = append(lines, address.Address+" "+node.Name)
				break
			}
		}
	}
	sort.Strings(lines)
	hosts := strings.Join(lines, "\n") + "\n"
	current, err := c.Clients.Typed.CoreV1().ConfigMaps("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil || current.Data["NodeHosts"] == hosts {
		return err
	}
	patch, _ := json.Marshal(map[string]any{"data": map[string]string{"NodeHosts": hosts}})
	_, err = c.Clients.Typed.CoreV1().ConfigMaps("kube-system").Patch(ctx, "coredns", types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "k3s"})
	return err
}

// KeepAPIEndpoint says where the Service "kubernetes" leads, in both forms that the apiserver itself would write.
func (c *Controller) KeepAPIEndpoint(ctx context.Context) error {
	slices := c.Clients.Typed.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault)
	current, err := slices.Get(ctx, "kubernetes", metav1.GetOptions{})
	if err == nil && len(current.Endpoints) == 1 && len(current.Ports) == 1 &&
		fmt.Sprint(current.Endpoints[0].Addresses) == fmt.Sprint([]string{c.APIAddress}) && *current.Ports[0].Port == int32(c.APIPort) {
		return nil
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	port := map[string]any{"name": "https", "port": int64(c.APIPort), "protocol": "TCP"}
	for _, object := range []map[string]any{
		{
			"apiVersion": "v1", "kind": "Endpoints",
			"metadata": map[string]any{"name": "kubernetes", "namespace": "default", "labels": map[string]any{discoveryv1.LabelSkipMirror: "true"}},
			"subsets":  []any{map[string]any{"addresses": []any{map[string]any{"ip": c.APIAddress}}, "ports": []any{port}}},
		},
		{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
			"metadata":  map[string]any{"name": "kubernetes", "namespace": "default", "labels": map[string]any{discoveryv1.LabelServiceName: "kubernetes"}},
			"endpoints": []any{map[string]any{"addresses": []any{c.APIAddress}, "conditions": map[string]any{"ready": true}}},
			"ports":     []any{port},
		},
	} {
		if err := c.Clients.Apply(ctx, &unstructured.Unstructured{Object: object}, "k3s"); err != nil {
			return err
		}
	}
	return nil
}
