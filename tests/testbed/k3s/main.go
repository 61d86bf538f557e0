// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command k3s is the test bed's stand-in for k3s: upstream Kubernetes behind k3s's command line, files and behaviour.
// README.md beside this file says what it imitates, from which facts, and what is not there.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"flyte.onprem/testbed/k3s/internal/agent"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/options"
	"flyte.onprem/testbed/k3s/internal/payload"
	"flyte.onprem/testbed/k3s/internal/server"
)

// The version is set by the linker (../versions.toml); the commit is none of k3s's.
var (
	version = "v0.0.0+k3s1"
	commit  = "0bed0bed"
)

// Commands that k3s has and the stand-in has not (K3S.md, k3s-io/k3s cmd/).
var missing = []string{"crictl", "check-config", "secrets-encrypt", "certificate", "completion"}

func main() {
	program := filepath.Base(os.Args[0])
	switch program {
	case "kubectl", "ctr":
		tool(program, os.Args[1:])
	case "crictl":
		logs.Fatalf("stand-in: command crictl is not implemented")
	}
	if len(os.Args) < 2 {
		fmt.Print(help())
		return
	}
	verb, arguments := os.Args[1], os.Args[2:]
	switch verb {
	case "--version", "-v":
		fmt.Printf("%s version %s (%s)\ngo version %s\n", program, version, commit, runtime.Version())
	case "help", "h", "--help", "-h":
		fmt.Print(help())
	case "kubectl", "ctr":
		tool(verb, arguments)
	case "server":
		config, err := server.NewConfig(parse(verb, options.Server(), arguments), version)
		run("", config, err)
	case "etcd-snapshot":
		etcdSnapshot(arguments)
	case "token":
		token(arguments)
	case "agent":
		config, err := agent.NewConfig(parse(verb, options.Agent(), arguments), version)
		run(" agent", config, err)
	default:
		for _, name := range missing {
			if verb == name {
				logs.Fatalf("stand-in: command %s is not implemented", name)
			}
		}
		if strings.HasPrefix(verb, "-") {
			fmt.Printf("Incorrect Usage: flag provided but not defined: %s\n\n%s", verb, help())
			logs.Fatalf("flag provided but not defined: %s", verb)
		}
		fmt.Printf("No help topic for '%s'\n", verb)
		os.Exit(3)
	}
}

func help() string {
	return "NAME:\n   k3s - stand-in for k3s in a test bed\n\nUSAGE:\n   k3s COMMAND [OPTIONS]\n\nVERSION:\n   " + version +
		"\n\nCOMMANDS:\n   server   Run a server: control plane and node\n   agent    Run a node that joins a server\n   etcd-snapshot  Save, list and delete snapshots of etcd\n   token    Rotate the server's token\n   kubectl  Run kubectl\n   ctr      Run ctr\n"
}

// parse reads a command's options, or ends the program as k3s does on wrong ones.
func parse(command string, table []options.Option, arguments []string) *options.Values {
	values, err := options.Parse(command, table, arguments)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Print(options.Usage(command, table))
		os.Exit(0)
	}
	if err != nil {
		if strings.HasPrefix(err.Error(), "flag ") || strings.HasPrefix(err.Error(), "invalid ") {
			fmt.Printf("Incorrect Usage: %v\n\n%s", err, options.Usage(command, table))
		}
		logs.Fatalf("%v", err)
	}
	logs.SetDebug(values.Bool("debug"))
	return values
}

// process is what "server" and "agent" become.
type process interface{ Run() error }

func run(command string, config process, err error) {
	if err != nil {
		logs.Fatalf("%v", err)
	}
	logs.Infof("Starting k3s%s %s (%s)", command, version, commit)
	if err := config.Run(); err != nil {
		logs.Fatalf("%v", err)
	}
}

// tool becomes one of the bundled programs.
func tool(name string, arguments []string) {
	bin, err := payload.Unpack(dataDirectory())
	if err != nil {
		logs.Fatalf("%v", err)
	}
	switch name {
	case "ctr":
		setDefault("CONTAINERD_ADDRESS", agent.ContainerdAddress)
		setDefault("CONTAINERD_NAMESPACE", "k8s.io")
	case "kubectl":
		if os.Getenv("KUBECONFIG") == "" && !strings.Contains(strings.Join(arguments, " "), "--kubeconfig") {
			const file = "/etc/rancher/k3s/k3s.yaml"
			if readable, err := os.Open(file); err == nil {
				readable.Close()
				os.Setenv("KUBECONFIG", file)
			} else if os.IsPermission(err) {
				logs.Warnf("Unable to read %s, please start server with --write-kubeconfig-mode or --write-kubeconfig-group to modify kube config permissions", file)
			}
		}
	}
	path := filepath.Join(bin, name)
	logs.Fatalf("%s: %v", path, syscall.Exec(path, append([]string{name}, arguments...), os.Environ()))
}

func setDefault(name, value string) {
	if os.Getenv(name) == "" {
		os.Setenv(name, value)
	}
}

// dataDirectory is where the payload lies: K3S_DATA_DIR, else data-dir of the configuration file, else the default of the user.
func dataDirectory() string {
	if given := os.Getenv("K3S_DATA_DIR"); given != "" {
		return given
	}
	if os.Getuid() != 0 {
		home, _ := os.UserHomeDir()
		return filepath.Join(home, ".rancher", "k3s")
	}
	return options.DataDirectory()
}
