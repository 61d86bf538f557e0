// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package helmchart

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io/fs"
	"path/filepath"

	"flyte.onprem/testbed/k3s/charts"
	"flyte.onprem/testbed/k3s/internal/certs"
)

// archives are the charts below D/server/static/charts: file name there, directory here.
var archives = map[string]string{"traefik-40.1.4+up40.1.0.tgz": "traefik"}

// Stage packs the charts into the directory that /static/charts serves.
func Stage(directory string) error {
	for file, chart := range archives {
		var content bytes.Buffer
		compressor := gzip.NewWriter(&content)
		writer := tar.NewWriter(compressor)
		err := fs.WalkDir(charts.Files, chart, func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			text, err := charts.Files.ReadFile(name)
			if err != nil {
				return err
			}
			if err := writer.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
				return err
			}
			_, err = writer.Write(text)
			return err
		})
		if err != nil {
			return err
		}
		if err := writer.Close(); err != nil {
			return err
		}
		if err := compressor.Close(); err != nil {
			return err
		}
		if err := certs.WriteFile(filepath.Join(directory, file), content.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}
