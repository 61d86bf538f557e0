// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/options"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// S3 is where snapshots go besides this server's disk (K3S.md section 7; k3s-io/k3s pkg/etcd/s3/s3.go).
type S3 struct {
	Endpoint, EndpointCA, AccessKey, SecretKey, SessionToken string
	Bucket, BucketLookup, Folder, Region, Proxy              string
	Insecure, SkipVerify                                     bool
	Retention                                                int
	Timeout                                                  time.Duration
}

// storedInS3 is what stands in the place of a node's name.
const storedInS3 = "s3"

// S3From are the options of snapshots in S3, or nothing where they are off.
func S3From(values *options.Values) (*S3, error) {
	if !values.Bool("etcd-s3") {
		return nil, nil
	}
	timeout, err := time.ParseDuration(values.String("etcd-s3-timeout"))
	if err != nil {
		return nil, err
	}
	return &S3{
		Endpoint: values.String("etcd-s3-endpoint"), EndpointCA: values.String("etcd-s3-endpoint-ca"),
		AccessKey: values.String("etcd-s3-access-key"), SecretKey: values.String("etcd-s3-secret-key"),
		SessionToken: values.String("etcd-s3-session-token"),
		Bucket:       values.String("etcd-s3-bucket"), BucketLookup: values.String("etcd-s3-bucket-lookup-type"),
		Folder: values.String("etcd-s3-folder"), Region: values.String("etcd-s3-region"), Proxy: values.String("etcd-s3-proxy"),
		Insecure: values.Bool("etcd-s3-insecure"), SkipVerify: values.Bool("etcd-s3-skip-ssl-verify"),
		Retention: values.Int("etcd-s3-retention"), Timeout: timeout,
	}, nil
}

// connect makes a client and sees that the bucket is there.
func (s *S3) connect(ctx context.Context) (*minio.Client, error) {
	if s.Bucket == "" {
		return nil, errors.New("failed to initialize S3 client: s3 bucket name was not set")
	}
	client, err := s.client()
	if err != nil {
		return nil, fmt.Errorf("failed to initialize S3 client: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	there, err := client.BucketExists(ctx, s.Bucket)
	if err != nil {
		return nil, fmt.Errorf("failed to initialize S3 client: failed to test for existence of bucket %s: %w", s.Bucket, err)
	}
	if !there {
		return nil, fmt.Errorf("failed to initialize S3 client: bucket %s does not exist", s.Bucket)
	}
	return client, nil
}

func (s *S3) client() (*minio.Client, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	switch {
	case s.SkipVerify:
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the option says so
	case s.EndpointCA != "":
		authorities, err := authoritiesOf(s.EndpointCA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: authorities, MinVersion: tls.VersionTLS12}
	}
	if s.Proxy != "" {
		proxy, err := proxyOf(s.Proxy)
		if err != nil {
			return nil, err
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	lookup := map[string]minio.BucketLookupType{"dns": minio.BucketLookupDNS, "path": minio.BucketLookupPath}[strings.ToLower(s.BucketLookup)]
	return minio.New(s.Endpoint, &minio.Options{Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, s.SessionToken), Secure: !s.Insecure,
		Region: s.Region, Transport: transport, BucketLookup: lookup})
}

// authoritiesOf reads certificates, each a file or the base64 of one, with a space in between.
func authoritiesOf(given string) (*x509.CertPool, error) {
	pool, found := x509.NewCertPool(), false
	for _, one := range strings.Split(given, " ") {
		content, err := base64.StdEncoding.DecodeString(one)
		if err != nil {
			content, err = os.ReadFile(one)
		}
		if err != nil {
			return nil, err
		}
		found = pool.AppendCertsFromPEM(content) || found
	}
	if !found {
		return nil, errors.New("no certificates loaded from etcd-s3-endpoint-ca")
	}
	return pool, nil
}

// proxyOf is no proxy for the word none.
func proxyOf(given string) (*url.URL, error) {
	if given == "none" {
		return nil, nil
	}
	proxy, err := url.Parse(given)
	if err != nil {
		return nil, fmt.Errorf("failed to parse etcd-s3-proxy value as URL: %w", err)
	}
	if proxy.Scheme == "" || proxy.Host == "" {
		return nil, errors.New("proxy URL must include scheme and host")
	}
	return proxy, nil
}

func (s *S3) key(name string) string      { return path.Join(s.Folder, name) }
func (s *S3) location(name string) string { return fmt.Sprintf("s3://%s/%s", s.Bucket, s.key(name)) }

// upload puts a file there and prunes what is more than is kept of the same base: of all servers, since names begin with it.
func (s *S3) upload(ctx context.Context, client *minio.Client, file, base string) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	name := filepath.Base(file)
	logs.Infof("Uploading snapshot to %s", s.location(name))
	kind := "application/octet-stream"
	if strings.HasSuffix(name, zipped) {
		kind = "application/zip"
	}
	sent, err := client.FPutObject(ctx, s.Bucket, s.key(name), file, minio.PutObjectOptions{ContentType: kind, NumThreads: 2})
	if err != nil {
		return Snapshot{}, err
	}
	logs.Infof("S3 upload complete for %s", name)
	return Snapshot{Name: name, Location: s.location(name), Node: storedInS3, Size: sent.Size, Created: time.Now().UTC().Truncate(time.Second)},
		s.prune(ctx, client, base)
}

func (s *S3) prune(ctx context.Context, client *minio.Client, base string) error {
	if s.Retention < 1 {
		return nil
	}
	found, err := s.list(ctx, client)
	if err != nil {
		return err
	}
	for _, one := range beyond(found, base, s.Retention) {
		logs.Infof("Removing S3 snapshot: %s", one.Location)
		if err := s.remove(ctx, client, one.Name); err != nil {
			return err
		}
	}
	return nil
}

// list are the snapshots there, the oldest first.
func (s *S3) list(ctx context.Context, client *minio.Client) ([]Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	found := []Snapshot{}
	for object := range client.ListObjects(ctx, s.Bucket, minio.ListObjectsOptions{Prefix: s.Folder, Recursive: true}) {
		if object.Err != nil {
			return nil, object.Err
		}
		name := path.Base(object.Key)
		found = append(found, Snapshot{Name: name, Location: s.location(name), Node: storedInS3, Size: object.Size, Created: object.LastModified.UTC()})
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Created.Before(found[j].Created) })
	return found, nil
}

func (s *S3) remove(ctx context.Context, client *minio.Client, name string) error {
	return client.RemoveObject(ctx, s.Bucket, s.key(name), minio.RemoveObjectOptions{})
}

// download brings a snapshot into a directory of this server.
func (s *S3) download(ctx context.Context, name, directory string) (string, error) {
	logs.Infof("Retrieving etcd snapshot %s from S3", name)
	client, err := s.connect(ctx)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	file := filepath.Join(directory, name)
	if err := client.FGetObject(ctx, s.Bucket, s.key(name), file, minio.GetObjectOptions{}); err != nil {
		return "", fmt.Errorf("failed to download snapshot from S3: %w", err)
	}
	logs.Infof("S3 download complete for %s", name)
	return file, os.Chmod(file, 0o600)
}
