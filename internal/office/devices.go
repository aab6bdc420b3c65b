package office

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/purser-dev/purser"
	"github.com/purser-dev/purser/internal/catalog"
	"github.com/purser-dev/purser/internal/oauth"
	"github.com/purser-dev/purser/internal/seal"
	"github.com/purser-dev/purser/internal/store"
	"github.com/purser-dev/purser/internal/store/db"
)

const (
	deviceLife     = 15 * time.Minute
	devicePause    = 5 * time.Second // between two questions of a device
	devicesWaiting = 1000            // of everybody
	devicesPer     = 10              // asks of one address in a minute

	deviceWaiting   = "waiting"
	deviceConfirmed = "confirmed"
	deviceDenied    = "denied"
)

// codeLetters make the codes that people type: no vowels, so that no word appears,
// and nothing that looks like something else (RFC 8628 6.1).
const codeLetters = "BCDFGHJKLMNPQRSTVWXZ"

// AskDevice begins the sign-in of a device that has no browser (RFC 8628). It gives
// nothing until a person says yes.
func (o *Office) AskDevice(ctx context.Context, by purser.Actor, name string) (out purser.DeviceLogin, err error) {
	if err := o.paced(by.Source, "ask_device", devicesPer); err != nil {
		return out, err
	}
	code, err := seal.NewToken(seal.DeviceCode, o.Random)
	if err != nil {
		return out, err
	}
	now := o.Now()
	page := o.PublicURL() + "/device"
	out = purser.DeviceLogin{DeviceCode: code.Reveal(), Page: page, ExpiresIn: int64(deviceLife.Seconds()), Interval: int64(devicePause.Seconds())}
	err = o.Store.Write(ctx, func(q *db.Queries) error {
		if err := q.DropOldDevices(ctx, store.Micro(now.Add(-time.Hour))); err != nil {
			return err
		}
		if n, err := q.CountDevices(ctx, store.Micro(now)); err != nil || n >= devicesWaiting {
			full := purser.Errorf(purser.TooManyTries, "too many devices wait for somebody to confirm them")
			full.RetryAfter = deviceLife
			return orElse(err, full)
		}
		for range 3 { // a code that is in use already is one in many millions
			if out.UserCode, err = o.userCode(); err != nil {
				return err
			}
			n, err := q.InsertDevice(ctx, db.InsertDeviceParams{
				Hash: hashOf(code), UserHash: textHash(plainCode(out.UserCode)), Name: catalog.Plain(name, 100), Source: by.Source,
				CreatedAt: store.Micro(now), ExpiresAt: store.Micro(now.Add(deviceLife)), Pause: devicePause.Microseconds(),
			})
			if err != nil || n == 1 {
				return err
			}
		}
		return purser.Errorf(purser.Overloaded, "no free code was found")
	})
	out.CompletePage = page + "?code=" + out.UserCode
	return out, o.explain(ctx, err)
}

// userCode is 8 letters, a choice of 25 thousand million.
func (o *Office) userCode() (string, error) {
	var text []byte
	for len(text) < 8 {
		var b [16]byte
		if _, err := io.ReadFull(o.Random, b[:]); err != nil {
			return "", fmt.Errorf("reading randomness: %w", err)
		}
		for _, c := range b {
			if int(c) < 256/len(codeLetters)*len(codeLetters) && len(text) < 8 { // each letter as likely
				text = append(text, codeLetters[int(c)%len(codeLetters)])
			}
		}
	}
	return string(text[:4]) + "-" + string(text[4:]), nil
}

// plainCode is a code as it was meant, however it was typed.
func plainCode(typed string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(codeLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(typed))
}

// device finds a device by the code that it shows. Who tries many codes waits.
func (o *Office) device(ctx context.Context, q *db.Queries, by purser.Actor, typed string) (db.Device, error) {
	if err := o.throttle(by.Source); err != nil {
		return db.Device{}, err
	}
	row, err := q.DeviceByUserCode(ctx, textHash(plainCode(typed)))
	if missing(err) || err == nil && row.Organization != "" && row.Organization != by.Organization {
		o.countFailure(by.Source, "device_code")
		return db.Device{}, purser.Errorf(purser.NotFound, "no device shows this code").WithHint("compare it letter by letter; it is good for 15 minutes")
	}
	return row, err
}

// ShowDevice shows which device asks with a code.
func (o *Office) ShowDevice(ctx context.Context, by purser.Actor, in purser.DeviceRef) (purser.Device, error) {
	row, err := o.device(ctx, o.Store.Read(), by, in.Code)
	if err != nil {
		return purser.Device{}, err
	}
	return o.showDevice(row, in.Code), nil
}

func (o *Office) showDevice(row db.Device, typed string) purser.Device {
	code := plainCode(typed)
	if len(code) == 8 {
		code = code[:4] + "-" + code[4:]
	}
	out := purser.Device{Code: code, Name: row.Name, Source: row.Source, State: row.State, AskedAt: store.Time(row.CreatedAt), ExpiresAt: store.Time(row.ExpiresAt)}
	if row.State == deviceWaiting && store.Micro(o.Now()) >= row.ExpiresAt {
		out.State = "expired"
	}
	return out
}

// ConfirmDevice signs in the device that shows a code, as the person who says so
// in a browser. A token on a disk cannot: it would make itself live for ever.
func (o *Office) ConfirmDevice(ctx context.Context, by purser.Actor, in purser.DeviceRef) (purser.Device, error) {
	if !inBrowser(by) {
		return purser.Device{}, o.turn(ctx, by.Organization, func(t *store.Turn) error {
			return o.refuse(t, recordOf(by, "confirm_device", ""), purser.Errorf(purser.NeedsPerson, "a device is confirmed in a browser, not with a token").
				WithHint("open %s/device", o.PublicURL()))
		})
	}
	return o.decideDevice(ctx, by, in, "confirm_device", deviceConfirmed)
}

// DenyDevice refuses the device that shows a code.
func (o *Office) DenyDevice(ctx context.Context, by purser.Actor, in purser.DeviceRef) (purser.Device, error) {
	return o.decideDevice(ctx, by, in, "deny_device", deviceDenied)
}

func (o *Office) decideDevice(ctx context.Context, by purser.Actor, in purser.DeviceRef, action, state string) (purser.Device, error) {
	return once(ctx, o, by, action, in, func(t *store.Turn) (purser.Device, error) {
		row, err := o.device(ctx, t.Queries, by, in.Code)
		if err != nil {
			return purser.Device{}, err
		}
		n, err := t.DecideDevice(ctx, db.DecideDeviceParams{UserHash: row.UserHash, State: state, Organization: by.Organization, Person: by.ID, Now: store.Micro(t.Now)})
		if err != nil {
			return purser.Device{}, err
		}
		if n != 1 {
			return purser.Device{}, purser.Errorf(purser.InvalidState, "this device was answered already, or waited too long").WithHint("purser login")
		}
		r := recordOf(by, action, by.ID)
		r.Detail = map[string]string{"device": row.Name, "source": row.Source}
		t.Record(r)
		row.State = state
		return o.showDevice(row, in.Code), nil
	})
}

// RedeemDevice answers a device that asks whether it was confirmed: with a person's
// token, once, or with what RFC 8628 3.5 calls the reason why not.
func (o *Office) RedeemDevice(ctx context.Context, by purser.Actor, code string) (out purser.SignedIn, err error) {
	hash := hashOf(seal.NewSecret(code))
	row, err := o.Store.Read().Device(ctx, hash)
	if missing(err) {
		o.CountRefusal(by.Source, "redeem_device")
		return out, invalidGrant("the device code is not known")
	}
	if err != nil {
		return out, fmt.Errorf("looking up a device: %w", err)
	}
	if err := o.polled(ctx, row); err != nil {
		return out, err
	}
	switch {
	case row.State == deviceDenied:
		return out, refused(purser.AccessDenied, oauth.Errorf(oauth.AccessDenied, "a person said no"))
	case store.Micro(o.Now()) >= row.ExpiresAt:
		return out, refused(purser.ExpiredToken, oauth.Errorf(oauth.ExpiredToken, "the code was not confirmed within %v", deviceLife))
	case row.State == deviceWaiting:
		return out, refused(purser.AuthorizationPending, oauth.Errorf(oauth.AuthorizationPending, "nobody has confirmed the code yet"))
	}
	token, err := seal.NewToken(seal.PersonToken, o.Random)
	if err != nil {
		return out, err
	}
	id, err := o.newID(purser.PrefixToken)
	if err != nil {
		return out, err
	}
	err = o.turn(ctx, row.Organization, func(t *store.Turn) error {
		r := recordOf(purser.Actor{Kind: purser.Person, ID: row.Person, Token: id}, "device_sign_in", row.Person)
		r.Detail = map[string]string{"device": row.Name, "source": by.Source}
		used, err := t.UseDevice(ctx, db.UseDeviceParams{Hash: hash, Now: store.Micro(t.Now)})
		if err != nil {
			return fmt.Errorf("consuming a device code: %w", err)
		}
		if used != 1 {
			r.Actor = recordOf(system, "", "").Actor
			return o.refuse(t, r, invalidGrant("the device code was used before"))
		}
		person, err := t.Person(ctx, db.PersonParams{Organization: t.Org, ID: row.Person})
		if err != nil {
			return notFound(err, "person", row.Person)
		}
		out = purser.SignedIn{Token: token.Reveal(), Organization: t.Org, Person: person.ID, Name: person.Name, ExpiresAt: t.Now.Add(personTTL)}
		t.Record(r)
		return t.InsertToken(ctx, db.InsertTokenParams{
			Organization: t.Org, ID: id, Hash: hashOf(token), Kind: string(purser.Person), Principal: person.ID,
			CreatedAt: store.Micro(t.Now), ExpiresAt: store.Micro(out.ExpiresAt),
		})
	})
	return out, err
}

// polled slows down a device that asks more often than it was told to.
func (o *Office) polled(ctx context.Context, row db.Device) error {
	now, soon := store.Micro(o.Now()), false
	err := o.Store.Write(ctx, func(q *db.Queries) error {
		n, err := q.PollDevice(ctx, db.PollDeviceParams{Hash: row.Hash, Now: now})
		if soon = n != 1; err != nil || !soon {
			return err
		}
		return q.SlowDevice(ctx, db.SlowDeviceParams{Hash: row.Hash, PolledAt: now, Pause: row.Pause + devicePause.Microseconds()})
	})
	if err != nil {
		return o.explain(ctx, err)
	}
	if soon {
		slow := refused(purser.TooManyTries, oauth.Errorf(oauth.SlowDown, "ask less often"))
		slow.RetryAfter = time.Duration(row.Pause)*time.Microsecond + devicePause
		return slow
	}
	return nil
}

// inBrowser reports whether a person acts in a browser's session.
func inBrowser(by purser.Actor) bool { return by.Kind == purser.Person && by.Session }
