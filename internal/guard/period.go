package guard

import (
	"fmt"
	"strings"
	"time"

	"github.com/purser-dev/purser"
)

// Window names the window of a period that now falls into, in the organization's
// time zone, and when the next one begins; the zero time is never. A run's window
// is the run itself.
func Window(period, target string, now time.Time, zone *time.Location) (name string, next time.Time) {
	local := now.In(zone)
	year, month, day := local.Date()
	switch period {
	case purser.PeriodRun:
		return target, time.Time{}
	case purser.PeriodHour:
		// By the clock of UTC: where clocks go back, a local hour comes twice.
		hour := now.UTC().Truncate(time.Hour)
		return hour.Format("2006-01-02T15"), hour.Add(time.Hour)
	case purser.PeriodDay:
		return local.Format(time.DateOnly), midnight(year, month, day+1, zone)
	case purser.PeriodWeek:
		y, w := local.ISOWeek()
		untilMonday := (8 - int(local.Weekday())) % 7
		if untilMonday == 0 {
			untilMonday = 7
		}
		return fmt.Sprintf("%04d-W%02d", y, w), midnight(year, month, day+untilMonday, zone)
	case purser.PeriodMonth:
		return local.Format("2006-01"), midnight(year, month+1, 1, zone)
	}
	return purser.PeriodTotal, time.Time{}
}

// Began is when the window that now falls into began; the zero time is always.
func Began(period string, now time.Time, zone *time.Location) time.Time {
	local := now.In(zone)
	year, month, day := local.Date()
	switch period {
	case purser.PeriodHour:
		return now.UTC().Truncate(time.Hour)
	case purser.PeriodDay:
		return midnight(year, month, day, zone)
	case purser.PeriodWeek:
		return midnight(year, month, day-(int(local.Weekday())+6)%7, zone)
	case purser.PeriodMonth:
		return midnight(year, month, 1, zone)
	}
	return time.Time{}
}

// midnight is the first moment of a day: where the clocks jump over midnight it
// is an hour later (time.Date would give the evening before).
func midnight(year int, month time.Month, day int, zone *time.Location) time.Time {
	at := time.Date(year, month, day, 0, 0, 0, 0, zone)
	want := time.Date(year, month, day, 12, 0, 0, 0, zone).Day()
	for at.In(zone).Day() != want {
		at = at.Add(15 * time.Minute)
	}
	// Where the clocks go back at midnight, the day has two: the first counts.
	for earlier := at.Add(-time.Hour); earlier.In(zone).Day() == want; earlier = at.Add(-time.Hour) {
		at = earlier
	}
	return at.UTC()
}

// WindowsLike is an SQL pattern for the names of all windows of a period.
func WindowsLike(period, target string) string {
	switch period {
	case purser.PeriodHour:
		return "____-__-__T__"
	case purser.PeriodDay:
		return "____-__-__"
	case purser.PeriodWeek:
		return "____-W__"
	case purser.PeriodMonth:
		return "____-__"
	case purser.PeriodRun:
		return target
	}
	return purser.PeriodTotal
}

// CheckPeriod refuses a period that there is not, or that does not fit the scope.
func CheckPeriod(scope, period string) *purser.Error {
	switch period {
	case purser.PeriodHour, purser.PeriodDay, purser.PeriodWeek, purser.PeriodMonth, purser.PeriodTotal:
		return nil
	case purser.PeriodRun:
		if scope == purser.ScopeRun {
			return nil
		}
		return purser.Errorf(purser.InvalidRequest, "the period run is a run's own; for a %s: hour, day, week, month or total", scope)
	}
	return purser.Errorf(purser.InvalidRequest, "a budget's period is hour, day, week, month, total, or for a run its whole life: run; not %q", period)
}

// CheckLabel refuses what is not name=value: lower-case letters, digits, dot,
// dash and underscore in the name, up to 64 visible characters in the value.
func CheckLabel(label string) *purser.Error {
	name, value, ok := strings.Cut(label, "=")
	ok = ok && name != "" && len(name) <= 64 && value != "" && len(value) <= 64
	for _, c := range name {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_')
	}
	for _, c := range value {
		ok = ok && c > ' ' && c <= '~' && c != '='
	}
	if !ok {
		return purser.Errorf(purser.InvalidRequest, "%q is no label; write it as name=value, like team=search: the name in lower case, the value in up to 64 visible characters without =", label)
	}
	return nil
}
