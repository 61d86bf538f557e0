// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"flyte.onprem/testbed/k3s/internal/certs"
	"flyte.onprem/testbed/k3s/internal/logs"
)

const (
	dialTimeout = 2 * time.Second
	// A server that does not answer for this long loses the connections that go through it.
	healthInterval = 2 * time.Second
)

// Balancer is the agent's own way to all servers: one local port (lb-server-port), each connection to the first server
// that answers (K3S.md sections 3b and 5, after k3s-io/k3s pkg/agent/loadbalancer).
type Balancer struct {
	file string
	// ServerURL is option "server", the way in while no other server is known.
	ServerURL string   `json:"ServerURL"`
	Servers   []string `json:"ServerAddresses"`

	mutex       sync.Mutex
	fallback    string
	connections map[string]map[net.Conn]bool
}

// StartBalancer listens; a file of an earlier start tells the servers that were known then.
func StartBalancer(file, server string, port int) (*Balancer, error) {
	address, err := url.Parse(server)
	if err != nil {
		return nil, err
	}
	host := address.Host
	if address.Port() == "" {
		host = net.JoinHostPort(address.Hostname(), "443")
	}
	balancer := &Balancer{file: file, fallback: host, connections: map[string]map[net.Conn]bool{}}
	if content, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(content, balancer)
	}
	if balancer.ServerURL != server {
		balancer.ServerURL, balancer.Servers = server, nil
	}
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	logs.Infof("Running load balancer k3s-agent-load-balancer 127.0.0.1:%d -> %v [default: %s]", port, balancer.Servers, host)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go balancer.serve(connection)
		}
	}()
	go balancer.watch()
	return balancer, nil
}

// SetServers replaces the list of servers.
func (b *Balancer) SetServers(servers []string) {
	slices.Sort(servers)
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(servers) == 0 || slices.Equal(servers, b.Servers) {
		return
	}
	for _, gone := range b.Servers {
		if !slices.Contains(servers, gone) {
			logs.Infof("Removing server from load balancer k3s-agent-load-balancer: %s", gone)
			b.closeAll(gone)
		}
	}
	for _, added := range servers {
		if !slices.Contains(b.Servers, added) {
			logs.Infof("Adding server to load balancer k3s-agent-load-balancer: %s", added)
		}
	}
	b.Servers = servers
	content, _ := json.MarshalIndent(b, "", "  ")
	if err := certs.WriteFile(b.file, content, 0o600); err != nil {
		logs.Errorf("Failed to write %s: %v", b.file, err)
	}
}

// candidates are the servers in the order in which they are tried.
func (b *Balancer) candidates() []string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	list := append([]string{}, b.Servers...)
	if !slices.Contains(list, b.fallback) {
		list = append(list, b.fallback)
	}
	return list
}

func (b *Balancer) dial() (net.Conn, string, error) {
	var failures []error
	for _, server := range b.candidates() {
		connection, err := net.DialTimeout("tcp", server, dialTimeout)
		if err == nil {
			return connection, server, nil
		}
		failures = append(failures, err)
	}
	return nil, "", fmt.Errorf("all servers failed: %w", errors.Join(failures...))
}

func (b *Balancer) serve(inner net.Conn) {
	defer inner.Close()
	outer, server, err := b.dial()
	if err != nil {
		logs.Debugf("%v", err)
		return
	}
	defer outer.Close()
	b.mutex.Lock()
	if b.connections[server] == nil {
		b.connections[server] = map[net.Conn]bool{}
	}
	b.connections[server][outer] = true
	b.mutex.Unlock()
	defer func() {
		b.mutex.Lock()
		delete(b.connections[server], outer)
		b.mutex.Unlock()
	}()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{inner, outer}, {outer, inner}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done
}

// watch closes what goes through a server that is gone without a word, so that clients find another one.
func (b *Balancer) watch() {
	for {
		time.Sleep(healthInterval)
		for _, server := range b.candidates() {
			if connection, err := net.DialTimeout("tcp", server, dialTimeout); err == nil {
				connection.Close()
				continue
			}
			b.mutex.Lock()
			b.closeAll(server)
			b.mutex.Unlock()
		}
	}
}

func (b *Balancer) closeAll(server string) {
	for connection := range b.connections[server] {
		connection.Close()
	}
}
