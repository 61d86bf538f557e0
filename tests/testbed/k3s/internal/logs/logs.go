// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package logs writes lines in the form logrus gives k3s on a stderr that is no
// terminal, so that what reads the journal of the real one reads this one too.
package logs

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

var (
	mutex sync.Mutex
	out   io.Writer = os.Stderr
	debug bool
)

// SetDebug lets Debugf through (option debug).
func SetDebug(on bool) { debug = on }

func line(level, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	// logrus quotes a value only where it holds more than letters, digits and a few marks.
	if strings.IndexFunc(message, needsQuote) >= 0 || message == "" {
		message = strconv.Quote(message)
	}
	mutex.Lock()
	defer mutex.Unlock()
	fmt.Fprintf(out, "time=%q level=%s msg=%s\n", time.Now().UTC().Format(time.RFC3339), level, message)
}

func needsQuote(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._/@^+", r))
}

func Debugf(format string, args ...any) {
	if debug {
		line("debug", format, args...)
	}
}
func Infof(format string, args ...any)  { line("info", format, args...) }
func Warnf(format string, args ...any)  { line("warning", format, args...) }
func Errorf(format string, args ...any) { line("error", format, args...) }

// Fatalf writes the line and ends the process with status 1, as logrus does.
func Fatalf(format string, args ...any) {
	line("fatal", format, args...)
	os.Exit(1)
}
