package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// A wire asks PostgreSQL many things at once over one connection, by the driver's
// own pipeline: values have one of three types here, so each is written as the
// protocol has it, without looking anything up.
type wire struct {
	conn     *pgconn.PgConn
	pipe     *pgconn.Pipeline
	known    *statements
	expected []expected
}

// statements are what a connection has prepared, by their texts.
type statements struct {
	all   map[string]*pgconn.StatementDescription
	names int // that were given so far: one that failed is not given again
}

// expected is an answer on its way.
type expected struct {
	stmt     Stmt
	prepared string // the name of a statement that is described first, being new
}

const statementsKey = "purser.statements"

// runPostgres asks a group at once. What comes last is made while PostgreSQL
// works on the first.
func (s *Store) runPostgres(ctx context.Context, conn any, first []Stmt, last func() ([]Stmt, error)) (broken bool, err error) {
	native := conn.(*stdlib.Conn).Conn().PgConn()
	w := &wire{conn: native, pipe: native.StartPipeline(ctx)}
	w.known, _ = native.CustomData()[statementsKey].(*statements)
	if w.known == nil {
		w.known = &statements{all: map[string]*pgconn.StatementDescription{}}
		native.CustomData()[statementsKey] = w.known
	}
	w.send(first)
	if last != nil {
		err = w.pipe.Flush()
		var more []Stmt
		if err == nil {
			more, err = last()
		}
		if err == nil {
			w.send(more)
		}
	}
	err = errors.Join(err, w.pipe.Sync())
	if err == nil {
		err = w.read()
	}
	err = errors.Join(err, w.pipe.Close())
	if forgotten(err) {
		clear(w.known.all) // the next group describes them again
	}
	return err != nil && native.IsClosed(), err
}

// forgotten reports that PostgreSQL no longer has a statement as it was described:
// somebody dropped it, or changed a table below it.
func forgotten(err error) bool {
	var pg *pgconn.PgError
	// invalid_sql_statement_name, and feature_not_supported: "cached plan must not
	// change result type" (PostgreSQL, appendix A).
	return errors.As(err, &pg) && (pg.Code == "26000" || pg.Code == "0A000")
}

// binaries are the formats of any number of results.
var binaries = []int16{1}

func (w *wire) send(all []Stmt) {
	for _, stmt := range all {
		values, formats := make([][]byte, len(stmt.Args)), make([]int16, len(stmt.Args))
		for i, a := range stmt.Args {
			values[i], formats[i] = wireValue(a)
		}
		if known := w.known.all[stmt.Text]; known != nil {
			w.pipe.SendQueryStatement(known, values, formats, binaries)
		} else {
			w.known.names++
			name := "purser_" + strconv.Itoa(w.known.names)
			w.pipe.SendPrepare(name, stmt.Text, nil)
			w.pipe.SendQueryPrepared(name, values, formats, binaries)
			w.expected = append(w.expected, expected{stmt, name})
		}
		w.expected = append(w.expected, expected{stmt: stmt})
	}
}

// wireValue writes a parameter: numbers as text, which fits every type of integer.
func wireValue(v any) (text []byte, format int16) {
	switch v := v.(type) {
	case *array:
		return v.wire(), 1
	case string:
		return []byte(v), 0
	case int64:
		return strconv.AppendInt(nil, v, 10), 0
	case int:
		return strconv.AppendInt(nil, int64(v), 10), 0
	case []byte:
		return v, 1
	}
	panic(fmt.Sprintf("a %T is no parameter of a batch", v)) // our own statements only
}

func (w *wire) read() error {
	for _, e := range w.expected {
		answer, err := w.pipe.GetResults()
		if err != nil {
			return fmt.Errorf("%.60s: %w", e.stmt.Text, err)
		}
		switch answer := answer.(type) {
		case *pgconn.StatementDescription:
			answer.Name, answer.SQL = e.prepared, e.stmt.Text
			w.known.all[e.stmt.Text] = answer
		case *pgconn.ResultReader:
			err = e.stmt.read(answer)
			if _, end := answer.Close(); end != nil {
				err = end
			}
			if err != nil {
				return fmt.Errorf("%.60s: %w", e.stmt.Text, err)
			}
		default:
			return fmt.Errorf("%.60s: PostgreSQL answered with a %T", e.stmt.Text, answer)
		}
	}
	return nil
}

func (s Stmt) read(answer *pgconn.ResultReader) error {
	if s.Each == nil {
		return nil
	}
	for answer.NextRow() {
		if err := s.Each(func(into ...any) error { return fromWire(into, answer.Values()) }); err != nil {
			return err
		}
	}
	return nil
}

// fromWire reads a row into the three types that the schema has.
func fromWire(into []any, values [][]byte) error {
	if len(into) != len(values) {
		return fmt.Errorf("a row of %d columns is read into %d", len(values), len(into))
	}
	for i, v := range values {
		ok := v != nil
		switch to := into[i].(type) {
		case *int64:
			switch len(v) {
			case 8:
				*to = int64(binary.BigEndian.Uint64(v))
			case 4:
				*to = int64(int32(binary.BigEndian.Uint32(v)))
			default:
				ok = false
			}
		case *string:
			*to = string(v)
		case *[]byte:
			*to = append([]byte(nil), v...)
		default:
			ok = false
		}
		if !ok {
			return fmt.Errorf("column %d of %d bytes cannot be read into a %T", i, len(v), into[i])
		}
	}
	return nil
}

// An array is a list of values as PostgreSQL reads it: its header, then each value
// behind its length.
type array struct {
	n    int
	body []byte
}

// Object identifiers of PostgreSQL's catalog (pg_type).
const (
	oidBytea = 17
	oidInt8  = 20
	oidText  = 25

	arrayHead = 20 // bytes
)

func newArray(oid uint32) *array {
	a := &array{body: make([]byte, arrayHead, 256)}
	binary.BigEndian.PutUint32(a.body, 1) // dimensions; no nulls
	binary.BigEndian.PutUint32(a.body[8:], oid)
	binary.BigEndian.PutUint32(a.body[16:], 1) // the first has the number 1
	return a
}

func (a *array) text(v string) {
	a.n++
	a.body = append(binary.BigEndian.AppendUint32(a.body, uint32(len(v))), v...)
}

func (a *array) bytes(v []byte) {
	a.n++
	a.body = append(binary.BigEndian.AppendUint32(a.body, uint32(len(v))), v...)
}

func (a *array) integer(v int64) {
	a.n++
	a.body = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(a.body, 8), uint64(v))
}

// only is the value of a list of one, in the protocol's binary form.
func (a *array) only() []byte { return a.body[arrayHead+4:] }

func (a *array) wire() []byte {
	binary.BigEndian.PutUint32(a.body[12:], uint32(a.n))
	return a.body
}
