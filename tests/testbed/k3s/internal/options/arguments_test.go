// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package options

import (
	"reflect"
	"testing"
)

func TestComponentArgumentsReplaceAppendAndPrepend(t *testing.T) {
	defaults := map[string]string{"v": "0", "audiences": "a", "plugins": "x"}
	got := MergeArguments(defaults, []string{"v=4", "--plugins+=y", "audiences-=b", "flag"})
	want := []string{"--audiences=b,a", "--flag=true", "--plugins=x,y", "--v=4"}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestARepeatedArgumentIsKeptTwice(t *testing.T) {
	got := MergeArguments(map[string]string{"feature": "default"}, []string{"feature=a", "feature=b"})
	if want := []string{"--feature=a", "--feature=b"}; !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
}
