package office

import (
	"testing"
	"time"
)

// RULES 8: a renewal falls due on the same day of the month in the organization's
// zone, or the last day of a shorter month, whatever the clocks do there.
func TestARenewalFallsDueOnTheSameDayOrTheLastOfTheMonth(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, zone, start, now, interval, want string
	}{
		{"a month from the last of January", "UTC", "2026-01-31 10:00", "2026-01-31 10:00", "month", "2026-02-28 10:00"},
		{"in a leap year", "UTC", "2028-01-31 10:00", "2028-01-31 10:00", "month", "2028-02-29 10:00"},
		{"and back on the 31st after", "UTC", "2026-01-31 10:00", "2026-02-28 10:00", "month", "2026-03-31 10:00"},
		{"and the 30th in April", "UTC", "2026-01-31 10:00", "2026-03-31 10:00", "month", "2026-04-30 10:00"},
		{"over the end of a year", "UTC", "2026-12-31 10:00", "2026-12-31 10:00", "month", "2027-01-31 10:00"},
		{"a year from the leap day", "UTC", "2028-02-29 10:00", "2028-02-29 10:00", "year", "2029-02-28 10:00"},
		{"and back on it four years later", "UTC", "2028-02-29 10:00", "2031-03-01 10:00", "year", "2032-02-29 10:00"},
		{"the first after a long silence", "UTC", "2026-01-15 10:00", "2026-06-20 10:00", "month", "2026-07-15 10:00"},
		{"a week over a change of clocks", "Europe/Berlin", "2026-03-25 10:00", "2026-03-25 10:00", "week", "2026-04-01 10:00"},
		{"a day with 23 hours", "Europe/Berlin", "2026-03-28 12:00", "2026-03-28 12:00", "day", "2026-03-29 12:00"},
		{"a day with 25 hours", "America/New_York", "2026-10-31 12:00", "2026-10-31 12:00", "day", "2026-11-01 12:00"},
		{"an hour that the change of clocks leaves out", "Europe/Berlin", "2026-02-28 02:30", "2026-02-28 02:30", "month", "2026-03-28 02:30"},
		{"a day that begins at one o'clock", "America/Santiago", "2026-08-06 00:30", "2026-08-06 00:30", "month", "2026-09-06 01:00"},
		{"a zone far from Greenwich", "Pacific/Kiritimati", "2026-01-31 00:10", "2026-01-31 00:10", "month", "2026-02-28 00:10"},
	}
	const form = "2006-01-02 15:04"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			zone, err := time.LoadLocation(tt.zone)
			if err != nil {
				t.Fatal(err)
			}
			at := func(text string) time.Time {
				v, err := time.ParseInLocation(form, text, zone)
				if err != nil {
					t.Fatal(err)
				}
				return v.UTC()
			}
			got, err := nextDate(at(tt.start), at(tt.now), tt.interval, zone)
			if err != nil || got.In(zone).Format(form) != tt.want {
				t.Errorf("got %s, want %s (%v)", got.In(zone).Format(form), tt.want, err)
			}
		})
	}
	if _, err := nextDate(time.Now(), time.Now(), "fortnight", time.UTC); err == nil {
		t.Error("an unknown interval has a date")
	}
}
