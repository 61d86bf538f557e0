// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package clusterresources

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	"flyte.onprem/testbed/flyte/internal/settings"
)

// reserved variables are always set by the server.
var reserved = map[string]bool{"namespace": true, "project": true, "domain": true}

// values resolves the sources of template variables. Files and environment
// variables are read anew with each call: that is how a rotated key gets into
// the namespaces without a restart. The result of a failure is empty, as in
// flyteadmin: one bad source takes all with it.
func values(sources map[string]settings.DataSource) (map[string]string, error) {
	found := map[string]string{}
	var problems []error
	for _, name := range sorted(sources) {
		value, err := resolve(name, sources[name])
		if err != nil {
			problems = append(problems, err)
			continue
		}
		found[name] = value
	}
	if err := errors.Join(problems...); err != nil {
		return map[string]string{}, err
	}
	return found, nil
}

func resolve(name string, source settings.DataSource) (string, error) {
	if reserved[name] {
		return "", fmt.Errorf("template variable %s is set by the server and cannot be given a value", name)
	}
	value := source.Value
	switch from := source.ValueFrom; {
	case value != "":
	case from.Env != "":
		value = os.Getenv(from.Env)
	case from.FilePath != "":
		content, err := os.ReadFile(from.FilePath)
		if err != nil {
			return "", fmt.Errorf("failed to substitute parameterized value for %s: unable to read value from: [%s] with err: %w", name, from.FilePath, err)
		}
		value = string(content)
	default:
		return "", fmt.Errorf("failed to substitute parameterized value for %s: neither value nor valueFrom.env nor valueFrom.filePath is set", name)
	}
	if value == "" {
		return "", fmt.Errorf("failed to substitute parameterized value for %s: it is empty", name)
	}
	return value, nil
}

// render puts values into a template, each `{{ name }}` spelled exactly so. Any
// other spelling stays as it is, and the YAML parser refuses it.
func render(template string, layers ...map[string]string) string {
	for _, layer := range layers {
		for _, name := range sorted(layer) {
			template = strings.ReplaceAll(template, "{{ "+name+" }}", layer[name])
		}
	}
	return template
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
