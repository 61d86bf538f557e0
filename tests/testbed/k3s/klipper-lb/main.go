// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command klipper-lb stands in for the image rancher/klipper-lb: it takes the traffic of one port of a Service
// (SRC_PORT) to its addresses (DEST_IPS, DEST_PORT). The real one does it with iptables rules and can do UDP.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	log.SetFlags(0)
	if protocol := os.Getenv("DEST_PROTO"); protocol != "TCP" {
		log.Fatalf("klipper-lb stand-in: protocol %q is not implemented, only TCP", protocol)
	}
	ranges, err := parseRanges(os.Getenv("SRC_RANGES"))
	if err != nil {
		log.Fatalf("klipper-lb stand-in: SRC_RANGES: %v", err)
	}
	var targets []string
	for _, address := range strings.Split(os.Getenv("DEST_IPS"), ",") {
		targets = append(targets, net.JoinHostPort(strings.TrimSpace(address), os.Getenv("DEST_PORT")))
	}
	listener, err := net.Listen("tcp", ":"+os.Getenv("SRC_PORT"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("port %s goes to %s\n", os.Getenv("SRC_PORT"), strings.Join(targets, ", "))
	// As the first process of its container it gets no signal it does not ask for.
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() { <-stop; os.Exit(0) }()
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		if !allowed(ranges, client.RemoteAddr()) {
			client.Close()
			continue
		}
		go forward(client.(*net.TCPConn), sameFamily(targets, client.RemoteAddr()))
	}
}

func parseRanges(text string) ([]netip.Prefix, error) {
	var ranges []netip.Prefix
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, err
		}
		ranges = append(ranges, prefix)
	}
	return ranges, nil
}

func allowed(ranges []netip.Prefix, remote net.Addr) bool {
	address, err := netip.ParseAddrPort(remote.String())
	if err != nil || len(ranges) == 0 {
		return err == nil
	}
	for _, prefix := range ranges {
		if prefix.Contains(address.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// sameFamily are the targets of the caller's family: a rule of iptables leads from no family to the other one.
func sameFamily(targets []string, remote net.Addr) []string {
	caller, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return nil
	}
	var same []string
	for _, target := range targets {
		place, err := netip.ParseAddrPort(target)
		if err == nil && place.Addr().Is4() == caller.Addr().Unmap().Is4() {
			same = append(same, target)
		}
	}
	return same
}

func forward(client *net.TCPConn, targets []string) {
	defer client.Close()
	for _, target := range targets {
		connection, err := net.Dial("tcp", target)
		if err != nil {
			log.Print(err)
			continue
		}
		server := connection.(*net.TCPConn)
		defer server.Close()
		done := make(chan struct{})
		go func() {
			_, _ = io.Copy(server, client)
			_ = server.CloseWrite()
			close(done)
		}()
		_, _ = io.Copy(client, server)
		_ = client.CloseWrite()
		<-done
		return
	}
}
