// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package server

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/payload"
	"flyte.onprem/testbed/k3s/internal/supervisor"
)

// The end of all other members, with or without a snapshot that takes the place of the data (K3S.md section 7; k3s-io/k3s
// pkg/etcd/etcd.go, pkg/cluster/managed.go).

const resetDone = "Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. " +
	"Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes"

func (c *Config) resetFlag() string { return c.server("db", "reset-flag") }

// checkReset are the combinations that k3s refuses.
func checkReset(reset bool, snapshot, server string) error {
	switch {
	case snapshot != "" && !reset:
		return errors.New("invalid flag use; --cluster-reset required with --cluster-reset-restore-path")
	case reset && server != "":
		return errors.New("cannot perform cluster-reset while server URL is set - remove server from configuration before resetting")
	}
	return nil
}

// reset is "k3s server --cluster-reset", which ends.
func (c *Config) reset(ctx context.Context, group *supervisor.Group) error {
	bin, err := payload.Unpack(c.Data)
	if err != nil {
		return err
	}
	c.Bin, c.Node.Bin = bin, bin
	if _, err := os.Stat(c.resetFlag()); err == nil {
		return fmt.Errorf("cluster-reset was successfully performed, please remove the cluster-reset flag and start k3s normally, "+
			"if you need to perform another cluster reset, you must first manually delete the %s file", c.resetFlag())
	}
	member := &etcd{config: c}
	snapshot := c.Values.String("cluster-reset-restore-path")
	if snapshot == "" && !member.initialized() {
		return errors.New("stand-in: nothing to reset, this server is no member of etcd")
	}
	if err := c.directories(); err != nil {
		return err
	}
	if snapshot != "" {
		if snapshot, err = c.fetch(ctx, member, snapshot); err != nil {
			return err
		}
		if err := c.restore(ctx, member, snapshot); err != nil {
			return err
		}
	} else if err := member.rename(); err != nil {
		return err
	}
	// Before the keys are read, so that it is there after a wrong token, too.
	if err := certs.WriteFile(c.resetFlag(), nil, 0o600); err != nil {
		return err
	}
	c.etcd = member
	if err := c.reconcile(); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	if member.client, err = member.connect(etcdEndpoint); err != nil {
		return err
	}
	if err := member.start(group, "", "", true); err != nil {
		return err
	}
	err = supervisor.Poll(ctx, time.Minute, time.Second, func(ctx context.Context) error {
		err := member.test(ctx)
		if err != nil {
			member.adopt(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	logs.Infof("%s", resetDone)
	return errStopped
}

// adopt gives the member that is left this server's present address.
func (e *etcd) adopt(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	list, err := e.client.MemberList(ctx)
	if err != nil {
		logs.Warnf("failed to list etcd members: %v", err)
		return
	}
	if len(list.Members) > 1 {
		logs.Warnf("failed to update peer url: etcd still has more than one member")
		return
	}
	if _, err := e.client.MemberUpdate(ctx, list.Members[0].ID, []string{e.peerURL()}); err != nil {
		logs.Warnf("failed to update peer url: %v", err)
	}
}

// fetch brings a snapshot from S3, where that is configured: a path is a name there, too.
func (c *Config) fetch(ctx context.Context, member *etcd, snapshot string) (string, error) {
	store, err := S3From(c.Values)
	if err != nil || store == nil {
		return snapshot, err
	}
	directory, err := member.snapshotDirectory("")
	if err != nil {
		return "", err
	}
	return store.download(ctx, snapshot, directory)
}

// restore puts a snapshot in the place of the data, and the certificates of its time with it.
func (c *Config) restore(ctx context.Context, member *etcd, snapshot string) error {
	information, err := os.Stat(snapshot)
	if err != nil {
		return fmt.Errorf("etcd: snapshot path does not exist: %s", snapshot)
	}
	if information.IsDir() {
		return fmt.Errorf("etcd: snapshot path must be a file, not a directory: %s", snapshot)
	}
	password, err := c.password()
	if err != nil {
		return err
	}
	if password == "" {
		return fmt.Errorf("%s does not exist, please pass --token to complete the restoration", c.server("token"))
	}
	if strings.HasSuffix(snapshot, zipped) {
		if snapshot, err = unzip(snapshot, c.server("db", "etcd-tmp")); err != nil {
			return err
		}
		defer os.RemoveAll(c.server("db", "etcd-tmp"))
	}
	now := time.Now().Unix()
	if _, err := os.Stat(member.directory()); err == nil {
		old := c.server("db", fmt.Sprintf("etcd-old-%d", now))
		if err := os.Rename(member.directory(), old); err != nil {
			return err
		}
		logs.Infof("Pre-restore etcd database moved to %s", old)
	}
	kept := c.server(fmt.Sprintf("tls-%d", now))
	logs.Infof("Cluster reset: backing up certificates directory to %s", kept)
	if err := os.Rename(c.server("tls"), kept); err != nil {
		return err
	}
	if err := os.MkdirAll(c.server("tls", "etcd"), 0o700); err != nil {
		return err
	}
	name := c.NodeName + "-" + randomHex(4)
	command := exec.CommandContext(ctx, c.bin("etcdutl"), "snapshot", "restore", snapshot, "--data-dir="+member.directory(), "--name="+name,
		"--initial-cluster="+name+"="+member.peerURL(), "--initial-advertise-peer-urls="+member.peerURL())
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("restoring %s: %w: %s", snapshot, err, output)
	}
	member.name = name
	return certs.WriteFile(member.directory("name"), []byte(name), 0o600)
}

func unzip(file, directory string) (string, error) {
	archive, err := zip.OpenReader(file)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	if len(archive.File) != 1 {
		return "", fmt.Errorf("%s holds %d files", file, len(archive.File))
	}
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return "", err
	}
	entry, err := archive.File[0].Open()
	if err != nil {
		return "", err
	}
	defer entry.Close()
	target := filepath.Join(directory, filepath.Base(strings.TrimSuffix(file, zipped)))
	output, err := os.OpenFile(target, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer output.Close()
	_, err = io.Copy(output, entry)
	return target, err
}
