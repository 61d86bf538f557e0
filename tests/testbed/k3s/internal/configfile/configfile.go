// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package configfile reads k3s's configuration file and its drop-ins (K3S.md section 2,
// after k3s-io/k3s pkg/configfilearg/parser.go and docs.k3s.io installation/configuration).
package configfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	yaml "go.yaml.in/yaml/v2"
)

// Setting is one key with its values.
type Setting struct {
	Key    string
	Values []string
}

// Arguments is the setting as command line flags: one for each value.
func (s Setting) Arguments() []string {
	prefix := "--"
	if len(s.Key) == 1 {
		prefix = "-"
	}
	var arguments []string
	for _, value := range s.Values {
		arguments = append(arguments, prefix+s.Key+"="+value)
	}
	return arguments
}

// Read merges the file and FILE.d/*.yaml in lexical order: the last file that has a key replaces its value,
// a key with a plus sign at its end adds to what the files before had.
func Read(file string) ([]Setting, error) {
	if strings.HasPrefix(file, "http://") || strings.HasPrefix(file, "https://") {
		return nil, fmt.Errorf("stand-in: a configuration file from %s is not implemented", file)
	}
	files := []string{}
	if _, err := os.Stat(file); err == nil {
		files = append(files, file)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dropIns, err := dropIns(file + ".d")
	if err != nil {
		return nil, err
	}
	files = append(files, dropIns...)

	var order []string
	merged := map[string][]string{}
	for _, name := range files {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var document yaml.MapSlice
		if err := yaml.Unmarshal(content, &document); err != nil {
			return nil, err
		}
		for _, item := range document {
			key := fmt.Sprint(item.Key)
			values, err := texts(item.Value)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", name, key, err)
			}
			plain, appends := strings.CutSuffix(key, "+")
			if _, seen := merged[plain]; !seen {
				order = append(order, plain)
			}
			if appends {
				values = append(append([]string{}, merged[plain]...), values...)
			}
			merged[plain] = values
		}
	}
	var settings []Setting
	for _, key := range order {
		settings = append(settings, Setting{key, merged[key]})
	}
	return settings, nil
}

func dropIns(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, entry := range entries {
		suffix := strings.ToLower(filepath.Ext(entry.Name()))
		if !entry.IsDir() && (suffix == ".yaml" || suffix == ".yml") {
			files = append(files, filepath.Join(directory, entry.Name()))
		}
	}
	sort.Strings(files)
	return files, nil
}

func texts(value any) ([]string, error) {
	switch typed := value.(type) {
	case []any:
		values := []string{}
		for _, item := range typed {
			text, err := text(item)
			if err != nil {
				return nil, err
			}
			values = append(values, text)
		}
		return values, nil
	default:
		text, err := text(value)
		return []string{text}, err
	}
}

func text(value any) (string, error) {
	switch value.(type) {
	case nil:
		return "", nil
	case yaml.MapSlice, []any:
		return "", errors.New("stand-in: expected a text, a number, a boolean or a list of them")
	}
	return fmt.Sprint(value), nil
}
