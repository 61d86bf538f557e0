// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package database

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	stdlib "github.com/flyteorg/flyte/flytestdlib/database"
)

func site() stdlib.PostgresConfig {
	return stdlib.PostgresConfig{Host: "db", Port: 5432, DbName: "flyte", User: "flyte", ExtraOptions: "sslmode=verify-full sslrootcert=/ca.crt"}
}

func TestDSNAppendsOptionsAndQuotesNothing(t *testing.T) {
	pg := site()
	pg.Password = `p\ w'`
	got, err := dsn(pg)
	want := `host=db port=5432 dbname=flyte user=flyte password=p\ w' sslmode=verify-full sslrootcert=/ca.crt`
	if err != nil || got != want {
		t.Errorf("got %q (%v), expected %q", got, err, want)
	}
}

func TestEmptyPasswordDropsOptionsAndTLS(t *testing.T) {
	got, err := dsn(site())
	want := "host=db port=5432 dbname=flyte user=flyte sslmode=disable"
	if err != nil || got != want {
		t.Errorf("got %q (%v), expected %q", got, err, want)
	}
}

func TestPasswordFileWinsAndIsTrimmed(t *testing.T) {
	pg := site()
	pg.Password = "value"
	pg.PasswordPath = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(pg.PasswordPath, []byte(" file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := dsn(pg)
	if err != nil || !strings.Contains(got, " password=file ") {
		t.Errorf("got %q (%v), expected the file's password without white space", got, err)
	}
}

func TestMissingPasswordFileIsAnError(t *testing.T) {
	pg := site()
	pg.Password = "value"
	pg.PasswordPath = filepath.Join(t.TempDir(), "absent")
	if got, err := dsn(pg); err == nil || !strings.Contains(err.Error(), "missing database password") {
		t.Errorf("got %q (%v), expected an error about the file", got, err)
	}
}
