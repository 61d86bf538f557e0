// Copyright (c) flyte.onprem contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Package supervisor runs the programs that k3s has inside its own process. As there, the end of one of them
// is the end of all; what is started again is the whole service, by systemd.
package supervisor

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"flyte.onprem/testbed/k3s/internal/logs"
)

// Program is one child.
type Program struct {
	Name      string
	Path      string
	Arguments []string
	Directory string
	// Environment is added to this process's own.
	Environment []string
	// Output takes stdout and stderr; nil is this process's stderr.
	Output io.Writer
	// Grace is the time between SIGTERM and SIGKILL.
	Grace time.Duration
}

type child struct {
	Program
	command *exec.Cmd
	done    chan struct{}
}

// Group is the set of running children.
type Group struct {
	mutex    sync.Mutex
	children []*child
	stopping bool
	failed   chan error
}

// New makes an empty group.
func New() *Group { return &Group{failed: make(chan error, 16)} }

// Failed delivers the error of a child that ended by itself.
func (g *Group) Failed() <-chan error { return g.failed }

// Fail ends the group with an error that is no child's.
func (g *Group) Fail(err error) { g.failed <- err }

// Start runs a program.
func (g *Group) Start(program Program) error {
	if program.Output == nil {
		program.Output = os.Stderr
	}
	if program.Grace == 0 {
		program.Grace = 10 * time.Second
	}
	command := exec.Command(program.Path, program.Arguments...)
	command.Dir = program.Directory
	command.Env = append(os.Environ(), program.Environment...)
	command.Stdout, command.Stderr = program.Output, program.Output
	// Children must not outlive a killed k3s: in the real one they are the same process.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	running := &child{program, command, make(chan struct{})}

	logs.Infof("Running %s %s", program.Name, strings.Join(program.Arguments, " "))
	started := make(chan error)
	go func() {
		// The death signal is tied to the thread that starts the child, so that thread has to stay.
		runtime.LockOSThread()
		err := command.Start()
		started <- err
		if err != nil {
			return
		}
		err = command.Wait()
		close(running.done)
		g.mutex.Lock()
		stopping := g.stopping
		g.mutex.Unlock()
		if !stopping {
			g.failed <- fmt.Errorf("%s exited: %v", program.Name, describe(err))
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", program.Name, err)
	}
	g.mutex.Lock()
	g.children = append(g.children, running)
	g.mutex.Unlock()
	return nil
}

func describe(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// Stop ends the children, the last started first.
func (g *Group) Stop() {
	g.mutex.Lock()
	g.stopping = true
	children := append([]*child{}, g.children...)
	g.mutex.Unlock()
	for index := len(children) - 1; index >= 0; index-- {
		children[index].stop()
	}
}

func (c *child) stop() {
	_ = c.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(c.Grace):
		_ = c.command.Process.Kill()
		<-c.done
	}
}

// Poll asks until the answer is nil, the time is over or the context ends.
func Poll(ctx context.Context, limit, interval time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(interval):
		}
	}
}
