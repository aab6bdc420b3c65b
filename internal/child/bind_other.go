//go:build !linux

package child

import "os/exec"

// Elsewhere the pipe alone binds the child's life.
func bind(*exec.Cmd, bool) {}

func kill(cmd *exec.Cmd, _ bool) { _ = cmd.Process.Kill() }
