#!/bin/sh
# Copyright (c) flyte.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Make this host a Kubernetes of one node from upstream's programs in /opt/kubernetes/bin: one systemd unit a component.
# usage: up.sh ADDRESS-OF-THE-HOST VERSION-OF-THE-PAUSE-IMAGE
set -eu
address=$1
pause=$2
node=$(hostname)
bin=/opt/kubernetes/bin
pki=/etc/kubernetes/pki
services=10.96.0.0/16
pods=10.244.0.0/16
mkdir -p $pki /etc/cni/net.d /etc/containerd /var/lib/kine

authority() { # file, name
	[ -e "$pki/$1.key" ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
		-addext keyUsage=critical,keyCertSign,cRLSign -keyout "$pki/$1.key" -out "$pki/$1.crt" -subj "/CN=$2" 2>/dev/null
}

leaf() { # file, subject, alternative names
	[ -e "$pki/$1.crt" ] && return
	openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$pki/$1.key" -out "$pki/$1.csr" \
		-subj "$2" 2>/dev/null
	printf 'extendedKeyUsage=clientAuth,serverAuth\nauthorityKeyIdentifier=keyid\nsubjectAltName=%s\n' "${3:-DNS:$1}" >"$pki/$1.ext"
	openssl x509 -req -in "$pki/$1.csr" -CA $pki/ca.crt -CAkey $pki/ca.key -CAcreateserial -days 30 \
		-extfile "$pki/$1.ext" -out "$pki/$1.crt" 2>/dev/null
}

kubeconfig() { # file, user's certificate
	$bin/kubectl config --kubeconfig="/etc/kubernetes/$1.conf" set-cluster kubernetes --embed-certs \
		--certificate-authority=$pki/ca.crt --server="https://$address:6443" >/dev/null
	$bin/kubectl config --kubeconfig="/etc/kubernetes/$1.conf" set-credentials "$2" --embed-certs \
		--client-certificate="$pki/$2.crt" --client-key="$pki/$2.key" >/dev/null
	$bin/kubectl config --kubeconfig="/etc/kubernetes/$1.conf" set-context kubernetes --cluster=kubernetes \
		--user="$2" >/dev/null
	$bin/kubectl config --kubeconfig="/etc/kubernetes/$1.conf" use-context kubernetes >/dev/null
}

unit() { # name, command line
	printf '[Unit]\nDescription=%s\nAfter=network-online.target\n[Service]\nExecStart=%s\nRestart=always\nRestartSec=2\n' \
		"$1" "$2" >"/etc/systemd/system/$1.service"
	printf 'KillMode=process\nDelegate=yes\nEnvironment=PATH=%s:/usr/sbin:/usr/bin:/sbin:/bin\n[Install]\nWantedBy=multi-user.target\n' \
		"$bin" >>"/etc/systemd/system/$1.service"
}

authority ca kubernetes-ca
[ -e $pki/sa.key ] || openssl genrsa -out $pki/sa.key 2048 2>/dev/null
leaf apiserver /CN=kube-apiserver "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:10.96.0.1,IP:$address"
leaf apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet
leaf admin /O=system:masters/CN=admin
leaf controller-manager /CN=system:kube-controller-manager
leaf scheduler /CN=system:kube-scheduler
leaf proxy /CN=system:kube-proxy
leaf kubelet "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$address"
for user in admin controller-manager scheduler proxy kubelet; do kubeconfig $user $user; done

# The sandbox runs without the right to lower oom_score_adj, hence restrict_oom_score_adj.
cat >/etc/containerd/config.toml <<TOML
version = 3
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["$bin"]
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
  BinaryName = "$bin/runc"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "$pause"
TOML
cat >/etc/cni/net.d/10-bridge.conflist <<JSON
{"name": "bridge", "cniVersion": "1.0.0", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "ipMasq": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
cat >/etc/kubernetes/kubelet.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
resolvConf: /etc/resolv.conf
# The disk is the machine's, and images that were imported cannot be pulled again.
evictionHard: {nodefs.available: 1Gi, imagefs.available: 1Gi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet.crt
tlsPrivateKeyFile: $pki/kubelet.key
YAML
sysctl -q -w net.ipv4.ip_forward=1

unit containerd "$bin/containerd --config /etc/containerd/config.toml"
unit kine "$bin/kine --endpoint=sqlite:///var/lib/kine/state.db?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate --listen-address=unix:///run/kine.sock --metrics-bind-address=0"
unit kube-apiserver "$bin/kube-apiserver --advertise-address=$address --allow-privileged=true --authorization-mode=Node,RBAC --client-ca-file=$pki/ca.crt --enable-admission-plugins=NodeRestriction --etcd-servers=unix:///run/kine.sock --kubelet-certificate-authority=$pki/ca.crt --kubelet-client-certificate=$pki/apiserver-kubelet.crt --kubelet-client-key=$pki/apiserver-kubelet.key --kubelet-preferred-address-types=InternalIP --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=$pki/sa.key --service-account-signing-key-file=$pki/sa.key --service-cluster-ip-range=$services --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key"
unit kube-controller-manager "$bin/kube-controller-manager --kubeconfig=/etc/kubernetes/controller-manager.conf --authentication-kubeconfig=/etc/kubernetes/controller-manager.conf --authorization-kubeconfig=/etc/kubernetes/controller-manager.conf --allocate-node-cidrs=true --cluster-cidr=$pods --service-cluster-ip-range=$services --leader-elect=false --root-ca-file=$pki/ca.crt --service-account-private-key-file=$pki/sa.key --use-service-account-credentials=true"
unit kube-scheduler "$bin/kube-scheduler --kubeconfig=/etc/kubernetes/scheduler.conf --authentication-kubeconfig=/etc/kubernetes/scheduler.conf --authorization-kubeconfig=/etc/kubernetes/scheduler.conf --leader-elect=false"
unit kubelet "$bin/kubelet --config=/etc/kubernetes/kubelet.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --hostname-override=$node --node-ip=$address"
unit kube-proxy "$bin/kube-proxy --kubeconfig=/etc/kubernetes/proxy.conf --cluster-cidr=$pods --hostname-override=$node --proxy-mode=iptables --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s"
systemctl daemon-reload
systemctl enable --quiet --now containerd kine
until [ -S /run/kine.sock ] && $bin/ctr version >/dev/null 2>&1; do sleep 0.2; done
systemctl enable --quiet --now kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy
for image in /opt/kubernetes/images/*.tar; do $bin/ctr -n k8s.io images import --local "$image" >/dev/null; done
export KUBECONFIG=/etc/kubernetes/admin.conf
until $bin/kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.5; done
until $bin/kubectl get node "$node" >/dev/null 2>&1; do sleep 0.5; done
$bin/kubectl wait --for=condition=Ready "node/$node" --timeout=300s >/dev/null
$bin/kubectl apply -f /opt/kubernetes/manifests >/dev/null
$bin/kubectl -n kube-system rollout status deployment/coredns --timeout=300s >/dev/null
