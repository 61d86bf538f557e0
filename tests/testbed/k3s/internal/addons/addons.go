// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package addons deploys what lies in D/server/manifests (K3S.md section 8, after k3s-io/k3s pkg/deploy/controller.go).
package addons

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed manifests/*.yaml
var packaged embed.FS

//go:embed crds/*.yaml
var definitions embed.FS

const (
	interval  = 15 * time.Second
	namespace = "kube-system"
	// objectsAnnotation remembers on the Addon what was applied, to prune what a file no longer has.
	objectsAnnotation = "k3s.cattle.io/applied-objects"
)

var addonKind = schema.GroupVersionKind{Group: "k3s.cattle.io", Version: "v1", Kind: "Addon"}

// Stage writes the packaged manifests, each start anew, and removes those of disabled components.
func Stage(directory string, words map[string]string, disabled map[string]bool) error {
	entries, err := packaged.ReadDir("manifests")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		target := filepath.Join(directory, entry.Name())
		if disabled[baseName(entry.Name())] {
			if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue
		}
		if skipped(target) {
			continue
		}
		content, err := packaged.ReadFile("manifests/" + entry.Name())
		if err != nil {
			return err
		}
		text := string(content)
		for word, value := range words {
			text = strings.ReplaceAll(text, "%{"+word+"}%", value)
		}
		logs.Infof("Writing manifest: %s", target)
		if err := certs.WriteFile(target, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func skipped(file string) bool {
	_, err := os.Stat(file + ".skip")
	return err == nil
}

// baseName is a file's name up to its first dot.
func baseName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return name
}

// Define creates the definitions of Addon, HelmChart and HelmChartConfig.
func Define(ctx context.Context, clients *kube.Clients) error {
	entries, err := definitions.ReadDir("crds")
	if err != nil {
		return err
	}
	for _, entry := range entries {
		content, err := definitions.ReadFile("crds/" + entry.Name())
		if err != nil {
			return err
		}
		objects, err := parse(content)
		if err != nil {
			return err
		}
		for _, object := range objects {
			logs.Infof("Creating CRD %s", object.GetName())
			if err := clients.Apply(ctx, object, "k3s"); err != nil {
				return err
			}
		}
	}
	return nil
}

// Controller looks at the directory every 15 seconds.
type Controller struct {
	Clients   *kube.Clients
	Directory string
	NodeName  string
	Disabled  map[string]bool
	checked   map[string]time.Time
}

// Run works until the context ends.
func (c *Controller) Run(ctx context.Context) {
	c.checked = map[string]time.Time{}
	c.Clients.Loop(ctx, "deploy", interval, c.scan)
}

func (c *Controller) scan(ctx context.Context) error {
	var files []string
	err := filepath.WalkDir(c.Directory, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(entry.Name(), ".") && file != c.Directory {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		suffix := strings.ToLower(filepath.Ext(file))
		if !entry.IsDir() && (suffix == ".yaml" || suffix == ".yml" || suffix == ".json") {
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		return err
	}
	sort.Strings(files)
	for name := range c.Disabled {
		if err := c.remove(ctx, name); err != nil {
			logs.Errorf("Failed to process config: failed to delete %s: %v", name, err)
		}
	}
	for _, file := range files {
		if c.Disabled[baseName(file)] {
			if err := os.Remove(file); err != nil {
				return err
			}
			continue
		}
		if skipped(file) {
			continue
		}
		if err := c.deploy(ctx, file); err != nil {
			logs.Errorf("Failed to process config: failed to process %s: %v", file, err)
		}
	}
	return nil
}

func (c *Controller) addon(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	resource, _, err := c.Clients.Resource(addonKind, namespace)
	if err != nil {
		return nil, err
	}
	found, err := resource.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return found, err
}

// deploy applies a file when its checksum is not the Addon's.
func (c *Controller) deploy(ctx context.Context, file string) error {
	information, err := os.Stat(file)
	if err != nil {
		return err
	}
	if c.checked[file].Equal(information.ModTime()) {
		return nil
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	checksum := hex.EncodeToString(sum[:])
	name := baseName(file)
	current, err := c.addon(ctx, name)
	if err != nil {
		return err
	}
	if current != nil {
		if known, _, _ := unstructured.NestedString(current.Object, "spec", "checksum"); known == checksum {
			c.checked[file] = information.ModTime()
			return nil
		}
	} else if current, err = c.save(ctx, name, file, "", nil); err != nil {
		return err
	}

	objects, err := parse(content)
	if err != nil {
		c.event(ctx, current, corev1.EventTypeWarning, "ParseManifestFailed", fmt.Sprintf("Parse manifest at %q failed: %v", file, err))
		return err
	}
	c.event(ctx, current, corev1.EventTypeNormal, "ApplyingManifest", fmt.Sprintf("Applying manifest at %q", file))
	applied := []reference{}
	for _, object := range objects {
		if err := c.Clients.Apply(ctx, object, "deploy@"+c.NodeName); err != nil {
			err = fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
			c.event(ctx, current, corev1.EventTypeWarning, "ApplyManifestFailed", fmt.Sprintf("Applying manifest at %q failed: %v", file, err))
			return err
		}
		applied = append(applied, reference{object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName()})
	}
	for _, old := range remembered(current) {
		if !contains(applied, old) {
			if err := c.delete(ctx, old); err != nil {
				return err
			}
		}
	}
	if _, err := c.save(ctx, name, file, checksum, applied); err != nil {
		return err
	}
	c.checked[file] = information.ModTime()
	c.event(ctx, current, corev1.EventTypeNormal, "AppliedManifest", fmt.Sprintf("Applied manifest at %q", file))
	return nil
}

// remove deletes what a disabled component's Addon had applied.
func (c *Controller) remove(ctx context.Context, name string) error {
	current, err := c.addon(ctx, name)
	if err != nil || current == nil {
		return err
	}
	c.event(ctx, current, corev1.EventTypeNormal, "DeletingManifest", fmt.Sprintf("Deleting manifest for %q", name))
	objects := remembered(current)
	for index := len(objects) - 1; index >= 0; index-- {
		if err := c.delete(ctx, objects[index]); err != nil {
			return err
		}
	}
	return c.delete(ctx, reference{"k3s.cattle.io/v1", "Addon", namespace, name})
}

type reference struct{ APIVersion, Kind, Namespace, Name string }

func remembered(addon *unstructured.Unstructured) []reference {
	var objects []reference
	_ = json.Unmarshal([]byte(addon.GetAnnotations()[objectsAnnotation]), &objects)
	return objects
}

func contains(objects []reference, one reference) bool {
	for _, object := range objects {
		if object.Kind == one.Kind && object.Namespace == one.Namespace && object.Name == one.Name {
			return true
		}
	}
	return false
}

func (c *Controller) delete(ctx context.Context, object reference) error {
	version, err := schema.ParseGroupVersion(object.APIVersion)
	if err != nil {
		return err
	}
	resource, _, err := c.Clients.Resource(version.WithKind(object.Kind), object.Namespace)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err = resource.Delete(ctx, object.Name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (c *Controller) save(ctx context.Context, name, file, checksum string, applied []reference) (*unstructured.Unstructured, error) {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "k3s.cattle.io/v1", "kind": "Addon",
		"metadata": map[string]any{"name": name, "namespace": namespace},
		"spec":     map[string]any{"source": file, "checksum": checksum},
	}}
	if applied != nil {
		text, err := json.Marshal(applied)
		if err != nil {
			return nil, err
		}
		object.SetAnnotations(map[string]string{objectsAnnotation: string(text)})
	}
	if err := c.Clients.Apply(ctx, object, "k3s"); err != nil {
		return nil, err
	}
	return c.addon(ctx, name)
}

func (c *Controller) event(ctx context.Context, about *unstructured.Unstructured, kind, reason, message string) {
	if about != nil {
		c.Clients.Event(ctx, kube.Reference(about), kind, reason, message, "deploy")
	}
}

// parse reads the objects of a file; a List counts as its items.
func parse(content []byte) ([]*unstructured.Unstructured, error) {
	decoder := utilyaml.NewYAMLOrJSONDecoder(strings.NewReader(string(content)), 4096)
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); err == io.EOF {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(object.Object) == 0 {
			continue
		}
		if object.GetKind() == "" || object.GetAPIVersion() == "" {
			return nil, errors.New("Object 'Kind' is missing")
		}
		if object.IsList() {
			if err := object.EachListItem(func(item runtime.Object) error {
				objects = append(objects, item.(*unstructured.Unstructured))
				return nil
			}); err != nil {
				return nil, err
			}
			continue
		}
		objects = append(objects, object)
	}
}
