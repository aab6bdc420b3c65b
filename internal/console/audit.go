package console

import (
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/purser-dev/purser"
)

// audit searches the log, the newest records first.
func (c *Console) audit(v *visit) (page, error) {
	words := v.query("words")
	before, err := strconv.ParseInt(orWord(v.query("before"), "0"), 10, 64)
	if err != nil {
		return page{}, purser.Errorf(purser.InvalidRequest, "before is the number of a record")
	}
	found, err := do[purser.FoundRecords](v, "search_audit", purser.SearchAudit{Words: words, Before: before, Limit: 50})
	if err != nil {
		return page{}, err
	}
	next := ""
	if found.Next > 0 {
		next = "/audit?" + url.Values{"words": {words}, "before": {strconv.FormatInt(found.Next, 10)}}.Encode()
	}
	return page{title: "Audit", side: exportLink(), parts: []part{
		{id: "search", label: "Search", body: auditSearch(words, found.Size)},
		{id: "records", live: words == "" && before == 0, label: "Records", body: recordsPart(v, found)},
		{id: "older", body: more(next)},
	}}, nil
}

// record is one record of the log, with the means to check it.
func (c *Console) record(v *visit) (page, error) {
	seq, err := strconv.ParseInt(v.r.PathValue("seq"), 10, 64)
	if err != nil || seq < 1 {
		return page{}, purser.Errorf(purser.NotFound, "a record has a number")
	}
	log, err := do[purser.AuditPage](v, "audit_log", purser.AskAudit{After: seq - 1, Limit: 1})
	if err != nil {
		return page{}, err
	}
	if len(log.Records) == 0 {
		return page{}, purser.Errorf(purser.NotFound, "the log has %d records, and not this one", log.Size)
	}
	r := log.Records[0]
	text, err := json.MarshalIndent(r.Record, "", "  ")
	if err != nil {
		return page{}, err
	}
	proof, err := c.proof(v, seq)
	if err != nil {
		return page{}, err
	}
	return page{title: "Record " + strconv.FormatInt(seq, 10), above: "Audit", abovePath: "/audit", scripts: []string{"verify.js"}, parts: []part{
		{id: "record", label: "The record", body: recordPart(v, r, string(text))},
		proof,
	}}, nil
}
