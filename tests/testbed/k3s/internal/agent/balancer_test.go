// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package agent

import (
	"io"
	"net"
	"path/filepath"
	"testing"
)

// named listens and answers each connection with its name.
func named(t *testing.T, name string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, name)
			connection.Close()
		}
	}()
	return listener
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func ask(t *testing.T, port int) string {
	t.Helper()
	connection, err := net.DialTCP("tcp", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answer, _ := io.ReadAll(connection)
	return string(answer)
}

func TestAConnectionGoesToAServerThatAnswers(t *testing.T) {
	first, second, port := named(t, "first"), named(t, "second"), freePort(t)
	file := filepath.Join(t.TempDir(), "balancer.json")
	balancer, err := StartBalancer(file, "https://"+first.Addr().String(), port)
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, port); got != "first" {
		t.Errorf("got %q before any list of servers", got)
	}
	balancer.SetServers([]string{first.Addr().String(), second.Addr().String()})
	first.Close()
	if got := ask(t, port); got != "second" {
		t.Errorf("got %q with the first server gone", got)
	}
}

func TestAListOfServersOutlivesARestart(t *testing.T) {
	first, second := named(t, "first"), named(t, "second")
	file := filepath.Join(t.TempDir(), "balancer.json")
	balancer, err := StartBalancer(file, "https://"+first.Addr().String(), freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	balancer.SetServers([]string{second.Addr().String()})
	first.Close()
	port := freePort(t)
	if _, err := StartBalancer(file, "https://"+first.Addr().String(), port); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, port); got != "second" {
		t.Errorf("got %q", got)
	}
}
