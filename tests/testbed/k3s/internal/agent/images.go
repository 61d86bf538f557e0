// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"archive/tar"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/logs"
	"github.com/klauspost/compress/zstd"
)

// imported remembers size and time of what was imported, to see changes while running, and across starts where
// the user has made the file .cache.json.
type imported map[string]string

const cacheFile = ".cache.json"

// Imported is what an existing .cache.json remembers, else nothing.
func (n *Node) Imported() imported {
	known := imported{}
	if content, err := os.ReadFile(n.path("images", cacheFile)); err == nil {
		_ = json.Unmarshal(content, &known)
	}
	return known
}

func (n *Node) remember(known imported) {
	file := n.path("images", cacheFile)
	if _, err := os.Stat(file); err != nil {
		return
	}
	content, _ := json.Marshal(known)
	if err := certs.WriteFile(file, content, 0o644); err != nil {
		logs.Errorf("Failed to write %s: %v", file, err)
	}
}

// ImportImages imports every archive of D/agent/images (K3S.md section 9), as each start of k3s does before the kubelet.
// While running it leaves a file alone that is still being written.
func (n *Node) ImportImages(ctx context.Context, known imported, running bool) {
	changed := false
	entries, err := os.ReadDir(n.path("images"))
	if err != nil {
		logs.Errorf("Failed to read images: %v", err)
		return
	}
	var names []string
	for _, entry := range entries {
		if !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			names = append(names, entry.Name())
		}
	}
	sort.Strings(names)
	for _, name := range names {
		file := n.path("images", name)
		information, err := os.Stat(file)
		if err != nil || information.Size() == 0 {
			continue
		}
		state := fmt.Sprint(information.Size(), information.ModTime().UnixNano())
		if known[file] == state {
			continue
		}
		if running && time.Since(information.ModTime()) < 2*time.Second {
			continue
		}
		known[file], changed = state, true
		begin := time.Now()
		if err := n.importArchive(ctx, file); err != nil {
			logs.Errorf("Error encountered while importing %s: %v", file, err)
			continue
		}
		logs.Infof("Imported images from %s in %s", file, time.Since(begin))
	}
	if changed {
		n.remember(known)
	}
}

// WatchImages looks for new archives while k3s runs.
func (n *Node) WatchImages(ctx context.Context, known imported) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(2 * time.Second):
			n.ImportImages(ctx, known, true)
		}
	}
}

func opener(file string) func(io.Reader) (io.Reader, error) {
	switch {
	case strings.HasSuffix(file, ".tar"):
		return func(reader io.Reader) (io.Reader, error) { return reader, nil }
	case strings.HasSuffix(file, ".tar.gz"), strings.HasSuffix(file, ".tgz"):
		return func(reader io.Reader) (io.Reader, error) { return gzip.NewReader(reader) }
	case strings.HasSuffix(file, ".tar.zst"), strings.HasSuffix(file, ".tzst"):
		return func(reader io.Reader) (io.Reader, error) { return zstd.NewReader(reader) }
	case strings.HasSuffix(file, ".tar.bz2"), strings.HasSuffix(file, ".tbz"):
		return func(reader io.Reader) (io.Reader, error) { return bzip2.NewReader(reader), nil }
	}
	return nil
}

func (n *Node) importArchive(ctx context.Context, file string) error {
	open := opener(file)
	if open == nil {
		return fmt.Errorf("stand-in: an import of %s is not implemented", filepath.Ext(file))
	}
	names, err := archiveImages(file, open)
	if err != nil {
		return err
	}
	source, err := os.Open(file)
	if err != nil {
		return err
	}
	defer source.Close()
	reader, err := open(source)
	if err != nil {
		return err
	}
	command := n.ctr(ctx, "images", "import", "-")
	command.Stdin = reader
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(output)))
	}
	for _, name := range names {
		label := n.ctr(ctx, "images", "label", name, "io.cattle.k3s.pinned=pinned", "io.cri-containerd.pinned=pinned")
		if output, err := label.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(output)))
		}
	}
	return nil
}

// archiveImages lists the names in an OCI or Docker archive, to label them after the import.
func archiveImages(file string, open func(io.Reader) (io.Reader, error)) ([]string, error) {
	source, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer source.Close()
	reader, err := open(source)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	archive := tar.NewReader(reader)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		switch filepath.Clean(header.Name) {
		case "index.json":
			var index struct {
				Manifests []struct{ Annotations map[string]string }
			}
			if err := json.NewDecoder(archive).Decode(&index); err != nil {
				return nil, err
			}
			for _, manifest := range index.Manifests {
				name := manifest.Annotations["io.containerd.image.name"]
				if name == "" {
					name = manifest.Annotations["org.opencontainers.image.ref.name"]
				}
				if strings.Contains(name, "/") {
					names[name] = true
				}
			}
		case "manifest.json":
			var manifests []struct{ RepoTags []string }
			if err := json.NewDecoder(archive).Decode(&manifests); err != nil {
				return nil, err
			}
			for _, manifest := range manifests {
				for _, name := range manifest.RepoTags {
					names[fullName(name)] = true
				}
			}
		}
	}
	var sorted []string
	for name := range names {
		sorted = append(sorted, name)
	}
	sort.Strings(sorted)
	return sorted, nil
}

// fullName adds the registry that a short name leaves out.
func fullName(name string) string {
	host, _, found := strings.Cut(name, "/")
	switch {
	case !found:
		return "docker.io/library/" + name
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return "docker.io/" + name
	}
	return name
}
