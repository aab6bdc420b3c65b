package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/config"
)

// Two servers on one file of SQLite would each end what the other has under way, whatever
// the file is called and wherever the rest of their data is.
func TestADatabaseIsServedOnceByWhateverName(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, folder := range []string{"one", "two", "links"} {
		if err := os.Mkdir(at(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(at("one/purser.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("one/purser.db"), at("links/file.db")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(at("one"), at("links/folder")); err != nil {
		t.Fatal(err)
	}
	serve := func(folder, database string) (func(), error) {
		return lockServed(config.Config{Dir: at(folder), Database: config.Database("sqlite:" + at(database))})
	}
	unlock, err := serve("one", "one/purser.db")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one/purser.db", "links/file.db", "links/folder/purser.db"} {
		if also, err := serve("two", name); purser.CodeOf(err) != purser.AlreadyExists {
			t.Errorf("%s is served twice: %v", name, err)
			if err == nil {
				also()
			}
		}
	}
	unlock()
	unlock, err = serve("two", "links/file.db")
	if err != nil {
		t.Fatalf("after the first server: %v", err)
	}
	unlock()
}
