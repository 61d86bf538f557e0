// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package payload unpacks the programs that are packed behind this program's own end, the way k3s carries its
// user-land: into D/data/<sha256>/bin, with links "current" and "previous".
package payload

import (
	"archive/tar"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A packed file ends in a trailer: the archive's sha256, its length, and this mark.
const (
	mark          = "k3s-bed1"
	trailerLength = 32 + 8 + len(mark)
)

// Pack writes program, archive and trailer.
func Pack(output io.Writer, program io.Reader, archive []byte, sum [32]byte) error {
	if _, err := io.Copy(output, program); err != nil {
		return err
	}
	trailer := append(append([]byte{}, archive...), sum[:]...)
	trailer = binary.BigEndian.AppendUint64(trailer, uint64(len(archive)))
	_, err := output.Write(append(trailer, mark...))
	return err
}

// find returns a reader of the archive behind the running program, and the archive's sha256.
func find() (*os.File, io.Reader, string, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, nil, "", err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, nil, "", err
	}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil && end > int64(trailerLength) {
		trailer := make([]byte, trailerLength)
		if _, err := file.ReadAt(trailer, end-int64(trailerLength)); err == nil && string(trailer[40:]) == mark {
			length := int64(binary.BigEndian.Uint64(trailer[32:40]))
			section := io.NewSectionReader(file, end-int64(trailerLength)-length, length)
			return file, section, hex.EncodeToString(trailer[:32]), nil
		}
	}
	file.Close()
	return nil, nil, "", fmt.Errorf("stand-in: %s carries no payload; build it with tests/testbed/bed.py", name)
}

// Unpack makes sure that the payload lies below dataDir and returns its bin directory.
func Unpack(dataDir string) (string, error) {
	file, archive, sum, err := find()
	if err != nil {
		return "", err
	}
	defer file.Close()
	data := filepath.Join(dataDir, "data")
	directory := filepath.Join(data, sum)
	bin := filepath.Join(directory, "bin")
	if _, err := os.Stat(bin); err == nil {
		return bin, link(data, sum)
	}
	if err := os.MkdirAll(data, 0o755); err != nil {
		return "", err
	}
	// Unpacked under another name first: an interrupted start leaves nothing that looks whole.
	temporary, err := os.MkdirTemp(data, sum+"-tmp")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temporary)
	if err := extract(archive, filepath.Join(temporary, "bin")); err != nil {
		return "", fmt.Errorf("extracting data: %w", err)
	}
	if err := os.Chmod(temporary, 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(temporary, directory); err != nil && !errors.Is(err, os.ErrExist) {
		if _, there := os.Stat(bin); there != nil {
			return "", err
		}
	}
	return bin, link(data, sum)
}

func extract(archive io.Reader, bin string) error {
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	decoder, err := zstd.NewReader(archive)
	if err != nil {
		return err
	}
	defer decoder.Close()
	reader := tar.NewReader(decoder)
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		target := filepath.Join(bin, filepath.Base(header.Name))
		if header.Typeflag == tar.TypeSymlink {
			if err := os.Symlink(filepath.Base(header.Linkname), target); err != nil {
				return err
			}
			continue
		}
		file, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		if _, err := io.Copy(file, reader); err != nil {
			file.Close()
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
}

// link points "current" at this payload and "previous" at the one before.
func link(data, sum string) error {
	current, previous := filepath.Join(data, "current"), filepath.Join(data, "previous")
	target, err := os.Readlink(current)
	if err == nil && filepath.Base(target) == sum {
		return nil
	}
	if err == nil && !strings.HasSuffix(target, "-tmp") {
		if err := replaceLink(target, previous); err != nil {
			return err
		}
	}
	return replaceLink(filepath.Join(data, sum), current)
}

func replaceLink(target, name string) error {
	os.Remove(name + "-tmp")
	if err := os.Symlink(target, name+"-tmp"); err != nil {
		return err
	}
	return os.Rename(name+"-tmp", name)
}
