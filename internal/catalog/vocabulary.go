package catalog

// measure says how a unit is counted, and so what kind of price it makes.
type measure int

const (
	byData  measure = iota + 1 // bytes of some size
	byEvent                    // things that happen
	bySeat                     // things that are there; priced for a period only
)

// The vocabulary is closed on purpose: a word that is not here could be the one
// that changes the price ("from", "first", "after", "billed annually").

var periods = map[string]string{
	"hour": "hour", "hr": "hour", "h": "hour",
	"day":  "day",
	"week": "week", "wk": "week",
	"month": "month", "mo": "month",
	"year": "year", "yr": "year", "annum": "year",
}

var adverbs = map[string]string{
	"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year", "annually": "year",
}

// scales has no K, M or B: "1M" is a million, a minute or a month (RULES 27).
var scales = map[string]int64{"thousand": 1e3, "million": 1e6, "billion": 1e9}

// dataUnits are told apart by their capitals: Gb is not GB.
var dataUnits = map[string]bool{
	"KB": true, "MB": true, "GB": true, "TB": true, "PB": true,
	"KiB": true, "MiB": true, "GiB": true, "TiB": true, "PiB": true,
}

var wordUnits = map[string]struct {
	name string
	measure
}{
	"request": {"request", byEvent}, "requests": {"request", byEvent},
	"call": {"call", byEvent}, "calls": {"call", byEvent},
	"query": {"query", byEvent}, "queries": {"query", byEvent},
	"operation": {"operation", byEvent}, "operations": {"operation", byEvent},
	"read": {"read", byEvent}, "reads": {"read", byEvent},
	"write": {"write", byEvent}, "writes": {"write", byEvent},
	"event": {"event", byEvent}, "events": {"event", byEvent},
	"execution": {"execution", byEvent}, "executions": {"execution", byEvent},
	"invocation": {"invocation", byEvent}, "invocations": {"invocation", byEvent},
	"email": {"email", byEvent}, "emails": {"email", byEvent},
	"message": {"message", byEvent}, "messages": {"message", byEvent},
	"sms":  {"SMS", byEvent},
	"page": {"page", byEvent}, "pages": {"page", byEvent},
	"image": {"image", byEvent}, "images": {"image", byEvent},
	"document": {"document", byEvent}, "documents": {"document", byEvent},
	"row": {"row", byEvent}, "rows": {"row", byEvent},
	"record": {"record", byEvent}, "records": {"record", byEvent},
	"token": {"token", byEvent}, "tokens": {"token", byEvent},
	"minute": {"minute", byEvent}, "minutes": {"minute", byEvent}, "min": {"minute", byEvent},
	"second": {"second", byEvent}, "seconds": {"second", byEvent}, "sec": {"second", byEvent},

	"seat": {"seat", bySeat}, "user": {"user", bySeat}, "member": {"member", bySeat}, "contributor": {"contributor", bySeat},
	"developer": {"developer", bySeat}, "editor": {"editor", bySeat}, "agent": {"agent", bySeat},
	"node": {"node", bySeat}, "instance": {"instance", bySeat}, "replica": {"replica", bySeat}, "server": {"server", bySeat},
	"vcpu": {"vCPU", bySeat}, "cpu": {"CPU", bySeat}, "gpu": {"GPU", bySeat},
	"database": {"database", bySeat}, "bucket": {"bucket", bySeat}, "cluster": {"cluster", bySeat},
	"project": {"project", bySeat}, "app": {"app", bySeat}, "site": {"site", bySeat}, "domain": {"domain", bySeat},
	"account": {"account", bySeat}, "organization": {"organization", bySeat}, "workspace": {"workspace", bySeat},
	"inbox": {"inbox", bySeat}, "mailbox": {"mailbox", bySeat}, "number": {"number", bySeat},
}

// items say what a metered amount is for; they never change how much it is.
var items = map[string]string{
	"storage": "storage", "egress": "egress", "ingress": "ingress", "bandwidth": "bandwidth", "transfer": "transfer", "traffic": "traffic",
	"compute": "compute", "memory": "memory", "ram": "RAM", "disk": "disk", "vcpu": "vCPU", "cpu": "CPU", "gpu": "GPU",
	"read": "read", "written": "written", "returned": "returned", "queried": "queried", "scanned": "scanned", "processed": "processed",
	"ingested": "ingested", "sent": "sent", "received": "received", "stored": "stored", "retrieval": "retrieval", "syncs": "syncs",
	"headless": "headless", "headful": "headful",
}

// currencies maps what is written to the ISO 4217 code. "$" alone is the US dollar
// in English catalogs; any other country's letter before it is not understood, and
// "¥" and "kr" belong to two currencies or more.
var currencies = map[string]string{
	"$": "USD", "€": "EUR", "£": "GBP",
	"USD": "USD", "EUR": "EUR", "GBP": "GBP", "CHF": "CHF", "JPY": "JPY", "CAD": "CAD", "AUD": "AUD", "NZD": "NZD",
	"SEK": "SEK", "NOK": "NOK", "DKK": "DKK", "PLN": "PLN", "CZK": "CZK", "INR": "INR", "SGD": "SGD", "HKD": "HKD",
}

// commaGroups are the currencies whose writers use the comma for thousands only;
// "€1,000" could be one euro.
var commaGroups = map[string]bool{"USD": true, "GBP": true, "JPY": true, "AUD": true, "NZD": true, "SGD": true, "HKD": true}
