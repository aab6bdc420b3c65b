package child

import (
	"os/exec"
	"syscall"
)

func bind(cmd *exec.Cmd, apart bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: apart, Pdeathsig: syscall.SIGTERM}
}

func kill(cmd *exec.Cmd, group bool) {
	if group {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended in between
		return
	}
	_ = cmd.Process.Kill()
}
