// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package options

import (
	"slices"
	"strings"
)

// MergeArguments lays the user's key=value arguments over a component's defaults: a key replaces, key+ appends, key- prepends
// (K3S.md section 2, item 11).
func MergeArguments(defaults map[string]string, given []string) []string {
	merged := map[string][]string{}
	for key, value := range defaults {
		merged[key] = []string{value}
	}
	replaced := map[string]bool{}
	for _, argument := range given {
		argument = strings.TrimLeft(argument, "-")
		key, value, hasValue := strings.Cut(argument, "=")
		if !hasValue {
			value = "true"
		}
		if plain, ok := strings.CutSuffix(key, "+"); ok {
			merged[plain] = join(append(merged[plain], value))
			continue
		}
		if plain, ok := strings.CutSuffix(key, "-"); ok {
			merged[plain] = join(append([]string{value}, merged[plain]...))
			continue
		}
		if replaced[key] {
			merged[key] = append(merged[key], value)
		} else {
			merged[key] = []string{value}
			replaced[key] = true
		}
	}
	var arguments []string
	for key, values := range merged {
		for _, value := range values {
			arguments = append(arguments, "--"+key+"="+value)
		}
	}
	slices.Sort(arguments)
	return arguments
}

// join makes one comma-separated value of the default and what was added to it.
func join(values []string) []string { return []string{strings.Join(values, ",")} }
