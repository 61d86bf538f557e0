// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package access is how a node reaches the supervisor of a server with a token
// (K3S.md section 4, after k3s-io/k3s pkg/clientaccess/token.go, with its messages).
package access

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/logs"
)

const (
	prefix     = "K10"
	hashLength = 64
	timeout    = 15 * time.Second
)

// bootstrapToken is the form that only "k3s token create" makes.
var bootstrapToken = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)

// Token is what a token says: the CA's hash (empty in the short form), a user and a password.
type Token struct{ Hash, User, Password string }

// Parse reads a token; user is what the short form means.
func Parse(text, user string) (Token, error) {
	if text == "" {
		return Token{}, errors.New("token must not be empty")
	}
	if bootstrapToken.MatchString(text) {
		return Token{}, errors.New("stand-in: bootstrap tokens are not implemented")
	}
	if !strings.HasPrefix(text, prefix) {
		return Token{User: user, Password: text}, nil
	}
	hash, credentials, found := strings.Cut(strings.TrimPrefix(text, prefix), "::")
	if !found {
		return Token{}, errors.New("invalid token format")
	}
	if len(hash) != hashLength {
		return Token{}, errors.New("invalid token CA hash length")
	}
	name, password, both := strings.Cut(credentials, ":")
	if !both && bootstrapToken.MatchString(credentials) {
		return Token{}, errors.New("stand-in: bootstrap tokens are not implemented")
	}
	if !both || name == "" || password == "" {
		return Token{}, errors.New("invalid token format")
	}
	return Token{Hash: hash, User: name, Password: password}, nil
}

// Password is the password alone, of either form: what two tokens are compared by.
func Password(text string) (string, error) {
	if !strings.HasPrefix(text, prefix) {
		return text, nil
	}
	token, err := Parse(text, "")
	if err != nil {
		return "", errors.New("failed to normalize token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
	}
	return token.Password, nil
}

// Info is a server that was found to be the right one, and what to show it.
type Info struct {
	Base   string
	CA     []byte
	token  Token
	client *http.Client
}

// Validate asks a server for its CA and compares it with the token. A certificate, where there is one, is shown besides.
func Validate(server string, token Token, certificate *tls.Certificate) (*Info, error) {
	address, err := url.Parse(server)
	if err != nil {
		return nil, fmt.Errorf("Invalid server url, failed to parse: %s", server)
	}
	if address.Scheme != "https" {
		return nil, fmt.Errorf("only https:// URLs are supported, invalid scheme: %s", address.Scheme)
	}
	base := strings.TrimSuffix(address.String(), "/")
	known, err := fetch(client(nil, false, nil), base+"/cacerts")
	if err == nil {
		if token.Hash != "" {
			logs.Warnf("Cluster CA certificate is trusted by the host CA bundle. Token CA hash will not be validated.")
		}
		return &Info{Base: base, CA: known, token: token, client: client(nil, false, certificate)}, nil
	}
	if known, err = fetch(client(nil, true, nil), base+"/cacerts"); err != nil {
		return nil, fmt.Errorf("failed to get CA certs: %w", err)
	}
	if token.Hash == "" {
		logs.Warnf("Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. Use the full token from the server's node-token file to enable Cluster CA validation.")
	} else if found := Hash(known); found != token.Hash {
		return nil, fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", token.Hash, found)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(known)
	if _, err := fetch(client(pool, false, nil), base+"/cacerts"); err != nil {
		return nil, fmt.Errorf("CA cert validation failed: %w", err)
	}
	return &Info{Base: base, CA: known, token: token, client: client(pool, false, certificate)}, nil
}

// Hash is the CA hash of a token: over the text as served where it is one certificate, else over the root's DER.
func Hash(certificates []byte) string {
	var last *pem.Block
	count := 0
	for rest := certificates; ; count++ {
		block, remaining := pem.Decode(rest)
		if block == nil {
			break
		}
		last, rest = block, remaining
	}
	content := certificates
	if count > 1 {
		content = last.Bytes
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func client(roots *x509.CertPool, insecure bool, certificate *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: roots, InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.Certificates = []tls.Certificate{*certificate}
	}
	return &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
}

func fetch(client *http.Client, address string) ([]byte, error) {
	response, err := client.Get(address)
	if err != nil {
		return nil, err
	}
	return body(response, address)
}

func body(response *http.Response, address string) ([]byte, error) {
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return content, &StatusError{Address: address, Status: response.Status, Code: response.StatusCode, Body: strings.TrimSpace(string(content))}
	}
	return content, nil
}

// StatusError is an answer that is no success.
type StatusError struct {
	Address, Status, Body string
	Code                  int
}

func (e *StatusError) Error() string { return e.Address + ": " + e.Status }

// Get asks the supervisor for a path.
func (i *Info) Get(path string) ([]byte, error) {
	return i.Do(http.MethodGet, path, nil, nil)
}

// Do sends a request with the token.
func (i *Info) Do(method, path string, content []byte, header http.Header) ([]byte, error) {
	request, err := http.NewRequest(method, i.Base+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if i.token.Password != "" {
		request.SetBasicAuth(i.token.User, i.token.Password)
	}
	response, err := i.client.Do(request)
	if err != nil {
		return nil, err
	}
	return body(response, i.Base+path)
}
