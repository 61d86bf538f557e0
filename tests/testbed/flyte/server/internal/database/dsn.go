// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package database

import (
	"fmt"
	"os"
	"strings"

	stdlib "github.com/flyteorg/flyte/flytestdlib/database"
)

// dsn puts libpq keywords together as Flyte 1 does: no value is quoted, so a
// password with a blank, a backslash or a leading quote breaks here as it does
// there; without a password the options are dropped and TLS is off.
func dsn(pg stdlib.PostgresConfig) (string, error) {
	password, err := readPassword(pg)
	if err != nil {
		return "", err
	}
	target := fmt.Sprintf("host=%s port=%d dbname=%s user=%s", pg.Host, pg.Port, pg.DbName, pg.User)
	if password == "" {
		return target + " sslmode=disable", nil
	}
	return fmt.Sprintf("%s password=%s %s", target, password, pg.ExtraOptions), nil
}

// readPassword prefers the file over the value, as Flyte does.
func readPassword(pg stdlib.PostgresConfig) (string, error) {
	if pg.PasswordPath == "" {
		return pg.Password, nil
	}
	content, err := os.ReadFile(pg.PasswordPath)
	if os.IsNotExist(err) {
		return "", fmt.Errorf("missing database password at specified path [%s]", pg.PasswordPath)
	}
	if err != nil {
		return "", fmt.Errorf("failed to read database password from path [%s] with err: %w", pg.PasswordPath, err)
	}
	return strings.TrimSpace(string(content)), nil
}
