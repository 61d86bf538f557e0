// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command pg_isready asks a PostgreSQL server whether it accepts connections,
// with the options, words and exit codes of PostgreSQL's own pg_isready:
// 0 accepting, 1 rejecting (starting up, say), 2 no response, 3 not tried.
//
// Sources: PostgreSQL's documentation, "pg_isready" and "Frontend/Backend
// Protocol", "Message Formats" (StartupMessage, ErrorResponse).
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"
)

const (
	accepting  = 0
	rejecting  = 1
	noResponse = 2
	notTried   = 3

	protocolVersion = 3 << 16
	// An error is a few hundred bytes; more than this is no PostgreSQL.
	longestMessage = 1 << 16
	// ERRCODE_CANNOT_CONNECT_NOW: the server is starting, stopping or recovering.
	cannotConnectNow = "57P03"
)

var words = map[int]string{
	accepting:  "accepting connections",
	rejecting:  "rejecting connections",
	noResponse: "no response",
	notTried:   "no attempt",
}

func main() {
	flags := flag.NewFlagSet("pg_isready", flag.ContinueOnError)
	var host, port, user, database, seconds string
	var quiet bool
	for _, name := range []string{"h", "host"} {
		flags.StringVar(&host, name, setting("PGHOST", "localhost"), "")
	}
	for _, name := range []string{"p", "port"} {
		flags.StringVar(&port, name, setting("PGPORT", "5432"), "")
	}
	for _, name := range []string{"U", "username"} {
		flags.StringVar(&user, name, setting("PGUSER", "postgres"), "")
	}
	for _, name := range []string{"d", "dbname"} {
		flags.StringVar(&database, name, setting("PGDATABASE", ""), "")
	}
	for _, name := range []string{"t", "timeout"} {
		flags.StringVar(&seconds, name, setting("PGCONNECT_TIMEOUT", "3"), "")
	}
	for _, name := range []string{"q", "quiet"} {
		flags.BoolVar(&quiet, name, false, "")
	}
	if err := flags.Parse(os.Args[1:]); err != nil {
		os.Exit(notTried)
	}
	state := notTried
	wait, err := strconv.Atoi(seconds)
	if number, portErr := strconv.Atoi(port); err == nil && portErr == nil && number > 0 && number < 65536 {
		state = ask(net.JoinHostPort(host, port), user, database, time.Duration(wait)*time.Second)
	}
	if !quiet {
		fmt.Printf("%s:%s - %s\n", host, port, words[state])
	}
	os.Exit(state)
}

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// ask starts a session as user and judges the first message of the answer.
// wait of zero is no limit, as in libpq.
func ask(address, user, database string, wait time.Duration) int {
	dialer := net.Dialer{Timeout: wait}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return noResponse
	}
	defer connection.Close()
	if wait > 0 {
		if err := connection.SetDeadline(time.Now().Add(wait)); err != nil {
			return noResponse
		}
	}
	if _, err := connection.Write(startup(user, database)); err != nil {
		return noResponse
	}
	return judge(connection)
}

// startup makes a StartupMessage: length, protocol, then name and value pairs.
func startup(user, database string) []byte {
	var body bytes.Buffer
	_ = binary.Write(&body, binary.BigEndian, uint32(protocolVersion))
	parameters := []string{"user", user, "application_name", "pg_isready"}
	if database != "" {
		parameters = append(parameters, "database", database)
	}
	for _, word := range parameters {
		body.WriteString(word + "\x00")
	}
	body.WriteByte(0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(body.Len()+4)), body.Bytes()...)
}

// judge reads one message. A request for a password, and even its refusal (no
// such user), shows a server that accepts connections.
func judge(answer io.Reader) int {
	header := make([]byte, 5)
	if _, err := io.ReadFull(answer, header); err != nil {
		return noResponse
	}
	length := binary.BigEndian.Uint32(header[1:])
	switch {
	case header[0] == 'R':
		return accepting
	case header[0] != 'E' || length < 4 || length > longestMessage:
		return noResponse
	}
	body := make([]byte, length-4)
	if _, err := io.ReadFull(answer, body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return noResponse
	}
	if sqlState(body) == cannotConnectNow {
		return rejecting
	}
	return accepting
}

// sqlState finds field C of an ErrorResponse: fields are a letter and a string ending in zero.
func sqlState(body []byte) string {
	for _, field := range bytes.Split(body, []byte{0}) {
		if len(field) > 1 && field[0] == 'C' {
			return string(field[1:])
		}
	}
	return ""
}
