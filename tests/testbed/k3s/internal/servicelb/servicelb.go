// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package servicelb gives Services of type LoadBalancer a DaemonSet that takes their ports on the hosts
// (K3S.md section 8, after k3s-io/k3s pkg/cloudprovider/servicelb.go: names, labels, environment, addresses).
package servicelb

import (
	"context"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/kube"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"
)

const (
	image          = "docker.io/rancher/klipper-lb:v0.4.17"
	group          = "svccontroller.k3s.cattle.io/"
	nameLabel      = group + "svcname"
	namespaceLabel = group + "svcnamespace"
	selectorLabel  = group + "nodeselector"
	enableLabel    = group + "enablelb"
	poolLabel      = group + "lbpool"
	priority       = group + "priorityclassname"
)

// Controller keeps the DaemonSets and the status of the Services.
type Controller struct {
	Clients   *kube.Clients
	Namespace string
	// Off removes everything (disable: servicelb).
	Off bool
}

// Run works until the context ends.
func (c *Controller) Run(ctx context.Context) {
	c.Clients.Loop(ctx, "service-controller", 30*time.Second, c.reconcile,
		schema.GroupVersionResource{Version: "v1", Resource: "services"},
		schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"},
		schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
}

func (c *Controller) reconcile(ctx context.Context) error {
	services, err := c.Clients.Typed.CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	nodes, err := c.Clients.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for index := range services.Items {
		service := &services.Items[index]
		if c.Off || service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.DeletionTimestamp != nil ||
			service.Spec.LoadBalancerClass != nil || service.Spec.ClusterIP == "" {
			continue
		}
		if len(wanted) == 0 {
			if err := c.account(ctx); err != nil {
				return err
			}
		}
		daemonSet := c.daemonSet(service, nodes.Items)
		wanted[daemonSet.Name] = true
		if err := c.apply(ctx, daemonSet); err != nil {
			return err
		}
		if err := c.status(ctx, service, nodes.Items); err != nil {
			return err
		}
	}
	existing, err := c.Clients.Typed.AppsV1().DaemonSets(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: nameLabel})
	if err != nil {
		return err
	}
	for _, daemonSet := range existing.Items {
		if !wanted[daemonSet.Name] {
			err := c.Clients.Typed.AppsV1().DaemonSets(c.Namespace).Delete(ctx, daemonSet.Name, metav1.DeleteOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

func (c *Controller) account(ctx context.Context) error {
	for _, object := range []map[string]any{
		{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": c.Namespace}},
		{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "svclb", "namespace": c.Namespace}},
	} {
		if err := c.Clients.Apply(ctx, &unstructured.Unstructured{Object: object}, "k3s-servicelb"); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) apply(ctx context.Context, daemonSet *appsv1.DaemonSet) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(daemonSet)
	if err != nil {
		return err
	}
	delete(content, "status")
	return c.Clients.Apply(ctx, &unstructured.Unstructured{Object: content}, "k3s-servicelb")
}

func (c *Controller) daemonSet(service *corev1.Service, nodes []corev1.Node) *appsv1.DaemonSet {
	name := fmt.Sprintf("svclb-%s-%.8s", service.Name, service.UID)
	local := service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	ranges, sysctls := access(service)
	one, no := intstr.FromInt32(1), false
	priorityClass := service.Annotations[priority]
	if priorityClass == "" {
		priorityClass = "system-node-critical"
	}
	labels := map[string]string{nameLabel: service.Name, namespaceLabel: service.Namespace}
	template := corev1.PodSpec{
		PriorityClassName: priorityClass, ServiceAccountName: "svclb", AutomountServiceAccountToken: &no,
		SecurityContext: &corev1.PodSecurityContext{Sysctls: sysctls},
		Tolerations: []corev1.Toleration{
			{Key: "node-role.kubernetes.io/control-plane", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
			{Key: "CriticalAddonsOnly", Operator: corev1.TolerationOpExists},
		},
		NodeSelector: selector(service, nodes),
	}
	for _, port := range service.Spec.Ports {
		portName := fmt.Sprintf("lb-%s-%d", strings.ToLower(string(port.Protocol)), port.Port)
		container := corev1.Container{
			Name: portName, Image: image, ImagePullPolicy: corev1.PullIfNotPresent,
			Ports: []corev1.ContainerPort{{Name: portName, ContainerPort: port.Port, HostPort: port.Port, Protocol: port.Protocol}},
			Env: []corev1.EnvVar{
				{Name: "SRC_PORT", Value: strconv.Itoa(int(port.Port))},
				{Name: "SRC_RANGES", Value: ranges},
				{Name: "DEST_PROTO", Value: string(port.Protocol)},
			},
			SecurityContext: &corev1.SecurityContext{Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}}},
		}
		if local {
			container.Env = append(container.Env,
				corev1.EnvVar{Name: "DEST_PORT", Value: strconv.Itoa(int(port.NodePort))},
				corev1.EnvVar{Name: "DEST_IPS", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "status.hostIPs"}}})
		} else {
			container.Env = append(container.Env,
				corev1.EnvVar{Name: "DEST_PORT", Value: strconv.Itoa(int(port.Port))},
				corev1.EnvVar{Name: "DEST_IPS", Value: strings.Join(service.Spec.ClusterIPs, ",")})
		}
		template.Containers = append(template.Containers, container)
	}
	return &appsv1.DaemonSet{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "DaemonSet"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: c.Namespace,
			Labels: map[string]string{nameLabel: service.Name, namespaceLabel: service.Namespace, selectorLabel: strconv.FormatBool(template.NodeSelector != nil)}},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name, nameLabel: labels[nameLabel], namespaceLabel: labels[namespaceLabel]}},
				Spec:       template,
			},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &one}},
		},
	}
}

// access is who may come, of which families, and the switches of the kernel with which a pod forwards these.
func access(service *corev1.Service) (ranges string, sysctls []corev1.Sysctl) {
	const anyone = "0.0.0.0/0"
	if ranges = strings.Join(service.Spec.LoadBalancerSourceRanges, ","); ranges == "" {
		ranges = anyone
	}
	for _, family := range service.Spec.IPFamilies {
		switch family {
		case corev1.IPv4Protocol:
			sysctls = append(sysctls, corev1.Sysctl{Name: "net.ipv4.ip_forward", Value: "1"})
		case corev1.IPv6Protocol:
			sysctls = append(sysctls, corev1.Sysctl{Name: "net.ipv6.conf.all.forwarding", Value: "1"})
			if ranges == anyone {
				ranges += ",::/0"
			}
		}
	}
	return ranges, sysctls
}

// ofFamilies are the addresses of a Service's families, in their order.
func ofFamilies(service *corev1.Service, all map[string]bool) []string {
	addresses := []string{}
	for _, family := range service.Spec.IPFamilies {
		var some []string
		for address := range all {
			if netutils.IsIPv6String(address) == (family == corev1.IPv6Protocol) {
				some = append(some, address)
			}
		}
		sort.Strings(some)
		addresses = append(addresses, some...)
	}
	return addresses
}

// selector limits the pods to labelled nodes as soon as any node is labelled.
func selector(service *corev1.Service, nodes []corev1.Node) map[string]string {
	for _, node := range nodes {
		if node.Labels[enableLabel] == "true" {
			chosen := map[string]string{enableLabel: "true"}
			if pool := service.Labels[poolLabel]; pool != "" {
				chosen[poolLabel] = pool
			}
			return chosen
		}
	}
	return nil
}

// status lists the addresses of the nodes whose pod is ready: the external ones if any node has one.
func (c *Controller) status(ctx context.Context, service *corev1.Service, nodes []corev1.Node) error {
	pods, err := c.Clients.Typed.CoreV1().Pods(c.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: nameLabel + "=" + service.Name + "," + namespaceLabel + "=" + service.Namespace})
	if err != nil {
		return err
	}
	local, err := c.localNodes(ctx, service)
	if err != nil {
		return err
	}
	internal, external := map[string]bool{}, map[string]bool{}
	for _, pod := range pods.Items {
		if !ready(&pod) || local != nil && !local[pod.Spec.NodeName] {
			continue
		}
		for _, node := range nodes {
			if node.Name != pod.Spec.NodeName {
				continue
			}
			for _, address := range node.Status.Addresses {
				switch address.Type {
				case corev1.NodeExternalIP:
					external[address.Address] = true
				case corev1.NodeInternalIP:
					internal[address.Address] = true
				}
			}
		}
	}
	if len(external) > 0 {
		internal = external
	}
	addresses := ofFamilies(service, internal)
	var ingress []corev1.LoadBalancerIngress
	mode := corev1.LoadBalancerIPModeVIP
	for _, address := range addresses {
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: address, IPMode: &mode})
	}
	if reflect.DeepEqual(service.Status.LoadBalancer.Ingress, ingress) {
		return nil
	}
	updated := service.DeepCopy()
	updated.Status.LoadBalancer.Ingress = ingress
	if _, err := c.Clients.Typed.CoreV1().Services(service.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return err
	}
	about := corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name, UID: service.UID}
	if len(addresses) == 0 {
		c.Clients.Event(ctx, about, corev1.EventTypeWarning, "UnAvailableLoadBalancer", "There are no available nodes for LoadBalancer", "service-controller")
	} else {
		c.Clients.Event(ctx, about, corev1.EventTypeNormal, "UpdatedLoadBalancer", fmt.Sprintf("Updated LoadBalancer with new IPs: %v", addresses), "service-controller")
	}
	return nil
}

// localNodes are those with a ready endpoint, where only such may be listed; nil is no limit.
func (c *Controller) localNodes(ctx context.Context, service *corev1.Service) (map[string]bool, error) {
	if service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil, nil
	}
	slices, err := c.Clients.Typed.DiscoveryV1().EndpointSlices(service.Namespace).List(ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=" + service.Name})
	if err != nil {
		return nil, err
	}
	nodes := map[string]bool{}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.NodeName != nil && endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
				nodes[*endpoint.NodeName] = true
			}
		}
	}
	return nodes, nil
}

func ready(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}
