// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package certs

import (
	"bytes"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

func leaf(t *testing.T, authority *Authority, directory string, names ...string) []byte {
	t.Helper()
	wanted := Leaf{File: filepath.Join(directory, "leaf"), CommonName: "leaf", Server: true, Names: names}
	if err := authority.Ensure(wanted); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(wanted.File + ".crt")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestALeafIsMadeOnceAndAgainForOtherNames(t *testing.T) {
	directory := t.TempDir()
	authority, err := EnsureAuthority(filepath.Join(directory, "ca"), "test-ca")
	if err != nil {
		t.Fatal(err)
	}
	first := leaf(t, authority, directory, "a.example", "10.0.0.1")
	if !bytes.Equal(first, leaf(t, authority, directory, "a.example", "10.0.0.1")) {
		t.Error("an unchanged leaf was made again")
	}
	if bytes.Equal(first, leaf(t, authority, directory, "a.example", "10.0.0.2")) {
		t.Error("a leaf for other names was not made again")
	}
	certificate, err := read(filepath.Join(directory, "leaf.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: authority.Pool(), DNSName: "10.0.0.2"}); err != nil {
		t.Error(err)
	}
}

func TestTheAuthorityStays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ca")
	if _, err := EnsureAuthority(file, "test-ca"); err != nil {
		t.Fatal(err)
	}
	first, err := Hash(file + ".crt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureAuthority(file, "test-ca"); err != nil {
		t.Fatal(err)
	}
	if second, _ := Hash(file + ".crt"); first != second || len(first) != 64 {
		t.Errorf("hash %q, then %q", first, second)
	}
	if information, _ := os.Stat(file + ".key"); information.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key %v", information.Mode())
	}
}
