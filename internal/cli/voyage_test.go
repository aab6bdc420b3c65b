package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The whole voyage, as typed, with the real server, the real local cloud and
// three real processes; a script gets an empty TMPDIR, and what is left there
// at its end is a fault (see the scripts).
func TestTheVoyage(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers: run without -short")
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "voyage"), UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			for _, dir := range []string{"tmp", "home"} {
				if err := os.Mkdir(filepath.Join(env.WorkDir, dir), 0o700); err != nil {
					return err
				}
			}
			env.Setenv("TMPDIR", filepath.Join(env.WorkDir, "tmp"))
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_CONFIG_HOME", "")
			env.Setenv("XDG_DATA_HOME", "")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"json": checkJSON, "mode": checkMode, "exits": checkExit, "nothingleft": checkNothingLeft,
			"pages": writePages, "ready": awaitReady, "take": takeMember,
		},
	})
}

// checkNothingLeft fails for a file in TMPDIR and for a process that was started
// below this script's folder.
func checkNothingLeft(ts *testscript.TestScript, _ bool, _ []string) {
	left, err := os.ReadDir(ts.Getenv("TMPDIR"))
	ts.Check(err)
	for _, entry := range left {
		ts.Fatalf("%s was left behind", entry.Name())
	}
	for _, line := range processesIn(ts.Getenv("WORK")) {
		ts.Fatalf("a process was left behind: %s", line)
	}
}

// processesIn lists processes that run in a folder or name it.
func processesIn(dir string) (found []string) {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.HasPrefix(cwd, dir) || bytes.Contains(line, []byte(dir)) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// awaitReady waits for the ready object in a file, and sets CODE:  ready FILE
func awaitReady(ts *testscript.TestScript, _ bool, args []string) {
	var said struct{ Data runFile }
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
		text, _ := os.ReadFile(ts.MkAbs(args[0]))
		if json.Unmarshal(text, &said) == nil {
			break
		}
		if time.Now().After(end) {
			ts.Fatalf("the server did not become ready: %s", text)
		}
	}
	ts.Setenv("CODE", said.Data.Setup)
}

// takeMember sets a variable from the last object:  take PLAN data.id
func takeMember(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, name := range strings.Split(args[1], ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	text, ok := v.(string)
	if !ok || text == "" {
		ts.Fatalf("%s is %v", args[1], v)
	}
	ts.Setenv(args[0], text)
}

// writePages makes a site of so many pages:  pages DIR 3000
func writePages(ts *testscript.TestScript, _ bool, args []string) {
	var n int
	_, err := fmt.Sscan(args[1], &n)
	ts.Check(err)
	for i := range n {
		path := ts.MkAbs(filepath.Join(args[0], fmt.Sprintf("part %d", i%20), fmt.Sprintf("Seite-ü%d.html", i)))
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o700))
		ts.Check(os.WriteFile(path, fmt.Appendf(nil, "<h1>%d</h1>%s", i, strings.Repeat(fmt.Sprint("text ", i), 1000)), 0o600))
	}
}

// Ctrl-C at any moment leaves no process and no folder.
func TestCtrlCDuringTheDemoLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers: run without -short")
	}
	program := buildPurser(t)
	for _, after := range []time.Duration{0, 40, 120, 250, 400, 600, 900} {
		t.Run(fmt.Sprintf("after %d ms", after), func(t *testing.T) {
			cmd, _ := startDemo(t, program, "--approve", "auto", "--keep")
			time.Sleep(after * time.Millisecond) // not a hope: each moment is one to be interrupted at
			interrupt(t, cmd)
		})
	}
	t.Run("while the person thinks", func(t *testing.T) {
		cmd, errs := startDemo(t, program)
		for end := time.Now().Add(2 * time.Minute); !strings.Contains(errs(), "[y/N]"); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the person was not asked:\n%s", errs())
			}
		}
		if code := interrupt(t, cmd); code != 130 {
			t.Errorf("exit code %d, want 130", code)
		}
	})
}

// startDemo starts a demo in a TMPDIR of its own, in a process group of its own,
// with a standard input that stays open. It returns what was said so far.
func startDemo(t *testing.T, program string, args ...string) (*exec.Cmd, func() string) {
	t.Helper()
	tmp := t.TempDir()
	said := filepath.Join(t.TempDir(), "said")
	out, err := os.Create(said)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, append([]string{"demo"}, args...)...)
	cmd.Env = []string{"TMPDIR=" + tmp, "HOME=" + tmp, "PATH=" + os.Getenv("PATH")}
	cmd.Dir, cmd.Stderr, cmd.SysProcAttr = tmp, out, &syscall.SysProcAttr{Setpgid: true}
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return cmd, func() string {
		text, _ := os.ReadFile(said)
		return string(text)
	}
}

// interrupt sends ctrl-C as a terminal does, waits for the end, and looks what
// is left.
func interrupt(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code is returned
	if left, _ := os.ReadDir(cmd.Dir); len(left) > 0 {
		t.Errorf("%s was left behind", left[0].Name())
	}
	if left := processesIn(cmd.Dir); len(left) > 0 {
		t.Errorf("processes were left behind: %v", left)
	}
	return cmd.ProcessState.ExitCode()
}

// A server that is killed takes its cloud with it, and starts again on the same folder.
func TestAKilledServerTakesItsCloudWithIt(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers: run without -short")
	}
	program, tmp := buildPurser(t), t.TempDir()
	for range 2 {
		server, ready := startUp(t, program, tmp)
		if err := server.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = server.Wait()
		for end := time.Now().Add(time.Minute); len(processesIn(tmp)) > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("cloud %d outlived its server: %v", ready.Cloud.Pid, processesIn(tmp))
			}
		}
	}
}

// startUp starts a server and waits until it is ready.
func startUp(t *testing.T, program, dir string) (*exec.Cmd, runFile) {
	t.Helper()
	const free = "127.0.0.1:0"
	cmd := exec.Command(program, "up", "--json", "--dir", filepath.Join(dir, "data"), "--listen", free,
		"--cloud-api", free, "--cloud-https", free, "--cloud-http", free, "--cloud-dns", free, "--cloud-smtp", free)
	cmd.Env = []string{"HOME=" + dir}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var said struct{ Data runFile }
	if err := json.NewDecoder(out).Decode(&said); err != nil || said.Data.Cloud == nil {
		t.Fatalf("the server did not become ready: %v\n%s", err, errs.String())
	}
	return cmd, said.Data
}

// buildPurser builds the real program.
func buildPurser(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "purser")
	if out, err := exec.Command("go", "build", "-o", path, "../../cmd/purser").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return path
}
