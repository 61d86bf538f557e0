// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package messages converts the protocol messages that are columns of the tables.
package messages

import (
	"google.golang.org/protobuf/proto"

	"flyte.onprem/testbed/flyte/internal/refusal"
)

// Encode turns a message into the content of a column.
func Encode(message proto.Message) ([]byte, error) {
	data, err := proto.Marshal(message)
	if err != nil {
		return nil, refusal.Internal("failed to serialize %T: %v", message, err)
	}
	return data, nil
}

// Decode is the reverse of Encode.
func Decode(data []byte, message proto.Message) error {
	if err := proto.Unmarshal(data, message); err != nil {
		return refusal.Internal("failed to read %T: %v", message, err)
	}
	return nil
}
