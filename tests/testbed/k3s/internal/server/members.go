// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// What a Node tells of its etcd member (K3S.md section 6; k3s-io/k3s pkg/etcd/{member_controller,metadata_controller}.go).
const (
	etcdLabel         = "node-role.kubernetes.io/etcd"
	etcdNodeName      = "etcd.k3s.cattle.io/node-name"
	etcdNodeAddress   = "etcd.k3s.cattle.io/node-address"
	etcdRemove        = "etcd.k3s.cattle.io/remove"
	etcdRemovedName   = "etcd.k3s.cattle.io/removed-node-name"
	memberFinalizer   = "wrangler.cattle.io/managed-etcd-controller"
	voterCondition    = corev1.NodeConditionType("EtcdIsVoter")
	conditionInterval = 5 * time.Minute
)

// keepMembers follows the Nodes: this one gets its marks, the member of a deleted one goes.
func (e *etcd) keepMembers(ctx context.Context, clients *kube.Clients) {
	clients.Loop(ctx, "managed-etcd-controller", manageInterval, func(ctx context.Context) error {
		nodes, err := clients.Typed.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: "node-role.kubernetes.io/control-plane"})
		if err != nil {
			return err
		}
		for index := range nodes.Items {
			node := &nodes.Items[index]
			if node.Name == e.config.NodeName {
				if err := e.mark(ctx, clients, node); err != nil {
					return err
				}
				continue
			}
			if err := e.follow(ctx, clients, node); err != nil {
				return err
			}
		}
		return nil
	}, schema.GroupVersionResource{Version: "v1", Resource: "nodes"})
}

func (e *etcd) mark(ctx context.Context, clients *kube.Clients, node *corev1.Node) error {
	if node.DeletionTimestamp == nil && (node.Annotations[etcdNodeName] != e.name || node.Annotations[etcdNodeAddress] != e.config.nodeIP() ||
		node.Labels[etcdLabel] != "true" || !slices.Contains(node.Finalizers, memberFinalizer)) {
		finalizers := node.Finalizers
		if !slices.Contains(finalizers, memberFinalizer) {
			finalizers = append(finalizers, memberFinalizer)
		}
		if err := patch(ctx, clients, node.Name, map[string]any{"finalizers": finalizers, "labels": map[string]any{etcdLabel: "true"},
			"annotations": map[string]any{etcdNodeName: e.name, etcdNodeAddress: e.config.nodeIP()}}); err != nil {
			return err
		}
	}
	return e.condition(ctx, clients, node)
}

func patch(ctx context.Context, clients *kube.Clients, node string, metadata map[string]any) error {
	content, _ := json.Marshal(map[string]any{"metadata": metadata})
	_, err := clients.Typed.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, content, metav1.PatchOptions{})
	return err
}

// condition says on the Node whether its member votes.
func (e *etcd) condition(ctx context.Context, clients *kube.Clients, node *corev1.Node) error {
	wanted := corev1.NodeCondition{Type: voterCondition, Status: corev1.ConditionTrue, Reason: "MemberNotLearner",
		Message: "Node is a voting member of the etcd cluster", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if status, err := e.client.Status(limited, etcdEndpoint); err != nil {
		wanted.Status, wanted.Reason, wanted.Message = corev1.ConditionFalse, "Unhealthy", err.Error()
	} else if status.IsLearner {
		wanted.Status, wanted.Reason, wanted.Message = corev1.ConditionFalse, "MemberIsLearner", "Node has not been promoted to voting member of the etcd cluster"
	} else if e.removed.Load() {
		wanted.Status, wanted.Reason, wanted.Message = corev1.ConditionFalse, "NotAMember", "Node is not a member of the etcd cluster"
	}
	for _, current := range node.Status.Conditions {
		if current.Type != voterCondition || current.Status != wanted.Status || current.Reason != wanted.Reason {
			continue
		}
		if time.Since(current.LastHeartbeatTime.Time) < conditionInterval {
			return nil
		}
		wanted.LastTransitionTime = current.LastTransitionTime
	}
	content, _ := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{wanted}}})
	_, err := clients.Typed.CoreV1().Nodes().Patch(ctx, node.Name, types.StrategicMergePatchType, content, metav1.PatchOptions{}, "status")
	return err
}

// follow removes the member of a Node that is deleted, or that asks for it.
func (e *etcd) follow(ctx context.Context, clients *kube.Clients, node *corev1.Node) error {
	name, address := node.Annotations[etcdNodeName], node.Annotations[etcdNodeAddress]
	deleted := node.DeletionTimestamp != nil && slices.Contains(node.Finalizers, memberFinalizer)
	asked := node.Annotations[etcdRemove] == "true" && node.Annotations[etcdRemovedName] != name
	if !deleted && !asked || name == "" {
		return nil
	}
	if err := e.remove(ctx, name, address); err != nil {
		return err
	}
	if asked {
		return patch(ctx, clients, node.Name, map[string]any{"annotations": map[string]any{etcdRemovedName: name}})
	}
	logs.Infof("Removed etcd member of deleted node %s", node.Name)
	finalizers := slices.DeleteFunc(slices.Clone(node.Finalizers), func(one string) bool { return one == memberFinalizer })
	err := patch(ctx, clients, node.Name, map[string]any{"finalizers": finalizers, "resourceVersion": node.ResourceVersion})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
