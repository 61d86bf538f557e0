// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package access

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func serve(t *testing.T) (*httptest.Server, string) {
	t.Helper()
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/cacerts" {
			_, _ = response.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
			return
		}
		if user, password, _ := request.BasicAuth(); user != "node" || password != "secret" {
			http.Error(response, "not authorized", http.StatusUnauthorized)
			return
		}
		fmt.Fprint(response, "hello")
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	return server, Hash(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

func TestAFullTokenIsComparedWithTheCA(t *testing.T) {
	server, hash := serve(t)
	token, err := Parse("K10"+hash+"::node:secret", "server")
	if err != nil {
		t.Fatal(err)
	}
	info, err := Validate(server.URL, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if content, err := info.Get("/x"); err != nil || string(content) != "hello" {
		t.Errorf("got %q, %v", content, err)
	}
	token.Hash = strings.Repeat("0", 64)
	if _, err := Validate(server.URL, token, nil); err == nil || !strings.HasPrefix(err.Error(), "token CA hash does not match the Cluster CA certificate hash: ") {
		t.Errorf("got %v", err)
	}
}

func TestAWrongPasswordIsTheServersAnswer(t *testing.T) {
	server, _ := serve(t)
	token, _ := Parse("wrong", "node")
	info, err := Validate(server.URL, token, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := info.Get("/v1-k3s/config"); err == nil || err.Error() != server.URL+"/v1-k3s/config: 401 Unauthorized" {
		t.Errorf("got %v", err)
	}
}

func TestMalformedTokensAndAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "token must not be empty",
		"K10abc::node:secret":                   "invalid token CA hash length",
		"K10" + strings.Repeat("a", 64):         "invalid token format",
		"K10" + strings.Repeat("a", 64) + "::x": "invalid token format",
		"abcdef.0123456789abcdef":               "stand-in: bootstrap tokens are not implemented",
	} {
		if _, err := Parse(text, "node"); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := Validate("http://127.0.0.1:1", Token{}, nil); err == nil || err.Error() != "only https:// URLs are supported, invalid scheme: http" {
		t.Errorf("got %v", err)
	}
}
