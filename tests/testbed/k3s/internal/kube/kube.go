// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package kube is the connection to the apiserver that the controllers share.
package kube

import (
	"context"
	"encoding/json"
	"time"

	"flyte.onprem/testbed/k3s/internal/logs"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"
)

// Clients bundles typed and untyped access.
type Clients struct {
	Typed   *kubernetes.Clientset
	Dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
}

// Connect reads a kubeconfig.
func Connect(kubeconfig string) (*Clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 50, 100
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	client, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Clients{typed, untyped, restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client))}, nil
}

// Config is a kubeconfig of one cluster, user and context.
func Config(cluster, user, context string, clusterFields, userFields map[string]any) []byte {
	content, _ := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": context, "preferences": map[string]any{},
		"clusters": []any{map[string]any{"name": cluster, "cluster": clusterFields}},
		"users":    []any{map[string]any{"name": user, "user": userFields}},
		"contexts": []any{map[string]any{"name": context, "context": map[string]any{"cluster": cluster, "user": user}}},
	})
	return content
}

// Resource finds where objects of a kind live; namespace is used where the kind has namespaces.
func (c *Clients) Resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, bool, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		// A definition may have come since the last look.
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, false, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return c.Dynamic.Resource(mapping.Resource).Namespace(namespace), true, nil
	}
	return c.Dynamic.Resource(mapping.Resource), false, nil
}

// Apply brings an object to the given state by server-side apply.
func (c *Clients) Apply(ctx context.Context, object *unstructured.Unstructured, manager string) error {
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	resource, namespaced, err := c.Resource(object.GroupVersionKind(), namespace)
	if err != nil {
		return err
	}
	if namespaced {
		object.SetNamespace(namespace)
	}
	content, err := json.Marshal(object)
	if err != nil {
		return err
	}
	force := true
	_, err = resource.Patch(ctx, object.GetName(), "application/apply-patch+yaml", content,
		metav1.PatchOptions{FieldManager: manager, Force: &force})
	return err
}

// Event records something on an object, under the name of the controller that says it.
func (c *Clients) Event(ctx context.Context, about corev1.ObjectReference, kind, reason, message, source string) {
	now := metav1.NewTime(time.Now())
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{GenerateName: about.Name + ".", Namespace: namespace},
		InvolvedObject: about, Reason: reason, Message: message, Type: kind,
		Source: corev1.EventSource{Component: source}, FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	if _, err := c.Typed.CoreV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		logs.Debugf("Failed to record event %s: %v", reason, err)
	}
}

// Reference points at an object for Event.
func Reference(object *unstructured.Unstructured) corev1.ObjectReference {
	return corev1.ObjectReference{APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(),
		Name: object.GetName(), UID: object.GetUID(), ResourceVersion: object.GetResourceVersion()}
}

// Loop calls reconcile at once, whenever one of the resources changes, and at each interval. Errors are logged and
// tried again with the next turn: every controller here looks at the whole state each time.
func (c *Clients) Loop(ctx context.Context, name string, interval time.Duration, reconcile func(context.Context) error, watched ...schema.GroupVersionResource) {
	changed := make(chan struct{}, 1)
	for _, resource := range watched {
		go c.watch(ctx, resource, changed)
	}
	timer := time.NewTicker(interval)
	defer timer.Stop()
	retry := make(<-chan time.Time)
	for {
		if err := reconcile(ctx); err != nil && ctx.Err() == nil {
			logs.Errorf("%s: %v", name, err)
			retry = time.After(5 * time.Second)
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
			// Changes come in flocks; one look for all of them.
			time.Sleep(200 * time.Millisecond)
		case <-timer.C:
		case <-retry:
		}
	}
}

func (c *Clients) watch(ctx context.Context, resource schema.GroupVersionResource, changed chan<- struct{}) {
	for ctx.Err() == nil {
		list, err := c.Dynamic.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
		if err == nil {
			signal(changed)
			watcher, err := c.Dynamic.Resource(resource).Watch(ctx, metav1.ListOptions{ResourceVersion: list.GetResourceVersion()})
			if err == nil {
				for range watcher.ResultChan() {
					signal(changed)
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func signal(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default:
	}
}
