// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package clusterresources

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/scheme"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/settings"
)

// The fake client merges only kinds it does not know by type.
var widgets = schema.GroupVersion{Group: "example.org", Version: "v1"}

type twoProjects struct{}

func (twoProjects) List(context.Context) ([]database.Project, error) {
	return []database.Project{{Identifier: "flytesnacks"}, {Identifier: "edge"}}, nil
}

type staticMapper struct{ meta.RESTMapper }

func (staticMapper) Reset() {}

func newController(t *testing.T) *Controller {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	mapper.Add(widgets.WithKind("Widget"), meta.RESTScopeNamespace)
	return &Controller{
		projects: twoProjects{},
		objects:  fake.NewSimpleDynamicClient(scheme.Scheme),
		mapper:   staticMapper{mapper},
		applied:  map[string][sha256.Size]byte{},
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *Controller) key(t *testing.T, namespace string) string {
	t.Helper()
	resource := widgets.WithResource("widgets")
	object, err := c.objects.Resource(resource).Namespace(namespace).Get(t.Context(), "task", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return object.Object["data"].(map[string]any)["key"].(string)
}

func TestEveryProjectAndDomainGetsTheObjectsAndNewValues(t *testing.T) {
	folder, source := t.TempDir(), filepath.Join(t.TempDir(), "key")
	write(t, filepath.Join(folder, "000.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: '{{ namespace }}'\n")
	write(t, filepath.Join(folder, "010.yaml"), "apiVersion: example.org/v1\nkind: Widget\nmetadata:\n  name: task\n  namespace: {{ namespace }}\ndata:\n  key: {{ taskKey }}\n")
	write(t, source, "first")
	cfg := settings.GetClusterResources()
	cfg.TemplatePath = folder
	for _, domain := range settings.GetDomains() {
		cfg.CustomData[domain.ID] = map[string]settings.DataSource{"taskKey": fromFile(source)}
	}
	c := newController(t)
	for _, want := range []string{"first", "second"} {
		write(t, source, want)
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, namespace := range []string{"flytesnacks-development", "flytesnacks-production", "edge-staging"} {
			if got := c.key(t, namespace); got != want {
				t.Errorf("%s: got %q, expected %q", namespace, got, want)
			}
		}
	}
}

func TestAnUnreplacedVariableIsAnErrorThatDoesNotQuoteTheManifest(t *testing.T) {
	c := newController(t)
	err := c.apply(t.Context(), "a-development", "010.yaml", "kind: ConfigMap\ndata:\n  secret: canary\n  key: {{ taskKey }}\n")
	if err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
}
