// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package charts carries the Helm charts that the stand-in deploys itself.
package charts

import "embed"

//go:embed all:traefik
var Files embed.FS
