package test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tokens are all credentials that Purser makes, by their form.
var tokens = regexp.MustCompile(`pur_(agt|per)_[A-Za-z0-9_-]{20,}`)

// RULES 24: while the person thinks, the agent is looked at from outside.
func TestTheAgentHasItsTokenTheAddressAndNothingElse(t *testing.T) {
	whole(t)
	v := demo(t)
	eventually(t, "the person is asked", func() bool { return strings.Contains(v.errs.String(), "Approve exactly this plan?") })
	agent := v.agent(t)
	token := only(t, agent)
	t.Run("its folder is its own and empty", func(t *testing.T) {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", agent))
		if err != nil || !strings.HasPrefix(cwd, v.tmp) || filepath.Base(cwd) != "agent" {
			t.Errorf("it is in %s, %v", cwd, err)
		}
		if left, err := os.ReadDir(cwd); err != nil || len(left) > 0 {
			t.Errorf("its folder holds %v, %v", left, err)
		}
	})
	t.Run("it inherited no open file", func(t *testing.T) { closed(t, agent) })
	t.Run("no argument and no file holds a credential", func(t *testing.T) { v.bare(t, token) })
	t.Run("nobody else has its token", func(t *testing.T) {
		for _, pid := range processes(v.tmp) {
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if err == nil && pid != agent && strings.Contains(string(env), token) {
				t.Errorf("process %d has it in its environment", pid)
			}
		}
	})
	if code := v.interrupt(t); code != 130 {
		t.Errorf("exit %d", code)
	}
	v.leftNothing(t)
}

// agent finds the agent's process.
func (v *voyage) agent(t *testing.T) (agent int) {
	t.Helper()
	eventually(t, "the agent runs", func() bool {
		for _, pid := range processes(v.tmp) {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil && strings.Contains(string(line), "\x00demo-agent\x00") {
				agent = pid
			}
		}
		return agent != 0
	})
	return agent
}

// only checks the agent's environment, and returns its token.
func only(t *testing.T, pid int) (token string) {
	t.Helper()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, line := range strings.Split(strings.TrimRight(string(env), "\x00"), "\x00") {
		name, value, _ := strings.Cut(line, "=")
		if names = append(names, name); name == "PURSER_TOKEN" {
			token = value
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"PURSER_TOKEN", "PURSER_URL"}) || !strings.HasPrefix(token, "pur_agt_") {
		t.Fatalf("the agent's environment has %v, and a token %.8s...", names, token)
	}
	return token
}

// closed checks that each descriptor is a pipe, a socket, the device that
// swallows, or of Go's runtime: its poller, and the processor limits that it reads.
func closed(t *testing.T, pid int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil || len(open) < 3 {
		t.Fatalf("reading its descriptors: %v %v", open, err)
	}
	for _, fd := range open {
		to, err := os.Readlink(filepath.Join(dir, fd.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind, _, _ := strings.Cut(to, ":")
		if !slices.Contains([]string{"pipe", "socket", "anon_inode", "/dev/null"}, kind) && !strings.HasPrefix(to, "/sys/fs/cgroup/") {
			t.Errorf("descriptor %s is %s", fd.Name(), to)
		}
	}
}

// bare scans every file of the demo and every command line of the machine for
// credentials. The owner's passphrase has no form to look for; what could be
// made of it, a person's token, must not be there either.
func (v *voyage) bare(t *testing.T, token string) {
	files := 0
	err := filepath.WalkDir(v.tmp, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		if found := tokens.Find(text); found != nil || strings.Contains(string(text), token) {
			t.Errorf("%s holds %.12s...", path, found)
		}
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("scanned %d files, %v", files, err)
	}
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		line, _ := os.ReadFile(file) // a process may end at any moment
		if tokens.Match(line) {
			t.Errorf("%s has a credential in its arguments", file)
		}
	}
}
