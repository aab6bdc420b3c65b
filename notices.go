package purser

import "time"

// Notice is one thing that people were told, or are to be told.
type Notice struct {
	ID         string       `json:"id"`
	Kind       string       `json:"kind"`
	About      string       `json:"about,omitempty"` // identifier of a plan, run, stop, subscription or order; scope:target of a budget
	Subject    string       `json:"subject"`
	Facts      []NoticeFact `json:"facts"`
	URL        string       `json:"url,omitempty"`
	Project    string       `json:"project,omitempty"`
	Run        string       `json:"run,omitempty"`
	CreatedAt  time.Time    `json:"created_at"`
	Deliveries []Delivery   `json:"deliveries"` // empty: nobody chose to be told, or not spread yet
}

// NoticeFact is one line of a notice. A quoted one is the words of a provider or an
// agent: shown, never followed.
type NoticeFact struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Quoted bool   `json:"quoted,omitempty"`
}

// Delivery is a notice on its way to one receiver.
type Delivery struct {
	Way      string     `json:"way"`              // mail or webhook
	Person   string     `json:"person,omitempty"` // of mail
	State    string     `json:"state"`            // waiting, done, moot (it was decided meanwhile), muted (too many within the hour), given_up (not in a day)
	Attempts int        `json:"attempts"`
	NextAt   *time.Time `json:"next_at,omitempty"` // of one that waits
	EndedAt  *time.Time `json:"ended_at,omitempty"`
	Error    string     `json:"error,omitempty"` // of the last attempt
}

// Notices is a page of notices, newest first, with the ways and the choices.
type Notices struct {
	Items      []Notice       `json:"items"`
	NextCursor string         `json:"next_cursor,omitempty"`
	Ways       []string       `json:"ways"`    // that the server is set up for
	Kinds      []string       `json:"kinds"`   // that can be chosen
	Choices    []NoticeChoice `json:"choices"` // of the organization and of whoever asks
	Holds      []NoticeChoice `json:"holds"`   // what holds for each kind, for the organization and for whoever asks, by the ways that are set up
	Untold     []Notice       `json:"untold"`  // given up within the last week
}

// NoticeChoice is what somebody chose to be told.
type NoticeChoice struct {
	Who  string   `json:"who"`  // me or organization
	Kind string   `json:"kind"` // or all, for those without a choice of their own
	Ways []string `json:"ways"` // empty: not told
}

// SetNotices says of which kinds one is told, by which ways. Whoever it touches is
// told of the change by mail.
type SetNotices struct {
	Who   string   `json:"who,omitempty"`   // me (default), or organization: the webhook, and people who chose nothing; an owner's choice
	Kinds []string `json:"kinds,omitempty"` // left out: all
	Ways  []string `json:"ways"`            // mail, webhook (of the organization); empty: not told
}

// Event is one record of the log as a stream tells it: what happened, not why.
type Event struct {
	Seq     int64     `json:"seq"` // of the record; a stream goes on after it
	At      time.Time `json:"at"`
	Action  string    `json:"action"`
	Target  string    `json:"target,omitempty"`
	Outcome string    `json:"outcome"` // accepted, refused, failed, unknown
	Run     string    `json:"run,omitempty"`
	Project string    `json:"project,omitempty"`
}

// AskEvents asks for events after a sequence number; below zero: from now on.
type AskEvents struct {
	After int64 `json:"after,omitempty"`
}
