// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package engine runs Flyte's own flytepropeller: the workflow controller, which
// also creates the FlyteWorkflow CRD, and the webhook that gives pods their
// secrets. What the cluster sees of them is Flyte's work, not ours.
package engine

import (
	"context"
	"net/http"
	"os"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	webhookserver "sigs.k8s.io/controller-runtime/pkg/webhook"

	// Task types of the chart's enabled-plugins; connector-service comes with
	// the controller. Flyte's own list cannot be built: Spark's module is gone.
	_ "github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/array/k8s"
	_ "github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/k8s/pod"
	_ "github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/testing"

	"github.com/flyteorg/flyte/flytepropeller/pkg/controller"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/config"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/executors"
	"github.com/flyteorg/flyte/flytepropeller/pkg/webhook"
	webhookconfig "github.com/flyteorg/flyte/flytepropeller/pkg/webhook/config"
	"github.com/flyteorg/flyte/flytestdlib/profutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils"

	"flyte.onprem/testbed/flyte/internal/settings"
)

const (
	everyNamespace   = "all"
	defaultNamespace = "flyte"
)

// Run works until ctx ends or a part fails.
func Run(ctx context.Context) error {
	parts := settings.GetParts().Propeller
	cfg := config.GetConfig()
	scope := promutils.NewScope(cfg.MetricsPrefix).NewSubScope("propeller").NewSubScope(cfg.LimitNamespace)
	mgr, err := newManager(ctx, cfg, scope)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if !parts.DisableWebhook {
		group.Go(func() error { return runWebhook(ctx, cfg, mgr, scope) })
	}
	if !parts.Disabled {
		group.Go(func() error { return controller.StartController(ctx, cfg, everyNamespace, mgr, &scope) })
	}
	group.Go(func() error { return controller.StartControllerManager(ctx, mgr) })
	group.Go(func() error {
		return profutils.StartProfilingServerWithDefaultHandlers(ctx, cfg.ProfilerPort.Port, map[string]http.Handler{
			"/k8smetrics": promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}),
		})
	})
	return group.Wait()
}

func newManager(ctx context.Context, cfg *config.Config, scope promutils.Scope) (manager.Manager, error) {
	watch := cache.Options{SyncPeriod: &cfg.DownstreamEval.Duration}
	if cfg.LimitNamespace != everyNamespace {
		watch.DefaultNamespaces = map[string]cache.Config{cfg.LimitNamespace: {}}
	}
	hook := webhookconfig.GetConfig()
	return controller.CreateControllerManager(ctx, cfg, manager.Options{
		Cache:         watch,
		NewCache:      executors.NewCache,
		NewClient:     executors.BuildNewClientFunc(scope),
		Metrics:       metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhookserver.NewServer(webhookserver.Options{CertDir: hook.ExpandCertDir(), Port: hook.ListenPort}),
	})
}

func runWebhook(ctx context.Context, cfg *config.Config, mgr manager.Manager, scope promutils.Scope) error {
	hook := webhookconfig.GetConfig()
	if err := webhook.InitCerts(ctx, cfg, hook); err != nil {
		return err
	}
	namespace, found := os.LookupEnv(webhook.PodNamespaceEnvVar)
	if !found {
		namespace = defaultNamespace
	}
	return webhook.Run(ctx, cfg, hook, namespace, &scope, mgr)
}
