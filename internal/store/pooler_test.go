package store

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/purser-dev/purser/internal/testneed"
	"github.com/purser-dev/purser/internal/testpg"
)

// startup are the settings that a pooler says it ignores, as its manual advises those
// whose program is refused.
const startup = "ignore_startup_parameters = timezone,application_name,idle_in_transaction_session_timeout,enable_seqscan,enable_hashjoin,enable_mergejoin,extra_float_digits\n"

// RULES 20: a transaction pooler in front is refused at start, whether it says no to
// the settings of a connection or forgets them.
func TestATransactionPoolerIsRefused(t *testing.T) {
	database := testpg.Open(t)
	if s, err := Open(t.Context(), Config{Database: database, Now: time.Now}); err != nil {
		t.Fatal(err)
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	refused := func(t *testing.T, at string) {
		t.Helper()
		s, err := Open(t.Context(), Config{Database: at, Now: time.Now})
		if err == nil {
			_ = s.Close()
			t.Fatal("the store opened behind a pooler")
		}
		if !strings.Contains(err.Error(), "pooler") {
			t.Errorf("the error does not say why: %v", err)
		}
		t.Log(err)
	}
	for name, ignores := range map[string]string{"that says no": "", "that forgets": startup} {
		t.Run("pgbouncer "+name, func(t *testing.T) { refused(t, pgbouncer(t, database, ignores)) })
	}
	t.Run("another that forgets", func(t *testing.T) { refused(t, forgetful(t, database)) })
}

// RULES 19: a turn reads what others committed while it waited for its row.
func TestAnotherIsolationThanReadCommittedIsRefused(t *testing.T) {
	database := testpg.Open(t)
	conn, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, isolation := range []string{"repeatable read", "serializable"} {
		if _, err := conn.Exec(t.Context(), fmt.Sprintf("ALTER DATABASE %s SET default_transaction_isolation = '%s'", conn.Config().Database, isolation)); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), Config{Database: database, Now: time.Now})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), isolation) {
			t.Errorf("%s: %v", isolation, err)
		}
	}
}

// pgbouncer starts the real one in front of a database, for transactions, and gives
// its URL.
func pgbouncer(t *testing.T, database, more string) string {
	t.Helper()
	program := testneed.Program(t, "pgbouncer")
	to, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().(*net.TCPAddr)
	_ = free.Close()
	text := fmt.Sprintf("[databases]\n%[1]s = host=%[2]s port=%[3]d dbname=%[1]s user=%[4]s password=%[5]s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %[6]d\n"+
		"unix_socket_dir =\nauth_type = any\npool_mode = transaction\n%[7]s", to.Database, to.Host, to.Port, to.User, to.Password, at.Port, more)
	file := filepath.Join(t.TempDir(), "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{file}
	if os.Getuid() == 0 { // it wants to be somebody else: who may reach the server's socket
		folder, err := os.Stat(to.Host)
		if err != nil {
			testneed.Absent(t, "pgbouncer", "needs a PostgreSQL on this machine, reached by a socket")
		}
		owner, err := user.LookupId(fmt.Sprint(folder.Sys().(*syscall.Stat_t).Uid))
		if err != nil {
			t.Fatal(err)
		}
		args = []string{"-u", owner.Username, file}
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for begun := time.Now(); ; {
		conn, err := net.Dial("tcp", at.String())
		if err == nil {
			_ = conn.Close()
			break
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("pgbouncer does not listen: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", url.PathEscape(to.User), at, to.Database)
}

// forgetful takes connections, and hands them on without the settings that they ask
// for, as a pooler does whose connections were made before.
func forgetful(t *testing.T, database string) string {
	t.Helper()
	to, err := pgx.ParseConfig(database)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer near.Close()
				var head [8]byte
				if _, err := io.ReadFull(near, head[:]); err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, near, int64(binary.BigEndian.Uint32(head[:]))-8); err != nil {
					return
				}
				network, address := pgconn.NetworkAddress(to.Host, to.Port)
				far, err := net.Dial(network, address)
				if err != nil {
					return
				}
				defer far.Close()
				plain := fmt.Sprintf("user\x00%s\x00database\x00%s\x00\x00", to.User, to.Database)
				message := binary.BigEndian.AppendUint32(nil, uint32(8+len(plain)))
				if _, err := far.Write(append(append(message, head[4:]...), plain...)); err != nil {
					return
				}
				var ways sync.WaitGroup
				ways.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
				_, _ = io.Copy(near, far)
				_ = near.Close()
				ways.Wait()
			})
		}
	})
	password := ""
	if to.Password != "" {
		password = ":" + url.PathEscape(to.Password)
	}
	return fmt.Sprintf("postgres://%s%s@%s/%s?sslmode=disable", url.PathEscape(to.User), password, listener.Addr(), to.Database)
}
