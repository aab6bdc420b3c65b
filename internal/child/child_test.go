package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary plays the parent and the child.
func TestMain(m *testing.M) {
	switch os.Getenv("PURSER_CHILD_ROLE") {
	case "obedient":
		ctx, cancel := Bound(context.Background(), os.Stdin)
		defer cancel()
		fmt.Println("ready")
		<-ctx.Done()
		os.Exit(7)
	case "deaf":
		fmt.Println("ready")
		time.Sleep(time.Hour) // longer than any test; it is killed
	case "parent":
		p, err := Start(role("obedient", io.Discard), false)
		if err != nil {
			os.Exit(1)
		}
		fmt.Println(p.Pid())
		<-p.Done()
	default:
		os.Exit(m.Run())
	}
}

func role(name string, out io.Writer) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = []string{"PURSER_CHILD_ROLE=" + name}
	cmd.Stdout = out
	return cmd
}

// started waits for the child's first line, so that nothing races its start.
func started(t *testing.T, name string, apart bool) (*Process, string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p, err := Start(role(name, w), apart)
	if err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return p, strings.TrimSpace(line)
}

func TestStopLetsTheChildEndByItself(t *testing.T) {
	p, _ := started(t, "obedient", true)
	var exit *exec.ExitError
	if err := p.Stop(2 * time.Minute); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the child ended with %v, want its own exit 7", err)
	}
	if err := p.Stop(time.Minute); !errors.As(err, &exit) {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestStopKillsAChildThatDoesNotListen(t *testing.T) {
	for _, apart := range []bool{true, false} {
		p, _ := started(t, "deaf", apart)
		var exit *exec.ExitError
		if err := p.Stop(50 * time.Millisecond); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("apart %v: the child ended with %v, want killed", apart, err)
		}
	}
}

func TestTheChildEndsWhenItsParentIsKilled(t *testing.T) {
	p, line := started(t, "parent", true)
	pid, err := strconv.Atoi(line)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the child outlived its parent")
		}
	}
}

// alive does not count a process that has ended and that nobody waited for.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return !os.IsNotExist(err) && syscall.Kill(pid, 0) == nil
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z")
}

func TestAProgramThatIsNotThereIsAnError(t *testing.T) {
	if _, err := Start(exec.Command("/nonexistent/program"), false); err == nil {
		t.Error("a program that is not there was started")
	}
}
