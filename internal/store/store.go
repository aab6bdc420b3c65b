// Package store remembers: one set of SQL on SQLite or PostgreSQL behind one struct.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"modernc.org/sqlite" // the driver "sqlite" too

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/store/db"
)

// Installation is the reserved organization whose log holds what belongs to no
// organization: failed sign-ins, set-up codes, providers (RULES 22).
const Installation = "installation"

// Config says where the data is.
type Config struct {
	// Database is a postgres:// URL or the path of a SQLite file.
	Database string
	// Now is the clock of this process; it may be wrong, and then nothing is spent.
	Now func() time.Time
	// Trace, when set, is told each statement with the number of its transaction,
	// Commit before and Committed after its end. Tests use it to prove that the
	// turn comes first (RULES 19), and to die there: an error is as if the
	// connection had been lost at that point.
	Trace func(tx int64, statement string) error
	// BatchTime is how long a batch may wait for the database; left out, half a minute.
	// A test that holds one takes as long as its machine needs.
	BatchTime time.Duration
	Log       *slog.Logger
}

// Store is an open database.
type Store struct {
	writer, reader *sql.DB
	questions      db.DBTX // the reader, as Read asks it
	dialect        string
	schema         int64 // the newest migration that this program knows
	now            func() time.Time
	trace          func(tx int64, statement string) error
	batchTime      time.Duration
	log            *slog.Logger

	mu  sync.Mutex
	txs int64

	writes wrote
	lanes  lanes
	zones  sync.Map // *time.Location by name
	// lastZones is each organization's, as of its last batch: a guess at what to load.
	lastZones sync.Map
	// replays is for how many batches more keys are looked up.
	replays atomic.Int64

	// batches are the connections of Batch, and urgent those of stops: on SQLite the
	// writer's one, with the statements that were prepared on it.
	batches, urgent *sql.DB
	preparedOn      driver.Conn
	stmts           map[string]driver.Stmt
}

// What Trace is told of the end of a transaction.
const (
	Commit    = "COMMIT"
	Committed = "COMMITTED"
)

// batchConns is how many organizations can have a batch under way at once.
const batchConns = 32

// Dialects.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Open opens the database, brings its schema up to date under a lock and makes
// the installation's own log. A database that is newer than the program is
// newer_database.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	s := &Store{now: cfg.Now, trace: cfg.Trace, batchTime: cmp.Or(cfg.BatchTime, batchTime), log: cfg.Log, dialect: SQLite}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	open := s.openSQLite
	unlock := func() {}
	if strings.HasPrefix(cfg.Database, "postgres://") || strings.HasPrefix(cfg.Database, "postgresql://") {
		s.dialect, open = Postgres, s.openPostgres
	}
	if s.dialect == SQLite {
		// Two first starts at once would meet while the file becomes a WAL database,
		// where SQLite answers busy at once instead of waiting.
		var err error
		if unlock, err = lockNew(cfg.Database); err != nil {
			return nil, err
		}
	}
	defer unlock()
	if err := open(ctx, cfg.Database); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) prepare(ctx context.Context) error {
	if err := s.migrate(ctx); err != nil {
		return err
	}
	return s.Write(ctx, func(q *db.Queries) error {
		if _, err := q.Organization(ctx, Installation); !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		id, err := purser.NewID("ins", s.now(), random)
		if err != nil {
			return err
		}
		if _, err := q.SetInstallationValue(ctx, db.SetInstallationValueParams{Name: "id", Value: id}); err != nil {
			return err
		}
		return q.InsertOrganization(ctx, db.InsertOrganizationParams{
			ID: Installation, Name: "the installation", Timezone: "UTC", CreatedAt: Micro(s.now()),
		})
	})
}

// idleTurn is how long a process may hold a turn and ask nothing, in milliseconds.
const idleTurn = "5000"

// lockNew makes the folder of a database and locks its opening.
func lockNew(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the database's folder: %w", err)
	}
	return lockFile(path + ".lock")
}

// openSQLite opens two pools: one connection that writes, because SQLite has one
// writer, and several that read a snapshot beside it.
func (s *Store) openSQLite(ctx context.Context, path string) error {
	pragmas := "?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=recursive_triggers(1)" + // so that REPLACE meets the triggers of DELETE
		"&_pragma=temp_store(MEMORY)" // what undoes one statement of many rows makes no file
	dsn := "file:" + strings.NewReplacer("?", "%3f", "#", "%23").Replace(path) + pragmas
	var err error
	// The writer keeps more pages (8 MB), and copies them from the log less often.
	if s.writer, err = sql.Open("sqlite", dsn+"&_pragma=cache_size(-8000)&_pragma=wal_autocheckpoint(4000)"); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	s.writer.SetMaxOpenConns(1)
	s.batches, s.urgent = s.writer, s.writer
	// The first connection makes the file and its mode before a reader sees it.
	if err := s.writer.PingContext(ctx); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("closing %s to others: %w", path, err)
	}
	if s.reader, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		return fmt.Errorf("opening %s: %w", path, err)
	}
	s.reader.SetMaxOpenConns(8)
	s.reader.SetMaxIdleConns(8) // opening one takes longer than most questions
	s.reader.SetConnMaxIdleTime(5 * time.Minute)
	s.questions = &prepared{pool: s.reader}
	return nil
}

func (s *Store) openPostgres(ctx context.Context, url string) (err error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		_, why, _ := strings.Cut(err.Error(), "`: ") // before it is the URL
		return purser.Errorf(purser.InvalidRequest, "the database's URL cannot be used: %s", why).WithHint("%s", correctDatabase).WithCause(err)
	}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return line{conn}, nil
	}
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.RuntimeParams["application_name"] = "purser"
	// A process that is paused in the middle of a turn holds the organization's row,
	// and with it everybody's stops; PostgreSQL ends its transaction (RULES 21). No
	// turn waits for anything but the database.
	cfg.RuntimeParams["idle_in_transaction_session_timeout"] = idleTurn
	s.writer = stdlib.OpenDB(*cfg)
	s.writer.SetMaxOpenConns(16)
	s.writer.SetMaxIdleConns(8)
	s.reader, s.questions = s.writer, s.writer
	// A stop waits for no connection that others use (SPEND.md K9).
	s.urgent = stdlib.OpenDB(*cfg)
	s.urgent.SetMaxOpenConns(2)
	// A plan that was made while a table was empty stays in force when it is not
	// (SPEND.md 4), so the batches' connections may not make one that scans, or that
	// takes a while to compile because it would have.
	batches := cfg.Copy()
	for _, way := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_material", "enable_memoize", "jit"} {
		batches.RuntimeParams[way] = "off"
	}
	// One plan serves any number of rows. Left to itself PostgreSQL takes the length of
	// each list for a reason to plan anew, which costs more than the statement.
	batches.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	s.batches = stdlib.OpenDB(*batches)
	s.batches.SetMaxOpenConns(batchConns)
	s.batches.SetMaxIdleConns(batchConns)
	defer func() {
		if err != nil { // nobody else would close what was opened to look
			err = errors.Join(err, s.Close())
		}
	}()
	var isolation string
	err = s.writer.QueryRowContext(ctx, "SHOW transaction_isolation").Scan(&isolation)
	var no *pgconn.PgError
	switch {
	case errors.As(err, &no) && no.Code == "08P01": // a pooler's no to a setting
		return fmt.Errorf(between+": %w", err)
	case err != nil:
		return unreached(ctx, err)
	}
	if err := s.direct(ctx); err != nil {
		return err
	}
	// A turn reads what other turns committed while it waited for the row; any
	// stricter level would make it fail instead (RULES 19).
	if isolation != "read committed" {
		return fmt.Errorf("PostgreSQL's transactions are %q; the turn needs \"read committed\"", isolation)
	}
	return nil
}

const correctDatabase = "correct PURSER_DATABASE, or database in the settings: postgres://ROLE@HOST/NAME?sslmode=verify-full"

// unreached says why PostgreSQL lets nobody in: it is away, or the settings are not its
// own. Neither is a fault of the program, and what the driver says holds no password.
func unreached(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("reaching PostgreSQL: %w", err)
	}
	var no *pgconn.PgError
	switch {
	case errors.As(err, &no) && no.Code == "3D000": // invalid_catalog_name
		return purser.Errorf(purser.InvalidRequest, "PostgreSQL says: %s", no.Message).WithHint("make the database (createdb), or %s", correctDatabase).WithCause(err)
	case errors.As(err, &no) && strings.HasPrefix(no.Code, "28"): // invalid_authorization_specification
		return purser.Errorf(purser.InvalidRequest, "PostgreSQL says: %s", no.Message).WithHint("%s", correctDatabase).WithCause(err)
	}
	return purser.Errorf(purser.Unavailable, "PostgreSQL cannot be reached: %s", strings.Join(strings.Fields(err.Error()), " ")).
		WithHint("start it, or %s", correctDatabase).WithCause(err)
}

const between = "reaching PostgreSQL directly (a transaction pooler cannot stand between)"

// direct refuses a pooler that hands out connections per transaction: it would give
// one turn's statements to another. Such a one takes no settings at start, says no to
// them, or forgets them, so what was asked for is looked at.
func (s *Store) direct(ctx context.Context) error {
	for _, c := range []struct {
		on      *sql.DB
		setting string
	}{{s.batches, "enable_seqscan"}, {s.writer, "idle_in_transaction_session_timeout"}} {
		var is string
		if err := c.on.QueryRowContext(ctx, "SHOW "+c.setting).Scan(&is); err != nil {
			return fmt.Errorf(between+": %w", err)
		}
		if is == "on" || is == "0" {
			return fmt.Errorf(between+": a new connection's %s is %s, and something else was asked for", c.setting, is)
		}
	}
	return nil
}

// Close ends all connections.
func (s *Store) Close() error {
	err := s.writer.Close()
	for _, pool := range []*sql.DB{s.batches, s.urgent} {
		if pool != nil && pool != s.writer {
			err = errors.Join(err, pool.Close())
		}
	}
	if s.reader != nil && s.reader != s.writer {
		err = errors.Join(err, s.reader.Close())
	}
	return err
}

// wrote is what came of the last try to write.
type wrote struct {
	one lanes // whoever tries, or waits for that no longer than it has time
	at  time.Time
	err error
}

// How often it is tried whether something can be written, since anybody may ask; and how
// long that may take.
const (
	readyFor  = 5 * time.Second
	readyMost = 2 * time.Second
)

// Ready reports whether a turn can be taken: a database that only reads, or whose disk is
// full, answers each question and decides nothing. It takes one that decides nothing. Who
// comes while that is tried waits for it, until ctx is over.
func (s *Store) Ready(ctx context.Context) error {
	if _, err := s.Read().Organization(ctx, Installation); err != nil {
		return err
	}
	w := &s.writes
	leave, err := w.one.take(ctx, "", false)
	if err != nil {
		return err
	}
	defer leave()
	if now := s.now(); now.Sub(w.at).Abs() >= readyFor {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyMost) // the others who ask are told of it too
		defer cancel()
		w.at, w.err = now, s.Turn(ctx, Installation, func(*Turn) error { return nil })
	}
	return w.err
}

// Dialect is SQLite or Postgres.
func (s *Store) Dialect() string { return s.dialect }

// Read answers questions outside any turn: what is read may be old by the time
// it is used, so nothing is decided from it.
func (s *Store) Read() *db.Queries { return db.New(s.questions) }

// Write changes what no turn protects: sign-in challenges, catalogs, blobs,
// tokens of people. Budgets, holds, orders and audit change in a Turn only.
func (s *Store) Write(ctx context.Context, f func(*db.Queries) error) error {
	return s.write(ctx, func(tx db.DBTX) error { return f(db.New(tx)) })
}

func (s *Store) write(ctx context.Context, f func(db.DBTX) error) error {
	if s.dialect == SQLite {
		leave, err := s.lanes.take(ctx, s.laneOf(""), isUrgent(ctx))
		if err != nil {
			return err
		}
		defer leave()
	}
	return s.transact(ctx, f)
}

// laneOf is whom a turn waits for: on SQLite everybody, since it has one writer.
func (s *Store) laneOf(org string) string {
	if s.dialect == SQLite {
		return ""
	}
	return org
}

func (s *Store) transact(ctx context.Context, f func(db.DBTX) error) (err error) {
	pool := s.writer
	if isUrgent(ctx) {
		pool = s.urgent
	}
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("beginning a transaction: %w", err)
	}
	committed := false
	defer func() {
		if !committed { // a panic leaves no error, and would leave the transaction open
			err = errors.Join(err, ignoreDone(tx.Rollback()))
		}
	}()
	traced := s.traced(tx)
	if err := f(traced); err != nil {
		return err
	}
	if err := traced.tell(Commit); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	if err := tx.Commit(); err != nil {
		if lost(err) {
			err = errors.Join(ErrLostCommit, err)
		}
		return fmt.Errorf("committing: %w", err)
	}
	committed = true
	return traced.tell(Committed)
}

// lost reports that a commit failed in a way that leaves open whether it was stored: by
// no word of the database's.
func lost(err error) bool {
	var postgres *pgconn.PgError
	var lite *sqlite.Error
	switch {
	case errors.As(err, &postgres), errors.Is(err, sql.ErrTxDone), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &lite):
		return lite.Code()&0xff == sqliteIO
	}
	return true
}

// Away reports that a request failed because the database is away, has no room or only
// reads: nothing is wrong with what was asked, and it can be asked again.
func Away(err error) bool {
	var postgres *pgconn.PgError
	if errors.As(err, &postgres) {
		return slices.ContainsFunc(awayPostgres, func(class string) bool { return strings.HasPrefix(postgres.Code, class) })
	}
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return slices.Contains(awayLite, lite.Code()&0xff)
	}
	var dialled *pgconn.ConnectError
	var cut *brokenLine
	return errors.As(err, &dialled) || errors.As(err, &cut) || pgconn.SafeToRetry(err) || errors.Is(err, driver.ErrBadConn)
}

// line is a connection to PostgreSQL, whose errors say that it was one: nobody else's that
// breaks is taken for the database's.
type line struct{ net.Conn }

type brokenLine struct{ error }

func (b *brokenLine) Unwrap() error { return b.error }

func (l line) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	return n, onLine(err)
}

func (l line) Write(b []byte) (int, error) {
	n, err := l.Conn.Write(b)
	return n, onLine(err)
}

func onLine(err error) error {
	if err == nil {
		return nil
	}
	return &brokenLine{err}
}

// What says so: connection exception, transaction rollback, insufficient resources, the
// administrator ends it, a system error, read only (PostgreSQL, appendix A); and SQLite's
// result codes busy, locked, read only, I/O, full, cannot open.
var (
	awayPostgres = []string{"08", "40", "53", "57P", "58", "25006"}
	awayLite     = []int{5, 6, 8, sqliteIO, 13, 14}
)

const sqliteIO = 10

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Micro is a time as it is stored; the zero time is 0.
func Micro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// Time is a stored time; 0 is the zero time.
func Time(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// TimeOrNil is a stored time for an optional member.
func TimeOrNil(us int64) *time.Time {
	if us == 0 {
		return nil
	}
	t := Time(us)
	return &t
}
