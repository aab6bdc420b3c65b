package folder

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// state asks git for the commit of the tree that holds the folder, and whether
// it has changes. A folder without git, or a machine without git, is identified
// by its manifest alone. When git is there and cannot tell, the tree counts as
// dirty: production takes committed work only.
func state(ctx context.Context, folder string) (commit string, dirty bool) {
	if !underGit(folder) {
		return "", false
	}
	if _, err := exec.LookPath("git"); err != nil {
		return "", false
	}
	changes, err := git(ctx, folder, "status", "--porcelain", "--untracked-files=normal")
	if err != nil || changes != "" {
		return "", true
	}
	if commit, err = git(ctx, folder, "rev-parse", "--verify", "HEAD"); err != nil {
		return "", true
	}
	return commit, false
}

// underGit looks for .git in the folder and above it.
func underGit(folder string) bool {
	for dir := folder; ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// git runs one reading command. The settings keep a repository's own
// configuration from running programs and git from refreshing its index:
// reading a folder must change nothing (CONTROLS C22).
func git(ctx context.Context, folder string, args ...string) (string, error) {
	args = append([]string{"-C", folder, "-c", "core.fsmonitor=false", "-c", "core.hooksPath=" + os.DevNull}, args...)
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	out, err := cmd.Output()
	return strings.TrimSpace(string(out)), err
}
