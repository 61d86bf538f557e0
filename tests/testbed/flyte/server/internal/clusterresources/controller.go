// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package clusterresources makes what every project-domain namespace needs, as
// flyteadmin's cluster resource controller does: it renders the templates of
// cluster_resources.templatePath for each project and domain and creates or
// patches the objects. There is no built-in namespace: without a template for
// it none is made, and the objects of the other templates are refused.
package clusterresources

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/jsonmergepatch"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/flyteorg/flyte/flytestdlib/logger"

	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/settings"
)

// Controller remembers what it applied, so that a pass without changes asks
// nothing of the API server.
type Controller struct {
	projects Projects
	objects  dynamic.Interface
	mapper   meta.ResettableRESTMapper
	applied  map[string][sha256.Size]byte
}

// Projects lists those that are not archived.
type Projects interface {
	List(ctx context.Context) ([]database.Project, error)
}

// New connects to the cluster.
func New(cluster *rest.Config, projects Projects) (*Controller, error) {
	objects, err := dynamic.NewForConfig(cluster)
	if err != nil {
		return nil, err
	}
	kinds, err := discovery.NewDiscoveryClientForConfig(cluster)
	if err != nil {
		return nil, err
	}
	return &Controller{
		projects: projects,
		objects:  objects,
		mapper:   restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds)),
		applied:  map[string][sha256.Size]byte{},
	}, nil
}

// Run makes a pass at once and then every refresh interval, until ctx ends. A
// failed pass is logged and tried again with the next.
func (c *Controller) Run(ctx context.Context) {
	for {
		if err := c.Sync(ctx); err != nil {
			logger.Errorf(ctx, "Failed cluster resource creation loop with: %v", err)
		} else {
			logger.Infof(ctx, "Successfully completed cluster resource creation loop")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settings.GetClusterResources().RefreshInterval.Duration):
		}
	}
}

// Sync makes one pass.
func (c *Controller) Sync(ctx context.Context) error {
	projects, err := c.projects.List(ctx)
	if err != nil {
		return err
	}
	templates, err := readTemplates(os.ExpandEnv(settings.GetClusterResources().TemplatePath))
	if err != nil {
		return err
	}
	var problems []error
	common, err := values(settings.GetClusterResources().TemplateData)
	problems = append(problems, err)
	byDomain := map[string]map[string]string{}
	for _, domain := range settings.GetDomains() {
		byDomain[domain.ID], err = values(settings.GetClusterResources().CustomData[domain.ID])
		problems = append(problems, err)
	}
	for _, project := range projects {
		for _, domain := range settings.GetDomains() {
			namespace := render(settings.GetNamespaceMapping().Template,
				map[string]string{"project": project.Identifier, "domain": domain.Name})
			system := map[string]string{"namespace": namespace, "project": project.Identifier, "domain": domain.ID}
			for _, template := range templates {
				manifest := render(template.text, byDomain[domain.ID], system, common)
				if err := c.apply(ctx, namespace, template.name, manifest); err != nil {
					problems = append(problems, fmt.Errorf("%s in namespace %s: %w", template.name, namespace, err))
				}
			}
		}
	}
	return errors.Join(problems...)
}

type template struct{ name, text string }

// readTemplates reads the .yaml files of a folder in lexical order.
func readTemplates(folder string) ([]template, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("failed to read config template dir [%s]: %w", folder, err)
	}
	var templates []template
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".yaml" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return nil, err
		}
		templates = append(templates, template{entry.Name(), string(text)})
	}
	return templates, nil
}

// apply creates the object of a manifest or patches it to what the manifest
// says. Errors never quote the manifest: it can hold a key.
func (c *Controller) apply(ctx context.Context, namespace, name, manifest string) error {
	key, sum := namespace+"/"+name, sha256.Sum256([]byte(manifest))
	if c.applied[key] == sum {
		return nil
	}
	object := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(manifest), &object.Object); err != nil {
		return errors.New("after substitution this is no YAML object; is every variable of it in customData, spelled {{ name }}?")
	}
	mapping, err := c.mapping(object.GroupVersionKind())
	if err != nil {
		return err
	}
	var client dynamic.ResourceInterface = c.objects.Resource(mapping.Resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		client = c.objects.Resource(mapping.Resource).Namespace(namespace)
	}
	_, err = client.Create(ctx, object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		err = patch(ctx, client, object)
	}
	if err != nil {
		return err
	}
	c.applied[key] = sum
	return nil
}

// mapping finds the resource of a kind, with a second look at the API server
// for kinds that came after the first.
func (c *Controller) mapping(kind schema.GroupVersionKind) (*meta.RESTMapping, error) {
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset()
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	return mapping, err
}

// patch brings an existing object to the wanted state: a three-way merge with
// kubectl's last-applied annotation as the origin, so that fields of others stay.
func patch(ctx context.Context, client dynamic.ResourceInterface, wanted *unstructured.Unstructured) error {
	existing, err := client.Get(ctx, wanted.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	modified, err := json.Marshal(wanted)
	if err != nil {
		return err
	}
	current, err := json.Marshal(existing)
	if err != nil {
		return err
	}
	original := []byte(existing.GetAnnotations()["kubectl.kubernetes.io/last-applied-configuration"])
	var change []byte
	kind := types.MergePatchType
	if known, unknown := scheme.Scheme.New(wanted.GroupVersionKind()); unknown == nil {
		kind = types.StrategicMergePatchType
		lookup, err := strategicpatch.NewPatchMetaFromStruct(known)
		if err != nil {
			return err
		}
		change, err = strategicpatch.CreateThreeWayMergePatch(original, modified, current, lookup, true)
		if err != nil {
			return err
		}
	} else if change, err = jsonmergepatch.CreateThreeWayJSONMergePatch(original, modified, current); err != nil {
		return err
	}
	if strings.TrimSpace(string(change)) == "{}" {
		return nil
	}
	_, err = client.Patch(ctx, wanted.GetName(), kind, change, metav1.PatchOptions{})
	return err
}
