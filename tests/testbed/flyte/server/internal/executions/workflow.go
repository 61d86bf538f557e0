// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package executions

import (
	"context"
	"maps"

	"google.golang.org/protobuf/proto"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytepropeller/pkg/client/clientset/versioned"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/transformers/k8s"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/settings"
)

// Kubernetes is the cluster that flytepropeller watches.
type Kubernetes struct{ client versioned.Interface }

// NewKubernetes connects to a cluster.
func NewKubernetes(cluster *rest.Config) (*Kubernetes, error) {
	client, err := versioned.NewForConfig(cluster)
	return &Kubernetes{client}, err
}

// Create makes the object unless it is there: a second request with the name of
// an execution is refused by the database.
func (k *Kubernetes) Create(ctx context.Context, workflow *v1alpha1.FlyteWorkflow) error {
	_, err := k.client.FlyteworkflowV1alpha1().FlyteWorkflows(workflow.GetNamespace()).Create(ctx, workflow, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// Delete asks flytepropeller, by the finalizer, to abort.
func (k *Kubernetes) Delete(ctx context.Context, namespace, name string) error {
	background := metav1.DeletePropagationBackground
	err := k.client.FlyteworkflowV1alpha1().FlyteWorkflows(namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &background})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// build makes the object of an execution: Flyte's own transformer does the
// workflow, the rest is what flyteadmin adds.
func build(o *order) (*v1alpha1.FlyteWorkflow, error) {
	server := settings.GetAdmin()
	workflow, err := k8s.BuildFlyteWorkflow(o.compiled, o.inputs, o.id, settings.Namespace(o.id.GetProject(), o.id.GetDomain()))
	if err != nil {
		return nil, err
	}
	workflow.ExecutionID = v1alpha1.WorkflowExecutionIdentifier{WorkflowExecutionIdentifier: o.id}
	accepted := metav1.NewTime(o.accepted)
	workflow.AcceptedAt = &accepted
	controllerutil.AddFinalizer(workflow, controller.Finalizer)

	if workflow.Labels == nil {
		workflow.Labels = map[string]string{}
	}
	maps.Copy(workflow.Labels, o.labels)
	workflow.Annotations = map[string]string{}
	if runAs := o.config.GetSecurityContext().GetRunAs(); runAs != nil {
		proto.Merge(&workflow.SecurityContext, o.config.GetSecurityContext())
		workflow.ServiceAccountName = runAs.GetK8SServiceAccount()
		if runAs.GetIamRole() != "" {
			workflow.Annotations[server.RoleNameKey] = runAs.GetIamRole()
		}
	}
	maps.Copy(workflow.Annotations, o.config.GetAnnotations().GetValues())
	workflow.WorkflowMeta = &v1alpha1.WorkflowMeta{EventVersion: v1alpha1.EventVersion(server.EventVersion)}
	workflow.ExecutionConfig = executionConfig(o)
	if o.config.GetRawOutputDataConfig() != nil {
		workflow.RawOutputDataConfig = v1alpha1.RawOutputDataConfig{RawOutputDataConfig: o.config.GetRawOutputDataConfig()}
	}
	if server.UseOffloadedWorkflowClosure {
		workflow.WorkflowClosureReference = storage.DataReference(o.workflow.RemoteClosureIdentifier)
		workflow.WorkflowSpec, workflow.SubWorkflows, workflow.Tasks = nil, nil, nil
	}
	if server.UseOffloadedInputs {
		workflow.OffloadedInputs = storage.DataReference(o.row.InputsURI)
		workflow.Inputs = nil
	}
	workflow.ConsoleURL = server.ConsoleURL
	return workflow, nil
}

func executionConfig(o *order) v1alpha1.ExecutionConfig {
	config := v1alpha1.ExecutionConfig{
		TaskPluginImpls: map[string]v1alpha1.TaskPluginOverride{},
		MaxParallelism:  uint32(max(o.config.GetMaxParallelism(), 0)),
		OverwriteCache:  o.config.GetOverwriteCache(),
	}
	if o.config.GetInterruptible() != nil {
		interruptible := o.config.GetInterruptible().GetValue()
		config.Interruptible = &interruptible
	}
	if o.config.GetEnvs() != nil {
		config.EnvironmentVariables = map[string]string{}
		for _, pair := range o.config.GetEnvs().GetValues() {
			config.EnvironmentVariables[pair.GetKey()] = pair.GetValue()
		}
	}
	platform := settings.GetTaskResources()
	config.TaskResources = v1alpha1.TaskResources{Requests: resources(platform.Defaults), Limits: resources(platform.Limits)}
	return config
}

func resources(set settings.TaskResourceSet) v1alpha1.TaskResourceSpec {
	return v1alpha1.TaskResourceSpec{CPU: set.CPU, Memory: set.Memory, EphemeralStorage: set.EphemeralStorage, GPU: set.GPU}
}
