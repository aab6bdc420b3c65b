package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/purser-dev/purser/internal/child"
)

// leftNothing checks that a demo's folder and processes are gone.
func (v *voyage) leftNothing(t *testing.T) {
	t.Helper()
	left, err := os.ReadDir(v.tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	eventually(t, "no process of the demo is left", func() bool { return len(processes(v.tmp)) == 0 })
}

// processes lists who names a folder in the command line, the environment, or is in it.
func processes(dir string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.Contains(string(line)+"\x00"+string(env)+"\x00"+cwd, dir) {
			pid, _ := strconv.Atoi(filepath.Base(p))
			pids = append(pids, pid)
		}
	}
	return pids
}

// A ctrl-C leaves nothing, whatever the demo is doing: each moment is known by
// what it has said.
func TestCtrlCAtEachStageOfTheDemoLeavesNothing(t *testing.T) {
	whole(t)
	auto := []string{"--approve", "auto"}
	for _, c := range []struct {
		said string // on standard error, before the interrupt
		args []string
		code int
	}{
		{"", nil, 130},
		{"are up at", nil, 130},
		{"the owner made a project", nil, 130},
		{"has its token", nil, 130},
		{"planned 5 steps", nil, 130},
		{"Approve exactly this plan?", nil, 130},
		{"and signs", auto, 130},
		{"applied", auto, 130},
		{"Until ctrl-C", append(auto, "--keep"), 0},
	} {
		t.Run("after "+strconv.Quote(c.said), func(t *testing.T) {
			t.Parallel()
			v := demo(t, c.args...)
			eventually(t, "the demo says "+c.said, func() bool { return strings.Contains(v.errs.String(), c.said) })
			code := v.interrupt(t)
			late := code == 0 && slices.Equal(c.args, auto) // it waits for nobody, and may have been done before the signal came
			if code != c.code && !late {
				t.Errorf("exit %d, want %d\n%s", code, c.code, v.errs)
			}
			v.leftNothing(t)
		})
	}
}

// startUp starts `purser up` with its own cloud.
func startUp(t *testing.T, dir string) (*child.Process, upFile) {
	t.Helper()
	h := &house{dir: dir, log: &journal{}}
	var said struct{ Data upFile }
	p := h.start(t, &said, "up", "--json", "--dir", filepath.Join(dir, "data"), "--listen", free,
		"--cloud-api", free, "--cloud-https", free, "--cloud-http", free, "--cloud-dns", free, "--cloud-smtp", free)
	t.Cleanup(func() { _ = p.Stop(0) })
	return p, said.Data
}

func TestAServerThatEndsTakesItsCloudWithIt(t *testing.T) {
	whole(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, up := startUp(t, dir)
			if err := syscall.Kill(p.Pid(), sig); err != nil {
				t.Fatal(err)
			}
			err := p.Err()
			if exit, ok := err.(*exec.ExitError); sig != syscall.SIGKILL && ok {
				t.Errorf("asked to end, it exits with %d", exit.ExitCode())
			}
			eventually(t, "its cloud "+strconv.Itoa(up.Cloud.Pid)+" ends", func() bool { return len(processes(dir)) == 0 })
			if _, err := os.Stat(filepath.Join(dir, "data", "up.json")); sig != syscall.SIGKILL && err == nil {
				t.Error("its run file is left")
			}
			// And whatever was left is no obstacle to the next.
			next, _ := startUp(t, dir)
			_ = next.Stop(0)
		})
	}
}

// A cloud that is killed comes back at its old addresses.
func TestAServerStartsItsKilledCloudAgain(t *testing.T) {
	whole(t)
	dir := t.TempDir()
	_, up := startUp(t, dir)
	if err := syscall.Kill(up.Cloud.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cloud answers again", func() bool {
		var run struct {
			PID int `json:"pid"`
		}
		text, err := os.ReadFile(filepath.Join(dir, "data", "cloud", "run", "cloud.json"))
		return err == nil && json.Unmarshal(text, &run) == nil && run.PID != up.Cloud.Pid
	})
	browser := browser(t, up.Cloud.RootPEM, up.Cloud.HTTPS)
	eventually(t, "its edge is where it was", func() bool {
		answer, err := browser.Get("https://nobody.invalid/")
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil || !strings.Contains(err.Error(), "refused")
	})
}
