package child

import (
	"errors"
	"os/exec"
	"syscall"
	"time"
)

func bind(cmd *exec.Cmd, apart bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: apart, Pdeathsig: syscall.SIGTERM}
}

// kill ends the child, and with a group of its own everything that the child
// started in it, and waits until the group is empty: whoever removes the folder
// next must not race with a process that dies.
func kill(cmd *exec.Cmd, group bool) {
	if !group {
		_ = cmd.Process.Kill() // it may have ended in between
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // as above
	for range 400 {
		if errors.Is(syscall.Kill(-cmd.Process.Pid, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(5 * time.Millisecond) // nobody tells when a grandchild ends
	}
}
