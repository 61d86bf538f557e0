// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package options

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"flyte.onprem/testbed/k3s/internal/configfile"
	"flyte.onprem/testbed/k3s/internal/logs"
)

// Values are the options as the command works with them: one string, or for a List one string an item.
type Values struct {
	table map[string]Option
	set   map[string][]string
	// Given is what file and command line said, in their order, for the Node's annotation.
	Given []string
	rest  []string
}

// Rest are the arguments behind the options.
func (v *Values) Rest() []string { return v.rest }

// flagValue collects what the flag package hands over for one option.
type flagValue struct {
	option Option
	items  *[]string
}

func (f flagValue) IsBoolFlag() bool { return f.option.Kind == Bool }
func (f flagValue) String() string   { return "" }

func (f flagValue) Set(text string) error {
	if err := checkKind(f.option.Kind, text); err != nil {
		return err
	}
	if f.option.Kind == List {
		*f.items = append(*f.items, text)
	} else {
		*f.items = []string{text}
	}
	return nil
}

func checkKind(kind Kind, text string) error {
	var err error
	switch kind {
	case Bool:
		_, err = strconv.ParseBool(text)
	case Int:
		_, err = strconv.ParseInt(text, 0, 64)
	case Duration:
		_, err = time.ParseDuration(text)
	}
	if err != nil {
		return errors.New("parse error")
	}
	return nil
}

// parseArguments reads arguments with the flag package, as the option parser of k3s does underneath:
// its messages are therefore the same.
func parseArguments(command string, table []Option, arguments []string) (map[string][]string, []string, error) {
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	collected := map[string]*[]string{}
	for _, option := range table {
		items := new([]string)
		collected[option.Name] = items
		for _, name := range append([]string{option.Name}, option.Aliases...) {
			flags.Var(flagValue{option, items}, name, option.Help)
		}
	}
	if err := flags.Parse(arguments); err != nil {
		return nil, nil, err
	}
	result := map[string][]string{}
	for name, items := range collected {
		if *items != nil {
			result[name] = *items
		}
	}
	return result, flags.Args(), nil
}

// Parse merges, from low to high, defaults, environment, configuration files and command line. A command without an option
// "config" reads no file.
func Parse(command string, table []Option, arguments []string) (*Values, error) {
	values := &Values{table: map[string]Option{}, set: map[string][]string{}}
	names := map[string]string{}
	for _, option := range table {
		values.table[option.Name] = option
		names[option.Name] = option.Name
		for _, alias := range option.Aliases {
			names[alias] = option.Name
		}
		if text := os.Getenv(option.Env); option.Env != "" && text != "" {
			if err := checkKind(option.Kind, text); err != nil {
				return nil, fmt.Errorf("could not parse %q as value for flag %s: %w", text, option.Name, err)
			}
			if option.Kind == List {
				values.set[option.Name] = strings.Split(text, ",")
			} else {
				values.set[option.Name] = []string{text}
			}
		}
	}

	fromLine, rest, err := parseArguments(command, table, arguments)
	if err != nil {
		return nil, err
	}
	file := DefaultConfigFile
	if given := first(fromLine["config"]); given != "" {
		file = given
	}
	if given := os.Getenv("K3S_CONFIG_FILE"); given != "" {
		file = given
	}
	var settings []configfile.Setting
	if _, reads := values.table["config"]; reads {
		if settings, err = configfile.Read(file); err != nil {
			return nil, err
		}
	}
	var fileArguments []string
	for _, setting := range settings {
		name := strings.SplitN(setting.Key, "=", 2)[0]
		if _, known := names[name]; !known {
			logs.Warnf("Unknown flag --%s found in config.yaml, skipping", name)
			continue
		}
		fileArguments = append(fileArguments, setting.Arguments()...)
	}
	fromFile, _, err := parseArguments(command, table, fileArguments)
	if err != nil {
		return nil, err
	}
	for name, items := range fromFile {
		values.set[name] = items
	}
	for name, items := range fromLine {
		values.set[name] = items
	}
	values.rest = rest
	values.Given = append(append(values.Given, fileArguments...), arguments...)
	return values, values.refuseMissing()
}

// refuseMissing keeps the stand-in honest: what k3s has and this program has not is an error, not a silent no.
func (v *Values) refuseMissing() error {
	var missing []string
	for name, items := range v.set {
		option := v.table[name]
		if option.Support != Missing {
			continue
		}
		for _, item := range items {
			if !option.isDefault(item) {
				missing = append(missing, name)
				break
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	sort.Strings(missing)
	return fmt.Errorf("stand-in: option %s is not implemented", strings.Join(missing, ", "))
}

func (o Option) isDefault(text string) bool {
	if o.Kind == Bool {
		value, _ := strconv.ParseBool(text)
		normal, _ := strconv.ParseBool(o.Default)
		return value == normal
	}
	return text == o.Default
}

func first(items []string) string {
	if len(items) == 0 {
		return ""
	}
	return items[0]
}

// known guards against a misspelt name in this program's own code.
func (v *Values) known(name string) Option {
	option, ok := v.table[name]
	if !ok {
		panic("no option " + name)
	}
	return option
}

// String is an option's value or its default.
func (v *Values) String(name string) string {
	option := v.known(name)
	if items, ok := v.set[name]; ok {
		return first(items)
	}
	return option.Default
}

// IsSet tells whether anything but the default supplied the value.
func (v *Values) IsSet(name string) bool {
	v.known(name)
	_, ok := v.set[name]
	return ok
}

// Bool is a switch's value.
func (v *Values) Bool(name string) bool {
	value, _ := strconv.ParseBool(v.String(name))
	return value
}

// Int is a number's value.
func (v *Values) Int(name string) int {
	value, _ := strconv.ParseInt(v.String(name), 0, 64)
	return int(value)
}

// List is every item of a List.
func (v *Values) List(name string) []string {
	v.known(name)
	return v.set[name]
}

// SplitList is a List whose items k3s itself splits at commas (tls-san, cluster-cidr, disable and a few more). A blank beside a
// comma stays, and is part of what is wrong with an address then.
func (v *Values) SplitList(name string) []string {
	var items []string
	for _, item := range v.List(name) {
		for _, part := range strings.Split(item, ",") {
			if part != "" {
				items = append(items, part)
			}
		}
	}
	return items
}

// Secret is a token option's value, or the first line of the file that its twin "-file" names.
func (v *Values) Secret(name string) (string, error) {
	if value := v.String(name); value != "" {
		return value, nil
	}
	file := v.String(name + "-file")
	if file == "" {
		return "", nil
	}
	content, err := os.ReadFile(file)
	return strings.TrimRight(string(content), "\n"), err
}

// Usage is the help text of a command.
func Usage(command string, table []Option) string {
	var text strings.Builder
	fmt.Fprintf(&text, "NAME:\n   k3s %s\n\nUSAGE:\n   k3s %s [OPTIONS]\n\nOPTIONS:\n", command, command)
	for _, option := range table {
		names := "--" + option.Name
		for _, alias := range option.Aliases {
			names += ", -" + alias
		}
		fmt.Fprintf(&text, "   %-45s %s", names, option.Help)
		if option.Env != "" {
			fmt.Fprintf(&text, " [$%s]", option.Env)
		}
		if option.Support == Missing {
			text.WriteString(" (not in the stand-in)")
		}
		text.WriteString("\n")
	}
	return text.String()
}

// Masked are the given arguments with the value of each secret option hidden, as k3s annotates them on its Node.
func (v *Values) Masked() []string {
	secret := map[string]bool{}
	for _, option := range v.table {
		for _, name := range append([]string{option.Name}, option.Aliases...) {
			secret[name] = option.Secret
		}
	}
	masked := []string{}
	hideNext := false
	for _, argument := range v.Given {
		if hideNext {
			masked = append(masked, "********")
			hideNext = false
			continue
		}
		name, value, joined := strings.Cut(argument, "=")
		switch {
		case !secret[strings.TrimLeft(name, "-")] || !strings.HasPrefix(name, "-"):
			if joined && strings.HasPrefix(name, "-") {
				masked = append(masked, name, value)
			} else {
				masked = append(masked, argument)
			}
		case joined:
			masked = append(masked, name, "********")
		default:
			masked = append(masked, name)
			hideNext = true
		}
	}
	return masked
}

// DataDirectory is data-dir as a readable configuration file has it, else the default.
func DataDirectory() string {
	settings, err := configfile.Read(DefaultConfigFile)
	if err != nil {
		return DefaultDataDir
	}
	for _, setting := range settings {
		if setting.Key == "data-dir" || setting.Key == "d" {
			return first(setting.Values)
		}
	}
	return DefaultDataDir
}
