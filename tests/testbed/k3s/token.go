// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/access"
	"flyte.onprem/testbed/k3s/internal/logs"
	"flyte.onprem/testbed/k3s/internal/options"
	"flyte.onprem/testbed/k3s/internal/server"
)

// token is the command of that name, of which only the rotation is here (K3S.md section 4; k3s-io/k3s pkg/cli/token).
func token(arguments []string) {
	if len(arguments) == 0 {
		fmt.Print(options.Usage("token rotate", options.Token()))
		return
	}
	operation, arguments := arguments[0], arguments[1:]
	switch operation {
	case "rotate":
	case "create", "delete", "generate", "list":
		logs.Fatalf("stand-in: command token %s is not implemented", operation)
	default:
		fmt.Printf("No help topic for '%s'\n", operation)
		os.Exit(3)
	}
	values := parse("token rotate", options.Token(), arguments)
	fmt.Println("\033[33mWARNING\033[0m: Recommended to keep a record of the old token. If restoring from a snapshot, you must use the token associated with that snapshot.")
	if err := rotate(values); err != nil {
		logs.Fatalf("%v", err)
	}
	// Until the other members have it, too.
	time.Sleep(time.Second)
	fmt.Println("Token rotated, restart k3s nodes with new token")
}

func rotate(values *options.Values) error {
	info, err := reach(values, "token", "server")
	if err != nil {
		return err
	}
	wanted := values.String("new-token")
	body, err := json.Marshal(server.TokenRequest{NewToken: &wanted})
	if err != nil {
		return err
	}
	_, err = info.Do(http.MethodPut, "/v1-k3s/token", body, nil)
	return err
}

// reach proves the server that an option names with the token of another option, or with the one that lies on this host.
func reach(values *options.Values, tokenOption, serverOption string) (*access.Info, error) {
	secret, err := values.Secret(tokenOption)
	if err != nil {
		return nil, err
	}
	if secret == "" {
		content, err := os.ReadFile(filepath.Join(values.String("data-dir"), "server", "token"))
		if err != nil {
			return nil, err
		}
		secret = strings.TrimRight(string(content), "\n")
	}
	known, err := access.Parse(secret, "server")
	if err != nil {
		return nil, err
	}
	return access.Validate(values.String(serverOption), known, nil)
}
