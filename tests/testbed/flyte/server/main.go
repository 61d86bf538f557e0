// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// The Flyte server of the test bed: Flyte's engine and libraries, with a small
// admin service of our own in the place of flyteadmin and datacatalog.
package main

import (
	"os"

	"flyte.onprem/testbed/flyte/internal/start"
)

func main() {
	if err := start.Command().Execute(); err != nil {
		// cobra has printed the error; Flyte ends with a Go panic here, but a
		// stack trace of ours would tell the reader nothing.
		os.Exit(1)
	}
}
