// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package certs makes the keys and certificates below D/server/tls and D/agent
// (K3S.md sections 3 and 10; names after k3s-io/k3s pkg/daemons/control/deps/deps.go).
package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	// Leaves are renewed at a start with less than this left.
	renewBefore = 120 * 24 * time.Hour
)

// Authority is a CA on disk.
type Authority struct {
	CertificateFile, KeyFile string
	certificate              *x509.Certificate
	key                      crypto.Signer
}

// Leaf describes a certificate to be had.
type Leaf struct {
	// File is the path without .crt and .key.
	File         string
	CommonName   string
	Organization []string
	Names        []string
	Server       bool
	Client       bool
}

// EnsureAuthority reads or makes the CA FILE.crt, FILE.key.
func EnsureAuthority(file, name string) (*Authority, error) {
	authority := &Authority{CertificateFile: file + ".crt", KeyFile: file + ".key"}
	key, err := EnsureKey(authority.KeyFile)
	if err != nil {
		return nil, err
	}
	authority.key = key
	if certificate, err := read(authority.CertificateFile); err == nil {
		authority.certificate = certificate
		return authority, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(0),
		Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", name, now.Unix())},
		NotBefore:             now.UTC(),
		NotAfter:              now.Add(caLifetime).UTC(),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := writePEM(authority.CertificateFile, 0o644, &pem.Block{Type: "CERTIFICATE", Bytes: raw}); err != nil {
		return nil, err
	}
	authority.certificate, err = x509.ParseCertificate(raw)
	return authority, err
}

// ReadPool holds the certificates of a file.
func ReadPool(file string) (*x509.CertPool, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(content)
	return pool, nil
}

// Pool holds the CA alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Ensure makes the leaf unless a good one is there: of this CA, with these names, far from its end.
func (a *Authority) Ensure(leaf Leaf) error {
	key, err := EnsureKey(leaf.File + ".key")
	if err != nil {
		return err
	}
	names, addresses := split(leaf.Names)
	if current, err := read(leaf.File + ".crt"); err == nil && a.good(current, leaf, key, names, addresses) {
		return nil
	}
	chain, err := a.Sign(key.Public(), leaf)
	if err != nil {
		return err
	}
	return WriteFile(leaf.File+".crt", chain, 0o644)
}

// Sign makes a certificate for a public key: PEM, followed by the CA's.
func (a *Authority) Sign(public crypto.PublicKey, leaf Leaf) ([]byte, error) {
	names, addresses := split(leaf.Names)
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 62))
	if err != nil {
		return nil, err
	}
	var usages []x509.ExtKeyUsage
	if leaf.Server {
		usages = append(usages, x509.ExtKeyUsageServerAuth)
	}
	if leaf.Client {
		usages = append(usages, x509.ExtKeyUsageClientAuth)
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: leaf.CommonName, Organization: leaf.Organization},
		NotBefore:    a.certificate.NotBefore,
		NotAfter:     time.Now().Add(leafLifetime).UTC(),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  usages,
		DNSNames:     names,
		IPAddresses:  addresses,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})...), nil
}

func (a *Authority) good(current *x509.Certificate, leaf Leaf, key crypto.Signer, names []string, addresses []net.IP) bool {
	if current.CheckSignatureFrom(a.certificate) != nil || time.Until(current.NotAfter) < renewBefore ||
		current.Subject.CommonName != leaf.CommonName {
		return false
	}
	if public, ok := current.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return false
	}
	has := []string{}
	for _, address := range current.IPAddresses {
		has = append(has, address.String())
	}
	for _, address := range addresses {
		if !slices.Contains(has, address.String()) {
			return false
		}
	}
	for _, name := range names {
		if !slices.Contains(current.DNSNames, name) {
			return false
		}
	}
	return len(current.DNSNames) == len(names) && len(current.IPAddresses) == len(addresses)
}

func split(all []string) (names []string, addresses []net.IP) {
	seen := map[string]bool{}
	for _, name := range all {
		address := net.ParseIP(name)
		if address != nil {
			name = address.String()
		}
		if name == "" || seen[name] {
			continue
		}
		seen[name] = true
		if address != nil {
			addresses = append(addresses, address)
		} else {
			names = append(names, name)
		}
	}
	return names, addresses
}

// EnsureKey reads or makes an EC P-256 key.
func EnsureKey(file string) (crypto.Signer, error) {
	content, err := os.ReadFile(file)
	if err == nil {
		block, _ := pem.Decode(content)
		if block == nil {
			return nil, fmt.Errorf("%s holds no key", file)
		}
		return x509.ParseECPrivateKey(block.Bytes)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, writePEM(file, 0o600, &pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

// EnsureServiceAccountKey reads or makes the RSA key that signs service account tokens.
func EnsureServiceAccountKey(file string) error {
	if _, err := os.Stat(file); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	return writePEM(file, 0o600, &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
}

func read(file string) (*x509.Certificate, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return x509.ParseCertificate(block.Bytes)
}

func writePEM(file string, mode fs.FileMode, blocks ...*pem.Block) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	var content []byte
	for _, block := range blocks {
		content = append(content, pem.EncodeToMemory(block)...)
	}
	return WriteFile(file, content, mode)
}

// WriteFile replaces a file as a whole.
func WriteFile(file string, content []byte, mode fs.FileMode) error {
	temporary := file + ".tmp"
	if err := os.WriteFile(temporary, content, mode); err != nil {
		return err
	}
	if err := os.Chmod(temporary, mode); err != nil {
		return err
	}
	return os.Rename(temporary, file)
}

// Hash is the CA hash of a token: over the bytes of the file as /cacerts serves it.
func Hash(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:]), nil
}
