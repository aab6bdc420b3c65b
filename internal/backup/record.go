package backup

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/purser-dev/purser/internal/store"
)

// Inside the seal a copy is a list of records, each a letter and what it needs:
// one head (JSON), for each table its name and columns and then its rows, the
// files, and an end that counts rows and files. Numbers are varints; texts and
// bytes have their length before them.
const (
	headRecord  = 'H'
	tableRecord = 'T'
	rowRecord   = 'R'
	fileRecord  = 'F'
	endRecord   = 'E'

	integerValue = 'i'
	textValue    = 't'
	bytesValue   = 'b'

	maxText = 1 << 30 // bytes; a length above it is a fault of the file
)

// writer writes records. The first error stays.
type writer struct {
	*bufio.Writer
	err         error
	rows, files int64
}

func recordsOn(w io.Writer) *writer { return &writer{Writer: bufio.NewWriterSize(w, chunkSize)} }

func (w *writer) letter(c byte) {
	if w.err == nil {
		w.err = w.WriteByte(c)
	}
}

func (w *writer) number(n int64) { w.raw(binary.AppendVarint(nil, n)) }

func (w *writer) text(s string) {
	w.number(int64(len(s)))
	if w.err == nil {
		_, w.err = w.WriteString(s)
	}
}

func (w *writer) raw(b []byte) {
	if w.err == nil {
		_, w.err = w.Write(b)
	}
}

func (w *writer) head(h Header) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	w.letter(headRecord)
	w.text(string(raw))
	return w.err
}

func (w *writer) table(t store.Table) {
	w.letter(tableRecord)
	w.text(t.Name)
	w.number(int64(len(t.Columns)))
	for _, c := range t.Columns {
		w.text(c)
	}
}

func (w *writer) row(r store.Row) error {
	w.rows++
	w.letter(rowRecord)
	for _, v := range r.Values {
		switch v := v.(type) {
		case int64:
			w.letter(integerValue)
			w.number(v)
		case string:
			w.letter(textValue)
			w.text(v)
		case []byte:
			w.letter(bytesValue)
			w.text(string(v))
		default:
			return fmt.Errorf("copying %s: a value is %T", r.Table, v)
		}
	}
	return w.err
}

// file copies exactly size bytes.
func (w *writer) file(organization, sha256 string, size int64, from io.Reader) error {
	w.files++
	w.letter(fileRecord)
	w.text(organization)
	w.text(sha256)
	w.number(size)
	if w.err != nil {
		return w.err
	}
	n, err := io.Copy(w.Writer, from)
	if err == nil && n != size {
		err = fmt.Errorf("it has %d bytes, not %d", n, size)
	}
	if err != nil {
		return fmt.Errorf("copying the file %s of %s: %w", sha256, organization, err)
	}
	return nil
}

func (w *writer) end() error {
	w.letter(endRecord)
	w.number(w.rows)
	w.number(w.files)
	if w.err != nil {
		return w.err
	}
	return w.Flush()
}

// reader reads records. What it reads was authenticated by the seal, so a record
// that does not fit is a fault of who wrote it, and still no reason to panic.
type reader struct {
	*bufio.Reader
	table       store.Table
	rows, files int64
}

var errRecord = errors.New("the copy has a record that this program does not know")

func (r *reader) number() (int64, error) {
	n, err := binary.ReadVarint(r.Reader)
	return n, whole(err)
}

func (r *reader) text() ([]byte, error) {
	n, err := r.number()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > maxText {
		return nil, errRecord
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r.Reader, b)
	return b, whole(err)
}

// whole makes an end in the middle of a record a fault: only next tells the end.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errSealed
	}
	return err
}

func (r *reader) head() (Header, error) {
	letter, err := r.ReadByte()
	if err != nil || letter != headRecord {
		return Header{}, errors.Join(whole(err), errRecord)
	}
	raw, err := r.text()
	if err != nil {
		return Header{}, err
	}
	var h Header
	if err := json.Unmarshal(raw, &h); err != nil {
		return Header{}, fmt.Errorf("reading the head of the copy: %w", err)
	}
	return h, nil
}

// next reads on to the next row, taking in tables. It gives the letter of any
// other record, unread.
func (r *reader) next() (byte, store.Row, error) {
	for {
		letter, err := r.ReadByte()
		if err != nil {
			return 0, store.Row{}, whole(err)
		}
		switch letter {
		case tableRecord:
			if err := r.takeTable(); err != nil {
				return 0, store.Row{}, err
			}
		case rowRecord:
			row, err := r.row()
			return letter, row, err
		case fileRecord, endRecord:
			return letter, store.Row{}, nil
		default:
			return 0, store.Row{}, errRecord
		}
	}
}

func (r *reader) takeTable() error {
	name, err := r.text()
	if err != nil {
		return err
	}
	n, err := r.number()
	if err != nil {
		return err
	}
	r.table = store.Table{Name: string(name)}
	for range n {
		column, err := r.text()
		if err != nil {
			return err
		}
		r.table.Columns = append(r.table.Columns, string(column))
	}
	return nil
}

func (r *reader) row() (store.Row, error) {
	r.rows++
	row := store.Row{Table: r.table.Name, Columns: r.table.Columns, Values: make([]any, len(r.table.Columns))}
	for i := range row.Values {
		v, err := r.value()
		if err != nil {
			return store.Row{}, err
		}
		row.Values[i] = v
	}
	return row, nil
}

func (r *reader) value() (any, error) {
	letter, err := r.ReadByte()
	if err != nil {
		return nil, whole(err)
	}
	if letter == integerValue {
		return r.number()
	}
	b, err := r.text()
	switch {
	case err != nil:
		return nil, err
	case letter == textValue:
		return string(b), nil
	case letter == bytesValue:
		return b, nil
	}
	return nil, errRecord
}

// file reads the head of a file; its bytes follow.
func (r *reader) file() (organization, sha256 string, size int64, err error) {
	r.files++
	o, err := r.text()
	if err != nil {
		return "", "", 0, err
	}
	h, err := r.text()
	if err != nil {
		return "", "", 0, err
	}
	size, err = r.number()
	return string(o), string(h), size, err
}

// end checks the counts and that nothing follows.
func (r *reader) end() error {
	rows, err := r.number()
	if err != nil {
		return err
	}
	files, err := r.number()
	if err != nil {
		return err
	}
	if rows != r.rows || files != r.files {
		return fmt.Errorf("the copy has %d rows and %d files, it should have %d and %d", r.rows, r.files, rows, files)
	}
	if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
		return errors.Join(errRecord, err)
	}
	return nil
}
