// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"

	"flyte.onprem/testbed/k3s/internal/certs"
)

// listen opens the port that supervisor and API share (K3S.md section 5). The real k3s hands a request to the apiserver
// inside one process; here it goes to the apiserver's own port by the API's way for such front ends: the certificate of the
// caller is checked here, and its names are passed in headers that count only with the auth-proxy's certificate.
func (c *Config) listen() (*http.Server, error) {
	certificate, err := tls.LoadX509KeyPair(c.server("tls", "serving-kube-apiserver.crt"), c.server("tls", "serving-kube-apiserver.key"))
	if err != nil {
		return nil, err
	}
	proxy, err := c.proxy()
	if err != nil {
		return nil, err
	}
	clients, err := certs.ReadPool(c.server("tls", "client-ca.crt"))
	if err != nil {
		return nil, err
	}
	c.joining = &joining{config: c, ca: clients, passwords: c.passwords()}
	mux := http.NewServeMux()
	mux.HandleFunc("/ping", func(response http.ResponseWriter, _ *http.Request) {
		response.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(response, "pong")
	})
	mux.HandleFunc("/cacerts", func(response http.ResponseWriter, _ *http.Request) {
		content, err := os.ReadFile(c.server("tls", "server-ca.crt"))
		if err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
			return
		}
		response.Header().Set("Content-Type", "text/plain")
		_, _ = response.Write(content)
	})
	mux.Handle("/static/", http.StripPrefix("/static/", http.FileServer(http.Dir(c.server("static")))))
	c.joining.handlers(mux)
	registry, err := c.Node.StartRegistry()
	if err != nil {
		return nil, fmt.Errorf("failed to start embedded registry: %w", err)
	}
	if registry != nil {
		mux.Handle("/v2/", registry)
	}
	mux.Handle("/", proxy)

	server := &http.Server{
		Handler:   mux,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12},
		// Broken connections of clients are no news.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(c.BindAddress, strconv.Itoa(c.Port)))
	if err != nil {
		return nil, err
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	return server, nil
}

func (c *Config) proxy() (http.Handler, error) {
	clientCA, err := certs.ReadPool(c.server("tls", "client-ca.crt"))
	if err != nil {
		return nil, err
	}
	serverCA, err := certs.ReadPool(c.server("tls", "server-ca.crt"))
	if err != nil {
		return nil, err
	}
	identity, err := tls.LoadX509KeyPair(c.server("tls", "client-auth-proxy.crt"), c.server("tls", "client-auth-proxy.key"))
	if err != nil {
		return nil, err
	}
	newTransport := func() *http.Transport {
		return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: serverCA, Certificates: []tls.Certificate{identity}, MinVersion: tls.VersionTLS12},
			MaxIdleConnsPerHost: 32, DisableCompression: true}
	}
	plain := newTransport()
	plain.ForceAttemptHTTP2 = true
	// exec, attach and port-forward upgrade the connection, which only HTTP/1.1 can.
	upgrading := newTransport()
	upgrading.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}

	target := &url.URL{Scheme: "https", Host: fmt.Sprintf("%s:%d", loopback, c.APIServerPort)}
	handler := func(transport http.RoundTripper) http.Handler {
		return &httputil.ReverseProxy{
			Transport:     transport,
			FlushInterval: -1,
			ErrorLog:      log.New(io.Discard, "", 0),
			Rewrite: func(request *httputil.ProxyRequest) {
				request.SetURL(target)
				request.Out.Host = request.In.Host
				request.SetXForwarded()
				setIdentity(request.Out.Header, request.In.TLS, clientCA)
			},
			ErrorHandler: unavailable,
		}
	}
	normal, upgrades := handler(plain), handler(upgrading)
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if strings.EqualFold(request.Header.Get("Connection"), "upgrade") || request.Header.Get("Upgrade") != "" {
			upgrades.ServeHTTP(response, request)
			return
		}
		normal.ServeHTTP(response, request)
	}), nil
}

// setIdentity replaces what the caller may have claimed by what its certificate proves.
func setIdentity(header http.Header, connection *tls.ConnectionState, clientCA *x509.CertPool) {
	for name := range header {
		if strings.HasPrefix(strings.ToLower(name), "x-remote-") {
			header.Del(name)
		}
	}
	if connection == nil || len(connection.PeerCertificates) == 0 {
		return
	}
	intermediates := x509.NewCertPool()
	for _, certificate := range connection.PeerCertificates[1:] {
		intermediates.AddCert(certificate)
	}
	leaf := connection.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: clientCA, Intermediates: intermediates,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return
	}
	header.Set("X-Remote-User", leaf.Subject.CommonName)
	for _, group := range leaf.Subject.Organization {
		header.Add("X-Remote-Group", group)
	}
}

func unavailable(response http.ResponseWriter, _ *http.Request, err error) {
	response.Header().Set("Content-Type", "application/json")
	response.Header().Set("Retry-After", "5")
	response.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(response).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": "apiserver not ready: " + err.Error(), "reason": "ServiceUnavailable", "code": http.StatusServiceUnavailable,
	})
}
