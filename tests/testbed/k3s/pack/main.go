// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command pack appends a payload of programs to the stand-in: pack OUTPUT PROGRAM NAME=FILE...
package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"

	"flyte.onprem/testbed/k3s/internal/payload"
	"github.com/klauspost/compress/zstd"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: pack OUTPUT PROGRAM NAME=FILE...")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(output, program string, entries []string) error {
	var archive bytes.Buffer
	encoder, err := zstd.NewWriter(&archive)
	if err != nil {
		return err
	}
	writer := tar.NewWriter(encoder)
	for _, entry := range entries {
		name, file, _ := strings.Cut(entry, "=")
		if err := add(writer, name, file); err != nil {
			return fmt.Errorf("%s: %w", entry, err)
		}
	}
	if err := writer.Close(); err != nil {
		return err
	}
	if err := encoder.Close(); err != nil {
		return err
	}
	input, err := os.Open(program)
	if err != nil {
		return err
	}
	defer input.Close()
	target, err := os.OpenFile(output, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if err := payload.Pack(target, input, archive.Bytes(), sha256.Sum256(archive.Bytes())); err != nil {
		return err
	}
	return target.Close()
}

// add writes one program, or for NAME=->OTHER a link to another one; no times or owners, so that equal
// programs make an equal payload.
func add(writer *tar.Writer, name, file string) error {
	if other, isLink := strings.CutPrefix(file, "->"); isLink {
		return writer.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: other, Mode: 0o755})
	}
	input, err := os.Open(file)
	if err != nil {
		return err
	}
	defer input.Close()
	information, err := input.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Name: name, Typeflag: tar.TypeReg, Size: information.Size(), Mode: 0o755}
	if err := writer.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(writer, input)
	return err
}
