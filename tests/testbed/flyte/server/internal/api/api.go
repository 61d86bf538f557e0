// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package api serves what clients of Flyte talk to: gRPC, its HTTP gateway and
// a page in the place of the console.
package api

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	gateway "github.com/flyteorg/flyte/flyteidl/gen/pb-go/gateway/flyteidl/service"
	"github.com/flyteorg/flyte/flytestdlib/logger"

	"flyte.onprem/testbed/flyte/internal/refusal"
	"flyte.onprem/testbed/flyte/internal/settings"
)

//go:embed console.html
var console []byte

const (
	readHeaderTimeout = 32 * time.Second
	shutdownTimeout   = 10 * time.Second
)

// Serve answers on both ports until ctx ends.
func Serve(ctx context.Context, admin service.AdminServiceServer, data service.DataProxyServiceServer) error {
	cfg := settings.GetServer()
	grpcAddress := fmt.Sprintf("0.0.0.0:%d", cfg.GRPC.Port)
	listener, err := net.Listen("tcp", grpcAddress)
	if err != nil {
		return fmt.Errorf("failed to listen on GRPC port: %s: %w", grpcAddress, err)
	}
	grpcServer := newGRPC(cfg, admin, data)
	handler, err := newHTTP(ctx, grpcAddress)
	if err != nil {
		return err
	}
	httpServer := &http.Server{
		Addr:              fmt.Sprintf("0.0.0.0:%d", cfg.HTTPPort),
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
	}
	logger.Infof(ctx, "Serving GRPC Traffic on: %s, HTTP on: %s", grpcAddress, httpServer.Addr)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return grpcServer.Serve(listener) })
	group.Go(func() error {
		if err := httpServer.ListenAndServe(); err != http.ErrServerClosed {
			return err
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		late := time.AfterFunc(shutdownTimeout, func() {
			httpServer.Close()
			grpcServer.Stop()
		})
		defer late.Stop()
		err := httpServer.Shutdown(context.WithoutCancel(ctx))
		grpcServer.GracefulStop()
		return err
	})
	return group.Wait()
}

// newGRPC registers the services. Those that are missing here (authentication,
// identity, signals) answer Unimplemented, which the gateway turns into 501: so
// does Flyte without authentication.
func newGRPC(cfg *settings.Server, admin service.AdminServiceServer, data service.DataProxyServiceServer) *grpc.Server {
	options := []grpc.ServerOption{grpc.UnaryInterceptor(refusal.Intercept)}
	if size := cfg.GRPC.MaxMessageSizeBytes; size > 0 {
		options = append(options, grpc.MaxRecvMsgSize(size), grpc.MaxSendMsgSize(size))
	}
	server := grpc.NewServer(options...)
	service.RegisterAdminServiceServer(server, admin)
	service.RegisterDataProxyServiceServer(server, data)
	state := health.NewServer()
	state.SetServingStatus("flyteadmin", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, state)
	if cfg.GRPC.ServerReflection {
		reflection.Register(server)
	}
	return server
}

func newHTTP(ctx context.Context, grpcAddress string) (http.Handler, error) {
	// Fields keep the names of the protocol files, and empty ones are sent too.
	plain := &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}}
	api := runtime.NewServeMux(
		runtime.WithMarshalerOption("application/json", plain),
		runtime.WithMarshalerOption("application/octet-stream", &runtime.ProtoMarshaller{}),
	)
	dial := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	for _, register := range []func(context.Context, *runtime.ServeMux, string, []grpc.DialOption) error{
		gateway.RegisterAdminServiceHandlerFromEndpoint,
		gateway.RegisterAuthMetadataServiceHandlerFromEndpoint,
		gateway.RegisterIdentityServiceHandlerFromEndpoint,
		gateway.RegisterDataProxyServiceHandlerFromEndpoint,
		gateway.RegisterSignalServiceHandlerFromEndpoint,
	} {
		if err := register(ctx, api, grpcAddress, dial); err != nil {
			return nil, err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthcheck", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/console", page)
	mux.HandleFunc("/console/", page)
	mux.Handle("/", api)
	return mux, nil
}

func page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(console)
}
