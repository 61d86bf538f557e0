// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package spegel is the registry that nodes share with each other, after k3s-io/k3s pkg/spegel and spegel-org/spegel
// pkg/registry: containerd asks the one of its own node, which passes on what another node has.
package spegel

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"flyte.onprem/testbed/k3s/internal/logs"
)

const (
	// ResolveTimeout is for all peers together; containerd goes on to the registry itself then.
	ResolveTimeout = 5 * time.Second
	// A request with this header comes from a peer and is not passed on.
	mirroredHeader = "X-Spegel-Mirrored"
	// Manifests are no longer than registries take them.
	longestManifest = 4 << 20
)

// Registry is one node's part.
type Registry struct {
	// Hosts are the registries whose images are shared; "*" and "_default" are all.
	Hosts []string
	// Latest is whether the tag latest is shared, too.
	Latest bool
	// Blobs is the directory of containerd's content: <algorithm>/<digest>.
	Blobs string
	// Resolve tells the digest of an image of this node; fs.ErrNotExist if there is none.
	Resolve func(ctx context.Context, image string) (string, error)
	// Peers are the addresses, with ports, at which other nodes tell what they have.
	Peers func(ctx context.Context) ([]string, error)
	// Port is that of Handler on all nodes.
	Port int
	// Callers is the CA of those who may ask; Client asks the peers in the node's name.
	Callers *x509.CertPool
	Client  *http.Client
}

// reference is what a request asks for: a tag or a digest of a repository.
type reference struct {
	host, repository, tag, digest string
	isManifest                    bool
}

var (
	pathForm = regexp.MustCompile(`^/v2/([a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*)/(manifests|blobs)/([^/]+)$`)
	tagForm  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	hashForm = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
)

// parse reads a path of the distribution API; host is the parameter ns, with which containerd names the registry that it means.
func parse(path, host string) (reference, error) {
	parts := pathForm.FindStringSubmatch(path)
	if parts == nil {
		return reference{}, fmt.Errorf("%s is no manifest and no blob", path)
	}
	wanted := reference{host: host, repository: parts[1], isManifest: parts[2] == "manifests"}
	switch {
	case hashForm.MatchString(parts[3]):
		wanted.digest = parts[3]
	case wanted.isManifest && tagForm.MatchString(parts[3]) && host != "":
		wanted.tag = parts[3]
	default:
		return reference{}, fmt.Errorf("%s is no digest and no tag of a registry that is named", parts[3])
	}
	return wanted, nil
}

// shares tells whether nodes share it. What is asked for by its digest may be of any registry, if none is named.
func (r *Registry) shares(wanted reference) bool {
	if wanted.tag == "latest" && !r.Latest {
		return false
	}
	return wanted.host == "" || slices.ContainsFunc(r.Hosts, func(host string) bool {
		return host == wanted.host || host == "*" || host == "_default"
	})
}

// Handler serves images below /v2/: those of this node, else those of its peers.
func (r *Registry) Handler() http.Handler {
	return r.guarded([]string{http.MethodGet, http.MethodHead}, func(response http.ResponseWriter, request *http.Request, wanted reference) {
		file, digest, err := r.open(request.Context(), wanted)
		switch {
		case err == nil:
			defer file.Close()
			send(response, request, wanted, file, digest)
		case !errors.Is(err, fs.ErrNotExist):
			http.Error(response, err.Error(), http.StatusInternalServerError)
		case request.Header.Get(mirroredHeader) != "" || !r.mirror(response, request):
			http.NotFound(response, request)
		}
	})
}

// PeerHandler tells other nodes whether this one has something. The content is had of Handler.
func (r *Registry) PeerHandler() http.Handler {
	return r.guarded([]string{http.MethodHead}, func(response http.ResponseWriter, request *http.Request, wanted reference) {
		file, _, err := r.open(request.Context(), wanted)
		if err != nil {
			http.NotFound(response, request)
			return
		}
		file.Close()
	})
}

func (r *Registry) guarded(methods []string, handler func(http.ResponseWriter, *http.Request, reference)) http.Handler {
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		if !r.admits(request) {
			http.Error(response, "Unauthorized", http.StatusUnauthorized)
			return
		}
		if !slices.Contains(methods, request.Method) {
			http.Error(response, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		if request.URL.Path == "/v2/" {
			return
		}
		wanted, err := parse(request.URL.Path, request.URL.Query().Get("ns"))
		if err != nil || !r.shares(wanted) {
			http.NotFound(response, request)
			return
		}
		handler(response, request, wanted)
	})
}

// admits tells whether the caller has a client's certificate of the cluster.
func (r *Registry) admits(request *http.Request) bool {
	if request.TLS == nil || len(request.TLS.PeerCertificates) == 0 {
		return false
	}
	_, err := request.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: r.Callers, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// open finds something in this node's containerd.
func (r *Registry) open(ctx context.Context, wanted reference) (*os.File, string, error) {
	digest := wanted.digest
	if digest == "" {
		var err error
		if digest, err = r.Resolve(ctx, wanted.host+"/"+wanted.repository+":"+wanted.tag); err != nil {
			return nil, "", err
		}
	}
	algorithm, hash, _ := strings.Cut(digest, ":")
	file, err := os.Open(filepath.Join(r.Blobs, algorithm, hash))
	return file, digest, err
}

func send(response http.ResponseWriter, request *http.Request, wanted reference, file *os.File, digest string) {
	kind := "application/octet-stream"
	if wanted.isManifest {
		var err error
		if kind, err = mediaType(file); err != nil {
			http.Error(response, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	response.Header().Set("Content-Type", kind)
	response.Header().Set("Docker-Content-Digest", digest)
	http.ServeContent(response, request, "", time.Time{}, file)
}

// mediaType is what a manifest says that it is; OCI's may leave it out.
func mediaType(file io.ReadSeeker) (string, error) {
	var manifest struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.NewDecoder(io.LimitReader(file, longestManifest)).Decode(&manifest); err != nil {
		return "", err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	switch {
	case manifest.MediaType != "":
		return manifest.MediaType, nil
	case manifest.Manifests != nil:
		return "application/vnd.oci.image.index.v1+json", nil
	}
	return "application/vnd.oci.image.manifest.v1+json", nil
}

// mirror answers with what a peer has; false if none has it.
func (r *Registry) mirror(response http.ResponseWriter, request *http.Request) bool {
	ctx, cancel := context.WithTimeout(request.Context(), ResolveTimeout)
	defer cancel()
	for peer := range r.holders(ctx, request.URL.RequestURI()) {
		if r.pass(response, request, peer) {
			return true
		}
	}
	return false
}

// holders asks all peers at once, and hands over those that have it as they answer.
func (r *Registry) holders(ctx context.Context, uri string) <-chan string {
	peers, err := r.Peers(ctx)
	if err != nil {
		logs.Errorf("Failed to get the peers of the distributed registry: %v", err)
	}
	found := make(chan string, len(peers))
	var asked sync.WaitGroup
	for _, peer := range peers {
		asked.Go(func() {
			if r.has(ctx, peer, uri) {
				found <- peer
			}
		})
	}
	go func() {
		asked.Wait()
		close(found)
	}()
	return found
}

func (r *Registry) has(ctx context.Context, peer, uri string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, "https://"+peer+uri, nil)
	if err != nil {
		return false
	}
	answer, err := r.Client.Do(request)
	if err != nil {
		return false
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

// pass hands on the answer of a peer's Handler; false if there is none to hand on.
func (r *Registry) pass(response http.ResponseWriter, request *http.Request, peer string) bool {
	host, _, err := net.SplitHostPort(peer)
	if err != nil {
		return false
	}
	address := "https://" + net.JoinHostPort(host, strconv.Itoa(r.Port)) + request.URL.RequestURI()
	passed, err := http.NewRequestWithContext(request.Context(), request.Method, address, nil)
	if err != nil {
		return false
	}
	passed.Header.Set(mirroredHeader, "true")
	if part := request.Header.Get("Range"); part != "" {
		passed.Header.Set("Range", part)
	}
	answer, err := r.Client.Do(passed)
	if err != nil {
		logs.Errorf("Failed to get %s from a peer: %v", request.URL.Path, err)
		return false
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusPartialContent {
		return false
	}
	for _, name := range []string{"Content-Type", "Content-Length", "Content-Range", "Accept-Ranges", "Docker-Content-Digest"} {
		if value := answer.Header.Get(name); value != "" {
			response.Header().Set(name, value)
		}
	}
	response.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(response, answer.Body)
	return true
}
