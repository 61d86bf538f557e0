// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package spegel

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flyte.onprem/testbed/k3s/internal/certs"
)

const (
	image    = "registry.example/team/tool:1"
	tagPath  = "/v2/team/tool/manifests/1?ns=registry.example"
	manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`
	layer    = "bytes of a layer"
)

var digest = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(layer)))

// node is one of the cluster in a test: an address of this machine with both ports.
type node struct {
	*Registry
	front, back net.Listener
}

// cluster is two nodes, the second of which has the image.
type cluster struct {
	t                  *testing.T
	clientCA, serverCA *certs.Authority
	asking, having     *node
	containerd         *http.Client
	strangers          map[string]*http.Client
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, clientCA: authority(t, "client"), serverCA: authority(t, "server")}
	identity := c.leaf(c.clientCA, certs.Leaf{CommonName: "system:k3s-controller", Client: true})
	c.containerd = c.client(identity)
	c.strangers = map[string]*http.Client{
		"no certificate": c.client(),
		"another CA":     c.client(c.leaf(authority(t, "foreign"), certs.Leaf{CommonName: "system:k3s-controller", Client: true})),
		"no client's":    c.client(c.leaf(c.clientCA, certs.Leaf{CommonName: "system:k3s-controller", Server: true})),
	}
	c.asking = c.node("127.0.0.1", 0)
	c.having = c.node("127.0.0.2", c.asking.Port)
	c.asking.Peers = func(context.Context) ([]string, error) { return []string{c.having.back.Addr().String()}, nil }
	c.having.Peers = func(context.Context) ([]string, error) { return []string{c.asking.back.Addr().String()}, nil }
	manifestDigest := c.having.store(t, manifest)
	c.having.store(t, layer)
	c.having.Resolve = func(_ context.Context, name string) (string, error) {
		if name == image || name == "registry.example/team/tool:latest" {
			return manifestDigest, nil
		}
		return "", fs.ErrNotExist
	}
	return c
}

func authority(t *testing.T, name string) *certs.Authority {
	t.Helper()
	made, err := certs.EnsureAuthority(filepath.Join(t.TempDir(), name), name)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (c *cluster) leaf(authority *certs.Authority, leaf certs.Leaf) tls.Certificate {
	c.t.Helper()
	leaf.File = filepath.Join(c.t.TempDir(), "leaf")
	if err := authority.Ensure(leaf); err != nil {
		c.t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(leaf.File+".crt", leaf.File+".key")
	if err != nil {
		c.t.Fatal(err)
	}
	return pair
}

func (c *cluster) client(certificates ...tls.Certificate) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.serverCA.Pool(), Certificates: certificates}}}
}

func (c *cluster) node(address string, port int) *node {
	c.t.Helper()
	serving := c.leaf(c.serverCA, certs.Leaf{CommonName: "node", Names: []string{address}, Server: true})
	made := &node{Registry: &Registry{Hosts: []string{"registry.example"}, Blobs: c.t.TempDir(), Callers: c.clientCA.Pool(),
		Client: c.containerd, Resolve: func(context.Context, string) (string, error) { return "", fs.ErrNotExist }}}
	made.front = c.listen(address, port, serving, made.Handler())
	made.back = c.listen(address, 0, serving, made.PeerHandler())
	made.Port = made.front.Addr().(*net.TCPAddr).Port
	return made
}

func (c *cluster) listen(address string, port int, certificate tls.Certificate, handler http.Handler) net.Listener {
	c.t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", address, port))
	if err != nil {
		c.t.Fatal(err)
	}
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	c.t.Cleanup(func() { server.Close() })
	return listener
}

// store puts something into the node's containerd.
func (n *node) store(t *testing.T, content string) string {
	t.Helper()
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(content)))
	if err := os.MkdirAll(filepath.Join(n.Blobs, "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.Blobs, "sha256", hash), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return "sha256:" + hash
}

// ask is a request to the asking node as its containerd makes it.
func (c *cluster) ask(method, uri string, header http.Header) (*http.Response, string) {
	c.t.Helper()
	return c.send(c.containerd, method, c.asking.front, uri, header)
}

func (c *cluster) send(client *http.Client, method string, to net.Listener, uri string, header http.Header) (*http.Response, string) {
	c.t.Helper()
	request, err := http.NewRequest(method, "https://"+to.Addr().String()+uri, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	request.Header = header
	answer, err := client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer, string(content)
}

func (c *cluster) expect(method, uri string, code int) {
	c.t.Helper()
	if answer, content := c.ask(method, uri, nil); answer.StatusCode != code {
		c.t.Errorf("%s %s: %d %s, expected %d", method, uri, answer.StatusCode, content, code)
	}
}

func TestAManifestComesFromThePeerThatHasIt(t *testing.T) {
	answer, content := newCluster(t).ask(http.MethodGet, tagPath, nil)
	if answer.StatusCode != http.StatusOK || content != manifest {
		t.Fatalf("%d %s", answer.StatusCode, content)
	}
	wanted := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(manifest)))
	if kind, told := answer.Header.Get("Content-Type"), answer.Header.Get("Docker-Content-Digest"); told != wanted ||
		kind != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("%s %s", kind, told)
	}
}

func TestHeadTellsTheSizeOfWhatAPeerHas(t *testing.T) {
	answer, content := newCluster(t).ask(http.MethodHead, tagPath, nil)
	if answer.StatusCode != http.StatusOK || answer.ContentLength != int64(len(manifest)) || content != "" {
		t.Errorf("%d, %d bytes: %s", answer.StatusCode, answer.ContentLength, content)
	}
}

func TestABlobComesInPartsToo(t *testing.T) {
	c := newCluster(t)
	uri := "/v2/team/tool/blobs/" + digest + "?ns=registry.example"
	if answer, content := c.ask(http.MethodGet, uri, nil); content != layer || answer.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%v %s", answer.Header, content)
	}
	if answer, content := c.ask(http.MethodGet, uri, http.Header{"Range": {"bytes=9-"}}); answer.StatusCode != http.StatusPartialContent || content != layer[9:] {
		t.Errorf("%d %s", answer.StatusCode, content)
	}
}

func TestWhatTheNodeHasItselfNeedsNoPeer(t *testing.T) {
	c := newCluster(t)
	c.having.back.Close()
	c.having.front.Close()
	c.asking.store(t, layer)
	c.expect(http.MethodGet, "/v2/team/tool/blobs/"+digest+"?ns=registry.example", http.StatusOK)
}

func TestBothPortsOfAPeerAreNeeded(t *testing.T) {
	for name, closed := range map[string]func(*cluster) net.Listener{
		"peer to peer": func(c *cluster) net.Listener { return c.having.back },
		"API":          func(c *cluster) net.Listener { return c.having.front },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			closed(c).Close()
			c.expect(http.MethodGet, tagPath, http.StatusNotFound)
		})
	}
}

func TestWhatNoNodeHasIsNotAskedForInCircles(t *testing.T) {
	newCluster(t).expect(http.MethodGet, "/v2/team/tool/manifests/2?ns=registry.example", http.StatusNotFound)
}

func TestTheTagLatestIsSharedOnRequestOnly(t *testing.T) {
	c := newCluster(t)
	latest := "/v2/team/tool/manifests/latest?ns=registry.example"
	c.expect(http.MethodGet, latest, http.StatusNotFound)
	c.asking.Latest = true
	c.expect(http.MethodGet, latest, http.StatusNotFound)
	c.having.Latest = true
	c.expect(http.MethodGet, latest, http.StatusOK)
}

func TestRegistriesWithoutAMirrorAreNotShared(t *testing.T) {
	c := newCluster(t)
	c.having.Hosts = []string{"other.example"}
	c.expect(http.MethodGet, tagPath, http.StatusNotFound)
	c.having.Hosts = []string{"*"}
	c.expect(http.MethodGet, tagPath, http.StatusOK)
	c.asking.Hosts = []string{"other.example"}
	c.expect(http.MethodGet, tagPath, http.StatusNotFound)
}

func TestStrangersAreRefusedOnBothPorts(t *testing.T) {
	c := newCluster(t)
	for name, client := range c.strangers {
		for _, port := range []net.Listener{c.having.front, c.having.back} {
			for _, uri := range []string{"/v2/", tagPath} {
				if answer, _ := c.send(client, http.MethodHead, port, uri, nil); answer.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s, %s: %d", name, uri, answer.StatusCode)
				}
			}
		}
	}
}

func TestThePortOfPeersGivesNoContentAway(t *testing.T) {
	c := newCluster(t)
	if answer, _ := c.send(c.containerd, http.MethodGet, c.having.back, tagPath, nil); answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%d", answer.StatusCode)
	}
}

func TestNothingCanBePushed(t *testing.T) {
	newCluster(t).expect(http.MethodPut, tagPath, http.StatusMethodNotAllowed)
}

func TestPathsOfTheDistributionAPI(t *testing.T) {
	hash := "sha256:" + strings.Repeat("0", 64)
	for path, wanted := range map[string]reference{
		"/v2/a/manifests/v1.0":              {host: "r", repository: "a", tag: "v1.0", isManifest: true},
		"/v2/a/b-c/d_e/manifests/" + hash:   {host: "r", repository: "a/b-c/d_e", digest: hash, isManifest: true},
		"/v2/manifests/blobs/blobs/" + hash: {host: "r", repository: "manifests/blobs", digest: hash},
	} {
		if got, err := parse(path, "r"); err != nil || got != wanted {
			t.Errorf("%s: %v %v", path, got, err)
		}
	}
	for _, path := range []string{"/v2", "/v2/a/tags/list", "/v2/a/blobs/v1", "/v2/A/manifests/v1", "/v2/../manifests/v1", "/v2/a/manifests/a\"b",
		"/v2/a/blobs/sha256:../../x", "/v2/a/blobs/uploads/", "/v1/a/manifests/v1"} {
		if got, err := parse(path, "r"); err == nil {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestATagNeedsItsRegistryADigestDoesNot(t *testing.T) {
	if _, err := parse("/v2/a/manifests/v1", ""); err == nil {
		t.Error("a tag of no registry")
	}
	if _, err := parse("/v2/a/manifests/"+digest, ""); err != nil {
		t.Error(err)
	}
}

func TestAManifestOfOCINeedNotNameItsType(t *testing.T) {
	for content, wanted := range map[string]string{
		`{"manifests": []}`:  "application/vnd.oci.image.index.v1+json",
		`{"layers": []}`:     "application/vnd.oci.image.manifest.v1+json",
		`{"mediaType": "x"}`: "x",
	} {
		reader := strings.NewReader(content)
		if got, err := mediaType(reader); err != nil || got != wanted || reader.Len() != len(content) {
			t.Errorf("%s: %s %v, %d bytes left", content, got, err, reader.Len())
		}
	}
}
