// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package helmchart brings releases to the state of HelmChart and HelmChartConfig (K3S.md section 8). The real
// controller lets a Job's pod run helm; here this process runs it, and the Job is there for its name and status only:
// its field managedBy keeps Kubernetes' own Job controller off it.
package helmchart

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/kube"
	"flyte.onprem/testbed/k3s/internal/logs"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	finalizer  = "wrangler.cattle.io/on-helm-chart-remove"
	chartLabel = "helmcharts.helm.cattle.io/chart"
	hashLabel  = "helmcharts.helm.cattle.io/configHash"
	jobImage   = "rancher/klipper-helm:v0.13.3-build20260727"
	jobManager = "k3s.cattle.io/helm-controller"
	source     = "helm-controller"
)

var (
	chartResource  = schema.GroupVersionResource{Group: "helm.cattle.io", Version: "v1", Resource: "helmcharts"}
	configResource = schema.GroupVersionResource{Group: "helm.cattle.io", Version: "v1", Resource: "helmchartconfigs"}
)

// notImplemented are fields that the definition has and this controller has not.
var notImplemented = []string{"authPassCredentials", "authSecret", "dockerRegistrySecret", "helmVersion", "insecureSkipTLSVerify",
	"plainHTTP", "repoCA", "repoCAConfigMap"}

type chartSpec struct {
	Chart           string                        `json:"chart"`
	ChartContent    string                        `json:"chartContent"`
	TargetNamespace string                        `json:"targetNamespace"`
	CreateNamespace bool                          `json:"createNamespace"`
	Version         string                        `json:"version"`
	Repo            string                        `json:"repo"`
	Timeout         string                        `json:"timeout"`
	FailurePolicy   string                        `json:"failurePolicy"`
	ValuesContent   string                        `json:"valuesContent"`
	ValuesSecrets   []secretSpec                  `json:"valuesSecrets"`
	Set             map[string]intstr.IntOrString `json:"set"`
}

type secretSpec struct {
	Name string   `json:"name"`
	Keys []string `json:"keys"`
}

// release is all that decides how helm is called; its hash tells whether anything changed.
type release struct {
	Namespace, Name string
	Spec            chartSpec
	// Values are the files in order of precedence, the lowest first; Set beats them all.
	Values []string
}

func (r release) target() string {
	if r.Spec.TargetNamespace != "" {
		return r.Spec.TargetNamespace
	}
	return r.Namespace
}

func (r release) hash() string {
	content, _ := json.Marshal(r)
	sum := sha256.Sum256(content)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (r release) job() string { return "helm-install-" + r.Name }

type attempt struct {
	hash     string
	failures int
	next     time.Time
}

// Controller runs one helm at a time.
type Controller struct {
	Clients     *kube.Clients
	Program     string
	Kubeconfig  string
	CA          string
	API         string
	NodeName    string
	attempts    map[string]attempt
	environment []string
}

// Run works until the context ends.
func (c *Controller) Run(ctx context.Context) {
	home, err := os.MkdirTemp("", "k3s-helm-")
	if err != nil {
		logs.Errorf("%s: %v", source, err)
		return
	}
	defer os.RemoveAll(home)
	c.attempts = map[string]attempt{}
	c.environment = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	// k3s runs helm in a pod, so that nothing of it stays in the host's /root.
	for _, name := range []string{"HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "KUBECACHEDIR"} {
		c.environment = append(c.environment, name+"="+home)
	}
	c.Clients.Loop(ctx, source, 10*time.Second, c.reconcile, chartResource, configResource,
		schema.GroupVersionResource{Version: "v1", Resource: "secrets"})
}

func (c *Controller) reconcile(ctx context.Context) error {
	charts, err := c.Clients.Dynamic.Resource(chartResource).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var failures []error
	for index := range charts.Items {
		chart := &charts.Items[index]
		if err := c.one(ctx, chart); err != nil {
			failures = append(failures, fmt.Errorf("%s/%s: %w", chart.GetNamespace(), chart.GetName(), err))
		}
	}
	return errors.Join(failures...)
}

func (c *Controller) one(ctx context.Context, chart *unstructured.Unstructured) error {
	if chart.GetDeletionTimestamp() != nil {
		return c.remove(ctx, chart)
	}
	wanted, err := c.release(ctx, chart)
	if err != nil {
		return c.report(ctx, chart, "", err)
	}
	if err := c.addFinalizer(ctx, chart); err != nil {
		return err
	}
	key, hash := chart.GetNamespace()+"/"+chart.GetName(), wanted.hash()
	last := c.attempts[key]
	if last.hash != hash {
		last = attempt{hash: hash}
	}
	job, err := c.Clients.Typed.BatchV1().Jobs(wanted.Namespace).Get(ctx, wanted.job(), metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if err == nil && job.Annotations[hashLabel] == hash && job.Status.Succeeded > 0 || time.Now().Before(last.next) {
		return nil
	}
	if err != nil || job.Annotations[hashLabel] != hash {
		if job, err = c.newJob(ctx, wanted, hash); err != nil {
			return err
		}
	}
	failure := c.install(ctx, wanted)
	if failure != nil {
		last.failures++
		// As a Job's pods are tried again: 10 s, 20 s, 40 s, at most 5 min.
		last.next = time.Now().Add(min(10*time.Second<<min(last.failures-1, 10), 5*time.Minute))
	}
	c.attempts[key] = last
	if err := c.jobStatus(ctx, job, last.failures, failure); err != nil {
		return err
	}
	return c.report(ctx, chart, wanted.job(), failure)
}

// release gathers values in the order of precedence: chart (its own defaults), HelmChart, its Secrets, HelmChartConfig,
// its Secrets; "set" is last.
func (c *Controller) release(ctx context.Context, chart *unstructured.Unstructured) (release, error) {
	wanted := release{Namespace: chart.GetNamespace(), Name: chart.GetName()}
	spec, _, _ := unstructured.NestedMap(chart.Object, "spec")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &wanted.Spec); err != nil {
		return wanted, err
	}
	for _, field := range notImplemented {
		if _, found := spec[field]; found {
			return wanted, fmt.Errorf("stand-in: HelmChart field %s is not implemented", field)
		}
	}
	if err := c.addValues(ctx, &wanted, wanted.Spec); err != nil {
		return wanted, err
	}
	config, err := c.Clients.Dynamic.Resource(configResource).Namespace(wanted.Namespace).Get(ctx, wanted.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return wanted, nil
	}
	if err != nil {
		return wanted, err
	}
	var additional chartSpec
	spec, _, _ = unstructured.NestedMap(config.Object, "spec")
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(spec, &additional); err != nil {
		return wanted, err
	}
	if additional.FailurePolicy != "" {
		wanted.Spec.FailurePolicy = additional.FailurePolicy
	}
	return wanted, c.addValues(ctx, &wanted, additional)
}

func (c *Controller) addValues(ctx context.Context, wanted *release, spec chartSpec) error {
	if spec.ValuesContent != "" {
		wanted.Values = append(wanted.Values, spec.ValuesContent)
	}
	for _, reference := range spec.ValuesSecrets {
		secret, err := c.Clients.Typed.CoreV1().Secrets(wanted.Namespace).Get(ctx, reference.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, key := range reference.Keys {
			content, found := secret.Data[key]
			if !found {
				return fmt.Errorf("Secret %s has no key %s", reference.Name, key)
			}
			wanted.Values = append(wanted.Values, string(content))
		}
	}
	return nil
}

func (c *Controller) addFinalizer(ctx context.Context, chart *unstructured.Unstructured) error {
	for _, name := range chart.GetFinalizers() {
		if name == finalizer {
			return nil
		}
	}
	changed := chart.DeepCopy()
	changed.SetFinalizers(append(changed.GetFinalizers(), finalizer))
	updated, err := c.Clients.Dynamic.Resource(chartResource).Namespace(chart.GetNamespace()).Update(ctx, changed, metav1.UpdateOptions{})
	if err == nil {
		chart.Object = updated.Object
	}
	return err
}

// install makes the release what it should be.
func (c *Controller) install(ctx context.Context, wanted release) error {
	directory, err := os.MkdirTemp("", "k3s-helm-values-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	arguments := []string{"upgrade", "--install", wanted.Name, "--namespace", wanted.target()}
	chart, options, err := c.chart(wanted, directory)
	if err != nil {
		return err
	}
	arguments = append(append(arguments, chart), options...)
	if wanted.Spec.CreateNamespace {
		arguments = append(arguments, "--create-namespace")
	}
	if wanted.Spec.Timeout != "" {
		arguments = append(arguments, "--timeout", wanted.Spec.Timeout)
	}
	for index, content := range wanted.Values {
		file := filepath.Join(directory, fmt.Sprintf("values-%02d.yaml", index))
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return err
		}
		arguments = append(arguments, "--values", file)
	}
	arguments = append(arguments, setArguments(wanted.Spec.Set)...)

	switch status := c.status(ctx, wanted); {
	case status == "" || status == "deployed":
	case wanted.Spec.FailurePolicy == "abort":
		return fmt.Errorf("release is %s and failurePolicy is abort", status)
	default:
		logs.Infof("Helm release %s is %s, installing it anew", wanted.Name, status)
		if _, err := c.helm(ctx, "uninstall", wanted.Name, "--namespace", wanted.target(), "--wait"); err != nil {
			return err
		}
	}
	_, err = c.helm(ctx, arguments...)
	return err
}

// chart resolves where the chart comes from.
func (c *Controller) chart(wanted release, directory string) (string, []string, error) {
	spec := wanted.Spec
	if spec.ChartContent != "" {
		content, err := base64.StdEncoding.DecodeString(spec.ChartContent)
		if err != nil {
			return "", nil, fmt.Errorf("chartContent: %w", err)
		}
		file := filepath.Join(directory, "chart.tgz")
		return file, nil, os.WriteFile(file, content, 0o600)
	}
	if rest, packaged := strings.CutPrefix(spec.Chart, "https://%{KUBERNETES_API}%"); packaged {
		return "https://" + c.API + strings.ReplaceAll(rest, "+", "%2B"), []string{"--ca-file", c.CA}, nil
	}
	var options []string
	if spec.Repo != "" {
		options = append(options, "--repo", spec.Repo)
	}
	if spec.Version != "" {
		options = append(options, "--version", spec.Version)
	}
	return spec.Chart, options, nil
}

func setArguments(set map[string]intstr.IntOrString) []string {
	var keys []string
	for key := range set {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	var arguments []string
	for _, key := range keys {
		value, option := set[key], "--set-string"
		text := strings.NewReplacer(`\`, `\\`, ",", `\,`).Replace(value.String())
		if value.Type == intstr.Int || text == "true" || text == "false" || text == "null" {
			option = "--set"
		}
		arguments = append(arguments, option, key+"="+text)
	}
	return arguments
}

// status is that of the release's newest revision; empty where there is none.
func (c *Controller) status(ctx context.Context, wanted release) string {
	output, err := c.helm(ctx, "status", wanted.Name, "--namespace", wanted.target(), "--output", "json")
	if err != nil {
		return ""
	}
	var parsed struct{ Info struct{ Status string } }
	_ = json.Unmarshal(output, &parsed)
	return parsed.Info.Status
}

func (c *Controller) helm(ctx context.Context, arguments ...string) ([]byte, error) {
	var output, messages bytes.Buffer
	command := exec.CommandContext(ctx, c.Program, arguments...)
	command.Env, command.Stdout, command.Stderr = c.environment, &output, &messages
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("helm %s: %w: %s", arguments[0], err, strings.TrimSpace(messages.String()))
	}
	return output.Bytes(), nil
}

func (c *Controller) newJob(ctx context.Context, wanted release, hash string) (*batchv1.Job, error) {
	jobs := c.Clients.Typed.BatchV1().Jobs(wanted.Namespace)
	background := metav1.DeletePropagationBackground
	if err := jobs.Delete(ctx, wanted.job(), metav1.DeleteOptions{PropagationPolicy: &background}); err != nil && !apierrors.IsNotFound(err) {
		return nil, err
	}
	manager, backOff := jobManager, int32(1000)
	labels := map[string]string{chartLabel: wanted.Name}
	return jobs.Create(ctx, &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: wanted.job(), Namespace: wanted.Namespace, Labels: labels, Annotations: map[string]string{hashLabel: hash}},
		Spec: batchv1.JobSpec{
			BackoffLimit: &backOff, ManagedBy: &manager,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyOnFailure,
					Containers: []corev1.Container{{Name: "helm", Image: jobImage, Args: []string{"install"}}}},
			},
		},
	}, metav1.CreateOptions{})
}

func (c *Controller) jobStatus(ctx context.Context, job *batchv1.Job, failures int, failure error) error {
	now := metav1.Now()
	if job.Status.StartTime == nil {
		job.Status.StartTime = &now
	}
	job.Status.Failed = int32(failures)
	if failure != nil {
		job.Status.Active = 1
		c.Clients.Event(ctx, corev1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: job.Namespace, Name: job.Name, UID: job.UID},
			corev1.EventTypeWarning, "Failed", failure.Error(), source)
	} else {
		job.Status.Active, job.Status.Succeeded, job.Status.CompletionTime = 0, 1, &now
		for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobComplete} {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{Type: kind, Status: corev1.ConditionTrue,
				LastProbeTime: now, LastTransitionTime: now, Reason: batchv1.JobReasonCompletionsReached})
		}
	}
	_, err := c.Clients.Typed.BatchV1().Jobs(job.Namespace).UpdateStatus(ctx, job, metav1.UpdateOptions{})
	return err
}

// report writes the outcome into the HelmChart's conditions, and a failure into an event and the log.
func (c *Controller) report(ctx context.Context, chart *unstructured.Unstructured, job string, failure error) error {
	failed := map[string]any{"type": "Failed", "status": "False"}
	if failure != nil {
		failed = map[string]any{"type": "Failed", "status": "True", "reason": "Job error", "message": failure.Error()}
		logs.Errorf("Helm chart %s/%s: %v", chart.GetNamespace(), chart.GetName(), failure)
		c.Clients.Event(ctx, kube.Reference(chart), corev1.EventTypeWarning, "Failed", failure.Error(), source)
	} else {
		c.Clients.Event(ctx, kube.Reference(chart), corev1.EventTypeNormal, "ApplyJob", "Applied HelmChart using Job "+chart.GetNamespace()+"/"+job, source)
	}
	changed := chart.DeepCopy()
	status := map[string]any{"conditions": []any{map[string]any{"type": "JobCreated", "status": "True", "reason": "Job created"}, failed}}
	if job != "" {
		status["jobName"] = job
	}
	changed.Object["status"] = status
	_, err := c.Clients.Dynamic.Resource(chartResource).Namespace(chart.GetNamespace()).UpdateStatus(ctx, changed, metav1.UpdateOptions{})
	return err
}

// remove uninstalls the release of a HelmChart that is being deleted.
func (c *Controller) remove(ctx context.Context, chart *unstructured.Unstructured) error {
	kept := []string{}
	for _, name := range chart.GetFinalizers() {
		if name != finalizer {
			kept = append(kept, name)
		}
	}
	if len(kept) == len(chart.GetFinalizers()) {
		return nil
	}
	wanted := release{Namespace: chart.GetNamespace(), Name: chart.GetName()}
	wanted.Spec.TargetNamespace, _, _ = unstructured.NestedString(chart.Object, "spec", "targetNamespace")
	if _, err := c.helm(ctx, "uninstall", wanted.Name, "--namespace", wanted.target(), "--ignore-not-found", "--wait"); err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err := c.Clients.Typed.BatchV1().Jobs(wanted.Namespace).Delete(ctx, wanted.job(), metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	changed := chart.DeepCopy()
	changed.SetFinalizers(kept)
	_, err = c.Clients.Dynamic.Resource(chartResource).Namespace(chart.GetNamespace()).Update(ctx, changed, metav1.UpdateOptions{})
	return err
}
