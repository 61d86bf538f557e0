// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/nodes"
	"golang.org/x/crypto/scrypt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Groups of callers; those of passwd, and that of a node's certificate (K3S.md sections 3a and 5).
const (
	agentRole  = "k3s:agent"
	serverRole = "k3s:server"
	nodesGroup = "system:nodes"
)

// joining answers nodes that join: k3s-io/k3s pkg/server/handlers/{router,handlers}.go, pkg/nodepassword.
type joining struct {
	config *Config
	// clients are there once the API answers.
	clients atomic.Pointer[kube.Clients]
	ca      *x509.CertPool
	// passwords are those that were there at the start: a rotated token counts from the next one on.
	passwords map[string]string
}

// caller is who sent a request.
type caller struct{ name, group string }

// handlers are the supervisor's paths for other nodes.
func (j *joining) handlers(mux *http.ServeMux) {
	file := func(parts ...string) http.HandlerFunc {
		return func(response http.ResponseWriter, request *http.Request) {
			http.ServeFile(response, request, j.config.server(parts...))
		}
	}
	// A server's token serves for agents as well: the file node-token holds it.
	agents := []string{agentRole, serverRole, nodesGroup}
	for path, handler := range map[string]http.HandlerFunc{
		"/v1-k3s/config":                    j.agentConfig,
		"/v1-k3s/readyz":                    j.readyz,
		"/v1-k3s/apiservers":                j.apiServers,
		"/v1-k3s/client-ca.crt":             file("tls", "client-ca.crt"),
		"/v1-k3s/server-ca.crt":             file("tls", "server-ca.crt"),
		"/v1-k3s/serving-kubelet.crt":       j.servingKubelet,
		"/v1-k3s/client-kubelet.crt":        j.clientKubelet,
		"/v1-k3s/client-kube-proxy.crt":     j.client("system:kube-proxy"),
		"/v1-k3s/client-k3s-controller.crt": j.client("system:k3s-controller"),
	} {
		mux.HandleFunc(path, j.only(handler, agents...))
	}
	mux.HandleFunc("/v1-k3s/server-bootstrap", j.only(j.bootstrap, serverRole))
	mux.HandleFunc("/v1-k3s/token", j.only(j.token, serverRole))
	mux.HandleFunc("/db/info", j.only(j.dbInfo, serverRole))
	mux.HandleFunc("/db/snapshot", j.only(j.snapshot, serverRole))
	for _, prefix := range []string{"/v1-k3s/", "/db/"} {
		mux.HandleFunc(prefix, func(response http.ResponseWriter, request *http.Request) {
			http.Error(response, "stand-in: "+request.URL.Path+" is not implemented", http.StatusNotImplemented)
		})
	}
}

type callerKey struct{}

// only lets callers of these groups through.
func (j *joining) only(handler http.HandlerFunc, groups ...string) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		who, err := j.authenticate(request)
		if err != nil {
			logs.Errorf("Failed to authenticate request from %s: %v", request.RemoteAddr, err)
			http.Error(response, "not authorized", http.StatusUnauthorized)
			return
		}
		if !slices.Contains(groups, who.group) {
			http.Error(response, "forbidden", http.StatusForbidden)
			return
		}
		handler(response, request.WithContext(context.WithValue(request.Context(), callerKey{}, who)))
	}
}

func (j *joining) authenticate(request *http.Request) (caller, error) {
	if request.TLS != nil && len(request.TLS.PeerCertificates) > 0 {
		leaf := request.TLS.PeerCertificates[0]
		_, err := leaf.Verify(x509.VerifyOptions{Roots: j.ca, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err == nil && slices.Contains(leaf.Subject.Organization, nodesGroup) {
			return caller{leaf.Subject.CommonName, nodesGroup}, nil
		}
	}
	user, password, given := request.BasicAuth()
	if !given {
		return caller{}, errors.New("no credentials")
	}
	known, exists := j.passwords[user]
	if !exists || subtle.ConstantTimeCompare([]byte(known), []byte(password)) != 1 {
		return caller{}, errors.New("invalid username/password combination")
	}
	return caller{user, map[string]string{"node": agentRole, "server": serverRole}[user]}, nil
}

func (j *joining) readyz(response http.ResponseWriter, _ *http.Request) {
	if j.clients.Load() == nil {
		http.Error(response, "runtime core not ready", http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(response, "ok")
}

func (j *joining) agentConfig(response http.ResponseWriter, _ *http.Request) {
	sendJSON(response, j.config.shared())
}

func sendJSON(response http.ResponseWriter, content any) {
	response.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(response).Encode(content)
}

// apiServers lists where the API is served, as the endpoints of its Service say.
func (j *joining) apiServers(response http.ResponseWriter, request *http.Request) {
	addresses := []string{}
	if clients := j.clients.Load(); clients != nil {
		slice, err := clients.Typed.DiscoveryV1().EndpointSlices(metav1.NamespaceDefault).Get(request.Context(), "kubernetes", metav1.GetOptions{})
		if err == nil && len(slice.Ports) == 1 {
			for _, endpoint := range slice.Endpoints {
				for _, address := range endpoint.Addresses {
					addresses = append(addresses, net.JoinHostPort(address, strconv.Itoa(int(*slice.Ports[0].Port))))
				}
			}
		}
	}
	sendJSON(response, addresses)
}

func (j *joining) client(name string) http.HandlerFunc {
	return func(response http.ResponseWriter, request *http.Request) {
		j.sign(response, request, "client-ca", certs.Leaf{CommonName: name, Client: true})
	}
}

func (j *joining) clientKubelet(response http.ResponseWriter, request *http.Request) {
	if name, ok := j.node(response, request); ok {
		j.sign(response, request, "client-ca", certs.Leaf{CommonName: "system:node:" + name, Organization: []string{nodesGroup}, Client: true})
	}
}

func (j *joining) servingKubelet(response http.ResponseWriter, request *http.Request) {
	name, ok := j.node(response, request)
	if !ok {
		return
	}
	names := []string{name, "localhost", loopback}
	for _, address := range strings.Split(request.Header.Get(agent.HeaderIP), ",") {
		if address != "" {
			names = append(names, address)
		}
	}
	j.sign(response, request, "server-ca", certs.Leaf{CommonName: name, Names: names, Server: true})
}

// sign answers a request for a certificate in the body of a POST.
func (j *joining) sign(response http.ResponseWriter, request *http.Request, authority string, leaf certs.Leaf) {
	if request.Method != http.MethodPost {
		http.Error(response, "stand-in: only requests that bring a certificate request are implemented", http.StatusNotImplemented)
		return
	}
	content, err := io.ReadAll(io.LimitReader(request.Body, 1<<16))
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	wanted, err := x509.ParseCertificateRequest(content)
	if err == nil {
		err = wanted.CheckSignature()
	}
	if err != nil {
		http.Error(response, err.Error(), http.StatusBadRequest)
		return
	}
	signer, err := certs.EnsureAuthority(j.config.server("tls", authority), "")
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	chain, err := signer.Sign(wanted.PublicKey, leaf)
	if err != nil {
		http.Error(response, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = response.Write(chain)
}

// node proves the caller's node name: by its certificate as long as the Node exists, else by the node's password.
func (j *joining) node(response http.ResponseWriter, request *http.Request) (string, bool) {
	fail := func(code int, format string, arguments ...any) (string, bool) {
		err := fmt.Errorf(format, arguments...)
		logs.Errorf("Sending HTTP %d response to %s: %v", code, request.RemoteAddr, err)
		http.Error(response, err.Error(), code)
		return "", false
	}
	name, password := request.Header.Get(agent.HeaderName), request.Header.Get(agent.HeaderPassword)
	if name == "" {
		return fail(http.StatusBadRequest, "node name not set")
	}
	if password == "" {
		return fail(http.StatusBadRequest, "node password not set")
	}
	clients := j.clients.Load()
	if clients == nil {
		return fail(http.StatusServiceUnavailable, "runtime core not ready")
	}
	if who := request.Context().Value(callerKey{}).(caller); who.group == nodesGroup {
		if who.name != "system:node:"+name {
			return fail(http.StatusBadRequest, "header node name does not match auth node name")
		}
		_, err := clients.Typed.CoreV1().Nodes().Get(request.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return fail(http.StatusUnauthorized, "unable to verify nodename: %w", err)
		}
		if err != nil {
			return fail(http.StatusInternalServerError, "%w", err)
		}
	}
	if err := ensureNodePassword(request.Context(), clients, name, password); err != nil {
		return fail(http.StatusForbidden, "unable to verify password for node %s: %w", name, err)
	}
	return name, true
}

// ensureNodePassword compares a node's password with its Secret, which the first to come makes.
func ensureNodePassword(ctx context.Context, clients *kube.Clients, node, password string) error {
	secrets := clients.Typed.CoreV1().Secrets(metav1.NamespaceSystem)
	name := nodes.PasswordSecret(node)
	for {
		found, err := secrets.Get(ctx, name, metav1.GetOptions{})
		if err == nil {
			if hash, ok := found.Data["hash"]; !ok || !matches(password, string(hash)) {
				return errors.New("hash does not match")
			}
			return nil
		}
		if !apierrors.IsNotFound(err) {
			return err
		}
		hash, err := hashOf(password)
		if err != nil {
			return err
		}
		immutable := true
		_, err = secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, Immutable: &immutable,
			Data: map[string][]byte{"hash": []byte(hash)}}, metav1.CreateOptions{})
		if err == nil || !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
}

func derive(password string, salt []byte) (string, error) {
	key, err := scrypt.Key([]byte(password), salt, 1<<15, 8, 1, 32)
	return hex.EncodeToString(key), err
}

func hashOf(password string) (string, error) {
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	key, err := derive(password, salt)
	return hex.EncodeToString(salt) + ":" + key, err
}

func matches(password, hash string) bool {
	text, key, _ := strings.Cut(hash, ":")
	salt, err := hex.DecodeString(text)
	if err != nil {
		return false
	}
	derived, err := derive(password, salt)
	return err == nil && subtle.ConstantTimeCompare([]byte(derived), []byte(key)) == 1
}
