package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/purser-dev/purser"
)

// typedCommands lists every command, hidden ones too.
func typedCommands(t *testing.T) (list []*cobra.Command) {
	t.Helper()
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		list = append(list, cmd)
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	root := (&session{}).root()
	root.InitDefaultHelpCmd()
	walk(root)
	return list
}

func TestTheHelpOfEachCommandIsTheGoldenOne(t *testing.T) {
	seen := map[string]bool{}
	for _, cmd := range typedCommands(t) {
		file := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".txt"
		seen[file] = true
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		var out, errs bytes.Buffer
		if code := Run(t.Context(), args, World{Out: &out, Err: &errs}); code != 0 || errs.Len() > 0 {
			t.Errorf("%v: exit %d, %s", args, code, errs.String())
		}
		path := filepath.Join("testdata", "help", file)
		if *update {
			if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(string(want), out.String()); diff != "" {
			t.Errorf("%s (-want +got; go test ./internal/cli -update writes it):\n%s", path, diff)
		}
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/help/%s is the help of no command", f.Name())
		}
	}
}

func TestEachCommandHasAnExampleAndASentence(t *testing.T) {
	for _, cmd := range typedCommands(t) {
		if cmd.HasSubCommands() && cmd.Name() != "subscriptions" {
			continue
		}
		if cmd.Short == "" || !strings.Contains(cmd.Example, "purser") {
			t.Errorf("%s: short %q, example %q", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		if cmd.Args == nil || cmd.RunE == nil {
			t.Errorf("%s does not check its arguments, or does nothing", cmd.CommandPath())
			continue
		}
		for _, args := range [][]string{nil, {"a", "b", "c", "d", "e"}} {
			if err := cmd.Args(cmd, args); err != nil && purser.CodeOf(err) != purser.InvalidRequest {
				t.Errorf("%s of %d arguments: %v", cmd.CommandPath(), len(args), err)
			}
		}
	}
}

func TestAChangingCommandTakesAKey(t *testing.T) {
	changing := "init, run create, run extend, run end, agent revoke, plan, approve, deny, apply, add, deploy, budget set, " +
		"subscriptions cancel, remove, restore, stop, resume, resolve, provider add, provider remove, update, upgrade, downgrade, rotate, adopt, link, unlink, inform, propose-open, client grant, client decline, client revoke, notices set, notices test, " +
		"people invite, people role, people remove, people two, passkey add, passkey revoke, session revoke, " +
		"label, charge, hold place, hold begin, hold capture, hold release, hold resolve, hold refund, hold allow-repeat, platform create, platform revoke"
	keyed := map[string]bool{}
	for _, cmd := range typedCommands(t) {
		if cmd.Flags().Lookup("key") != nil && name(cmd) != "audit verify" {
			keyed[name(cmd)] = true
		}
	}
	for _, want := range strings.Split(changing, ", ") {
		if !keyed[want] {
			t.Errorf("%s takes no --key", want)
		}
		delete(keyed, want)
	}
	for extra := range keyed {
		t.Errorf("%s takes a --key and is not known to change anything", extra)
	}
}

func TestNoFlagTakesASecret(t *testing.T) {
	for _, cmd := range typedCommands(t) {
		for _, flag := range []string{"passphrase", "password", "yes", "accept-tos", "token"} {
			if cmd.Flags().Lookup(flag) != nil {
				t.Errorf("%s has a flag --%s", cmd.CommandPath(), flag)
			}
		}
	}
}

func TestWhatAProviderWroteMovesNoCursor(t *testing.T) {
	p := &page{}
	p.table([]string{"A"}, [][]string{{"red\x1b[31m\x07 and \u202egnp.exe \xff"}})
	if got, want := p.String(), "A\nred·[31m· and ·gnp.exe ·\n"; got != want {
		t.Errorf("the page is %q, want %q", got, want)
	}
}

func BenchmarkHelp(b *testing.B) {
	for b.Loop() {
		if code := Run(b.Context(), []string{"--help"}, World{Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}); code != 0 {
			b.Fatalf("exit %d", code)
		}
	}
}
