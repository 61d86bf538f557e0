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
	netutils "k8s.io/utils/net"
)

// Controller works for one server.
type Controller struct {
	Clients *kube.Clients
	Name    string
	// Labels are those of the server's roles.
	Labels map[string]string
	// APIAddress and APIPort are where pods reach this server's API.
	APIAddress string
	APIPort    int
	// CoreDNS tells whether there is a ConfigMap coredns to keep.
	CoreDNS bool
	// seen are the nodes of the last look: the password of one that is gone goes, too.
	seen map[string]bool
}

const (
	controlPlane = "node-role.kubernetes.io/control-plane"
	// apiAnnotation is no k3s's: it tells the other servers option advertise-address.
	apiAnnotation = "testbed.flyte.onprem/api-address"
)

// PasswordSecret is the name of the Secret in kube-system with the hash of a node's password.
func PasswordSecret(node string) string { return strings.ToLower(node) + ".node-password.k3s" }

// Run works until the context ends.
func (c *Controller) Run(ctx context.Context) {
	c.Clients.Loop(ctx, "node", 30*time.Second, c.reconcile,
		schema.GroupVersionResource{Version: "v1", Resource: "nodes"},
		schema.GroupVersionResource{Version: "v1", Resource: "configmaps"})
}

func (c *Controller) reconcile(ctx context.Context) error {
	nodes, err := c.Clients.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if err := c.keepAPIEndpoints(ctx, nodes.Items); err != nil {
		return err
	}
	if err := c.forgetPasswords(ctx, nodes.Items); err != nil {
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

// forgetPasswords lets the name of a deleted node be taken again.
func (c *Controller) forgetPasswords(ctx context.Context, nodes []corev1.Node) error {
	now := map[string]bool{}
	for _, node := range nodes {
		now[node.Name] = true
	}
	for name := range c.seen {
		if now[name] {
			continue
		}
		err := c.Clients.Typed.CoreV1().Secrets(metav1.NamespaceSystem).Delete(ctx, PasswordSecret(name), metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	c.seen = now
	return nil
}

// mark sets what the server sets on its node.
func (c *Controller) mark(ctx context.Context, node *corev1.Node) error {
	labels := map[string]string{controlPlane: "true"}
	for key, value := range c.Labels {
		labels[key] = value
	}
	annotations := map[string]string{apiAnnotation: c.APIAddress}
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

// apiAddresses are those of this server and of the others that are ready.
func (c *Controller) apiAddresses(nodes []corev1.Node) []string {
	addresses := []string{c.APIAddress}
	for _, node := range nodes {
		if node.Name == c.Name || node.Labels[controlPlane] == "" {
			continue
		}
		for _, condition := range node.Status.Conditions {
			if address := node.Annotations[apiAnnotation]; condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && address != "" {
				addresses = append(addresses, address)
			}
		}
	}
	sort.Strings(addresses)
	return addresses
}

// keepAPIEndpoints says where the Service "kubernetes" leads, in both forms that the apiserver itself would write.
func (c *Controller) keepAPIEndpoints(ctx context.Context, nodes []corev1.Node) error {
	wanted := c.apiAddresses(nodes)
	current, err := c.Clients.Typed.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil && len(current.Ports) == 1 && *current.Ports[0].Port == int32(c.APIPort) {
		var found []string
		for _, endpoint := range current.Endpoints {
			found = append(found, endpoint.Addresses...)
		}
		if sort.Strings(found); fmt.Sprint(found) == fmt.Sprint(wanted) {
			return nil
		}
	}
	var addresses, endpoints []any
	for _, address := range wanted {
		addresses = append(addresses, map[string]any{"ip": address})
		endpoints = append(endpoints, map[string]any{"addresses": []any{address}, "conditions": map[string]any{"ready": true}})
	}
	// The API has one address, of the servers' primary family.
	kind := discoveryv1.AddressTypeIPv4
	if netutils.IsIPv6String(c.APIAddress) {
		kind = discoveryv1.AddressTypeIPv6
	}
	port := map[string]any{"name": "https", "port": int64(c.APIPort), "protocol": "TCP"}
	for _, object := range []map[string]any{
		{
			"apiVersion": "v1", "kind": "Endpoints",
			"metadata": map[string]any{"name": "kubernetes", "namespace": "default", "labels": map[string]any{discoveryv1.LabelSkipMirror: "true"}},
			"subsets":  []any{map[string]any{"addresses": addresses, "ports": []any{port}}},
		},
		{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": string(kind),
			"metadata":  map[string]any{"name": "kubernetes", "namespace": "default", "labels": map[string]any{discoveryv1.LabelServiceName: "kubernetes"}},
			"endpoints": endpoints,
			"ports":     []any{port},
		},
	} {
		if err := c.Clients.Apply(ctx, &unstructured.Unstructured{Object: object}, "k3s"); err != nil {
			return err
		}
	}
	return nil
}
