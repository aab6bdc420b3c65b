package audit

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// OCSFVersion is the version of the schema whose fields OCSF writes. Its class is
// API Activity, uid 6003, of the category Application Activity.
const OCSFVersion = "1.6.0"

// The numbers of OCSF 1.6.0 that are used.
const (
	ocsfCategory = 6
	ocsfClass    = 6003

	ocsfCreate, ocsfRead, ocsfUpdate, ocsfDelete, ocsfOther = 1, 2, 3, 4, 99
	ocsfInformational, ocsfLow, ocsfMedium, ocsfHigh        = 1, 2, 3, 4
	ocsfUnknown, ocsfSuccess, ocsfFailure                   = 0, 1, 2
	ocsfUser, ocsfSystem, ocsfService, ocsfOtherUser        = 1, 3, 4, 99
	ocsfTarget                                              = 1
)

// ocsfCaptions are the schema's own words for the numbers.
var (
	ocsfActivities = map[int]string{ocsfCreate: "Create", ocsfRead: "Read", ocsfUpdate: "Update", ocsfDelete: "Delete"}
	ocsfSeverities = map[int]string{ocsfInformational: "Informational", ocsfLow: "Low", ocsfMedium: "Medium", ocsfHigh: "High"}
	ocsfStatuses   = map[int]string{ocsfUnknown: "Unknown", ocsfSuccess: "Success", ocsfFailure: "Failure"}
	ocsfUserTypes  = map[string]int{"person": ocsfUser, "agent": ocsfService, "provider": ocsfService, "platform": ocsfService, "system": ocsfSystem}
	ocsfTypeNames  = map[int]string{ocsfUser: "User", ocsfSystem: "System", ocsfService: "Service", ocsfOtherUser: "Other"}
)

// ocsfEvent is an event of the class API Activity.
type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	Actor        ocsfActor      `json:"actor"`
	API          ocsfAPI        `json:"api"`
	CategoryName string         `json:"category_name"`
	CategoryUID  int            `json:"category_uid"`
	ClassName    string         `json:"class_name"`
	ClassUID     int            `json:"class_uid"`
	Message      string         `json:"message"`
	Metadata     ocsfMetadata   `json:"metadata"`
	RawData      string         `json:"raw_data"` // the leaf, so that a proof of it can be checked
	Resources    []ocsfResource `json:"resources,omitempty"`
	Severity     string         `json:"severity"`
	SeverityID   int            `json:"severity_id"`
	SrcEndpoint  ocsfEndpoint   `json:"src_endpoint"`
	Status       string         `json:"status"`
	StatusCode   string         `json:"status_code,omitempty"`
	StatusDetail string         `json:"status_detail,omitempty"`
	StatusID     int            `json:"status_id"`
	Time         int64          `json:"time"` // milliseconds since 1970 UTC
	TypeName     string         `json:"type_name"`
	TypeUID      int            `json:"type_uid"`
	Unmapped     ocsfUnmapped   `json:"unmapped"`
}

type ocsfActor struct {
	User ocsfUserOf `json:"user"`
}

type ocsfUserOf struct {
	CredentialUID string   `json:"credential_uid,omitempty"`
	Org           *ocsfOrg `json:"org,omitempty"`
	Type          string   `json:"type"`
	TypeID        int      `json:"type_id"`
	UID           string   `json:"uid"`
}

type ocsfOrg struct {
	UID string `json:"uid"`
}

type ocsfAPI struct {
	Operation string       `json:"operation"`
	Request   *ocsfRequest `json:"request,omitempty"`
	Service   ocsfSvc      `json:"service"`
}

type ocsfRequest struct {
	UID string `json:"uid"`
}

type ocsfSvc struct {
	Name string `json:"name"`
}

type ocsfMetadata struct {
	CorrelationUID string      `json:"correlation_uid,omitempty"` // the run
	EventCode      string      `json:"event_code"`
	LogName        string      `json:"log_name"`
	Product        ocsfProduct `json:"product"`
	Sequence       int64       `json:"sequence"`
	TenantUID      string      `json:"tenant_uid"`
	UID            string      `json:"uid"`
	Version        string      `json:"version"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
}

type ocsfResource struct {
	Namespace string `json:"namespace,omitempty"` // the environment
	Role      string `json:"role"`
	RoleID    int    `json:"role_id"`
	Type      string `json:"type,omitempty"`
	UID       string `json:"uid"`
}

type ocsfEndpoint struct {
	IP      string `json:"ip,omitempty"`
	SvcName string `json:"svc_name,omitempty"`
}

// ocsfUnmapped holds what the schema has no field for, under the record's own names.
type ocsfUnmapped struct {
	Project     string            `json:"project,omitempty"`
	Env         string            `json:"env,omitempty"`
	Run         string            `json:"run,omitempty"`
	PlanDigest  string            `json:"plan_digest,omitempty"`
	DelegatedBy string            `json:"delegated_by,omitempty"`
	Budgets     []BudgetLine      `json:"budgets,omitempty"`
	Money       *Amounts          `json:"money,omitempty"`
	Provider    *Provider         `json:"provider,omitempty"`
	Detail      map[string]string `json:"detail,omitempty"`
}

// OCSF writes a record as one event of OCSF's class API Activity: JSON without a newline.
func OCSF(leaf []byte) ([]byte, error) {
	r, err := ParseRecord(leaf)
	if err != nil {
		return nil, err
	}
	e := ocsfEvent{
		CategoryName: "Application Activity", CategoryUID: ocsfCategory, ClassName: "API Activity", ClassUID: ocsfClass,
		API: ocsfAPI{Operation: r.Action, Service: ocsfSvc{"purser"}}, Message: r.Action + " " + r.Outcome, RawData: string(leaf), Time: r.TS / 1000,
		Metadata: ocsfMetadata{
			CorrelationUID: r.Run, EventCode: r.Action, LogName: "audit", Product: ocsfProduct{"Purser", "Purser"}, Sequence: r.Seq, TenantUID: r.Org,
			UID: fmt.Sprintf("%s/%d", r.Org, r.Seq), Version: OCSFVersion,
		},
		Unmapped: ocsfUnmapped{r.Project, r.Env, r.Run, r.PlanDigest, r.Actor.DelegatedBy, r.Budgets, r.Money, r.Provider, r.Detail},
	}
	if r.Target != "" {
		e.Message = r.Action + " " + r.Target + " " + r.Outcome
		kind, _, ok := strings.Cut(r.Target, ":")
		if !ok {
			kind = ""
		}
		e.Resources = []ocsfResource{{Namespace: r.Env, Role: "Target", RoleID: ocsfTarget, Type: kind, UID: r.Target}}
	}
	if r.IdempotencyKey != "" {
		e.API.Request = &ocsfRequest{r.IdempotencyKey}
	}
	e.user(r)
	e.activity(r.Action)
	e.outcome(r)
	return json.Marshal(e)
}

// user says who it was. A person's address is kept for refusals of strangers only,
// which are counted by it; everybody else comes through the server.
func (e *ocsfEvent) user(r Record) {
	id, ok := ocsfUserTypes[r.Actor.Kind]
	if !ok {
		id = ocsfOtherUser
	}
	e.Actor.User = ocsfUserOf{CredentialUID: r.Actor.Key, Org: &ocsfOrg{r.Org}, Type: ocsfTypeNames[id], TypeID: id, UID: r.Actor.ID}
	e.SrcEndpoint.SvcName = "purser"
	if _, err := netip.ParseAddr(r.Target); err == nil {
		e.SrcEndpoint = ocsfEndpoint{IP: r.Target}
	}
}

// activity sorts an action by its first word, which says what it does.
func (e *ocsfEvent) activity(action string) {
	verb, _, _ := strings.Cut(action, "_")
	switch {
	case action == "set_up" || action == "sign_in":
		verb = "create"
	case action == "sign_out":
		verb = "end"
	}
	switch verb {
	case "create", "add", "place", "plan", "open", "link", "adopt", "hold", "charge", "stage", "renew", "invite", "setup":
		e.ActivityID = ocsfCreate
	case "exec", "reveal", "show", "list":
		e.ActivityID = ocsfRead
	case "remove", "removed", "revoke", "end", "expire", "release", "cancel", "unlink":
		e.ActivityID = ocsfDelete
	case "set", "update", "upgrade", "downgrade", "rotate", "rotated", "extend", "approve", "deny", "apply", "begin", "settle", "capture", "refund", "resolve",
		"stop", "resume", "restore", "record", "inform", "decide", "reconcile":
		e.ActivityID = ocsfUpdate
	default:
		e.ActivityID = ocsfOther
	}
	e.ActivityName = ocsfActivities[e.ActivityID]
	if e.ActivityName == "" {
		e.ActivityName = action
	}
	e.TypeUID = ocsfClass*100 + e.ActivityID
	e.TypeName = e.ClassName + ": " + e.ActivityName
}

// outcome rates what happened: a refusal is the controls at work, an unknown
// outcome is money that somebody must look after, a stop is for everybody to see.
func (e *ocsfEvent) outcome(r Record) {
	e.StatusID, e.SeverityID = ocsfSuccess, ocsfInformational
	switch r.Outcome {
	case Accepted:
	case Refused:
		e.StatusID, e.SeverityID = ocsfFailure, ocsfLow
	case Failed:
		e.StatusID, e.SeverityID = ocsfFailure, ocsfLow
	default:
		e.StatusID, e.SeverityID = ocsfUnknown, ocsfMedium
	}
	if r.Action == "stop" {
		e.SeverityID = ocsfHigh
	}
	if r.Policy != nil && len(r.Policy.Reasons) > 0 {
		e.StatusCode = r.Policy.Reasons[0]
	}
	e.StatusDetail = r.Detail["reason"]
	e.Status, e.Severity = ocsfStatuses[e.StatusID], ocsfSeverities[e.SeverityID]
}
