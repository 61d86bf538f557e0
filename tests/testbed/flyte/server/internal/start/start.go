// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package start is the command line of the server and the order in which its
// parts come up.
package start

import (
	"context"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/flyteorg/flyte/flytestdlib/config"
	"github.com/flyteorg/flyte/flytestdlib/config/viper"
	"github.com/flyteorg/flyte/flytestdlib/contextutils"
	stdlib "github.com/flyteorg/flyte/flytestdlib/database"
	"github.com/flyteorg/flyte/flytestdlib/logger"
	"github.com/flyteorg/flyte/flytestdlib/promutils"
	"github.com/flyteorg/flyte/flytestdlib/promutils/labeled"
	"github.com/flyteorg/flyte/flytestdlib/storage"

	"flyte.onprem/testbed/flyte/internal/admin"
	"flyte.onprem/testbed/flyte/internal/api"
	"flyte.onprem/testbed/flyte/internal/clusterresources"
	"flyte.onprem/testbed/flyte/internal/database"
	"flyte.onprem/testbed/flyte/internal/dataproxy"
	"flyte.onprem/testbed/flyte/internal/engine"
	"flyte.onprem/testbed/flyte/internal/events"
	"flyte.onprem/testbed/flyte/internal/executions"
	"flyte.onprem/testbed/flyte/internal/registry"
	"flyte.onprem/testbed/flyte/internal/settings"
)

// Command is `flyte` with its one sub-command `start`.
func Command() *cobra.Command {
	var pattern string
	root := &cobra.Command{Use: "flyte", Short: "The Flyte server of the flyte.onprem test bed", SilenceUsage: true}
	// The accessor expands the pattern itself and merges the files in lexical order.
	root.PersistentFlags().StringVar(&pattern, "config", "", "configuration files, for example '/etc/flyte/config.d/*.yaml'")
	start := &cobra.Command{
		Use:   "start",
		Short: "Start all parts of Flyte in this process",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accessor := viper.NewAccessor(config.Options{SearchPaths: []string{pattern}, StrictMode: false})
			accessor.InitializePflags(cmd.Flags())
			if err := accessor.UpdateConfig(cmd.Context()); err != nil {
				return err
			}
			if err := settings.Unsupported(); err != nil {
				return err
			}
			return run()
		},
	}
	root.AddCommand(start)
	return root
}

// run starts the parts side by side. A part that fails takes the process with
// it, by a Go panic as in Flyte.
func run() error {
	// Storage and propeller refuse to make metrics before this is set.
	labeled.SetMetricKeys(contextutils.AppNameKey, contextutils.ProjectKey, contextutils.DomainKey,
		contextutils.WorkflowIDKey, contextutils.NodeIDKey, contextutils.TaskIDKey,
		contextutils.TaskTypeKey, storage.FailureTypeLabel)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	parts := settings.GetParts()
	group, ctx := errgroup.WithContext(ctx)
	if !parts.Admin.Disabled {
		group.Go(func() error {
			if err := runAdmin(ctx, parts); err != nil {
				logger.Panicf(ctx, "Failed to start Admin, err: %v", err)
			}
			return nil
		})
	}
	if !parts.Propeller.Disabled {
		group.Go(func() error {
			if err := engine.Run(ctx); err != nil && ctx.Err() == nil {
				logger.Panicf(ctx, "Failed to start Propeller, err: %v", err)
			}
			return nil
		})
	}
	return group.Wait()
}

func runAdmin(ctx context.Context, parts *settings.Parts) error {
	db, err := prepareDatabase(ctx, parts)
	if err != nil {
		return err
	}
	projects := database.Projects{DB: db}
	objects, err := storage.NewDataStore(storage.GetConfig(), promutils.NewScope("flyte:admin:storage"))
	if err != nil {
		return err
	}
	cluster, err := clusterConfig()
	if err != nil {
		return err
	}
	workflows, err := executions.NewKubernetes(cluster)
	if err != nil {
		return err
	}
	store := database.Store{DB: db}
	registered := &registry.Service{Store: store, Projects: projects, Objects: objects}
	executed := &executions.Service{Store: store, Projects: projects, Registry: registered, Objects: objects, Cluster: workflows}
	group, ctx := errgroup.WithContext(ctx)
	if !parts.Admin.DisableClusterResourceManager {
		controller, err := clusterresources.New(cluster, projects)
		if err != nil {
			return err
		}
		group.Go(func() error {
			controller.Run(ctx)
			return nil
		})
	}
	group.Go(func() error {
		return api.Serve(ctx, &admin.Service{
			Projects:   &admin.Projects{Store: projects},
			Attributes: &admin.Attributes{Store: projects},
			Service:    registered,
			Executions: admin.Executions{Service: executed},
			Events:     admin.Events{Service: &events.Service{Store: store, Objects: objects}},
		}, &dataproxy.Service{Store: objects, Executions: executed})
	})
	return group.Wait()
}

func prepareDatabase(ctx context.Context, parts *settings.Parts) (*gorm.DB, error) {
	db, err := database.Open(ctx, stdlib.GetConfig())
	if err != nil {
		return nil, err
	}
	if err := database.Migrate(db); err != nil {
		return nil, err
	}
	projects := database.Projects{DB: db}
	for _, seed := range seeds(parts) {
		if err := projects.Seed(ctx, seed.Name, seed.Description); err != nil {
			return nil, err
		}
	}
	return db, nil
}

// seeds joins both lists of projects; the one with descriptions wins.
func seeds(parts *settings.Parts) []settings.SeedProject {
	described := map[string]bool{}
	list := append([]settings.SeedProject{}, parts.Admin.SeedProjectsWithDetails...)
	for _, seed := range list {
		described[seed.Name] = true
	}
	names := parts.Admin.SeedProjects
	if len(names) == 0 {
		names = []string{"flytesnacks"}
	}
	for _, name := range names {
		if !described[name] {
			list = append(list, settings.SeedProject{Name: name, Description: name + " description"})
			described[name] = true
		}
	}
	return list
}

// clusterConfig is the pod's own service account unless section `server` names
// a kubeconfig.
func clusterConfig() (*rest.Config, error) {
	cfg := settings.GetServer()
	return clientcmd.BuildConfigFromFlags(cfg.Master, cfg.KubeConfig)
}
