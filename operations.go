package purser

// Operation describes one operation for every door. Names are the same in HTTP
// (operationId), MCP (tool), the command line and the audit log.
type Operation struct {
	Name    string
	Summary string
	Method  string // of HTTP
	Path    string // with {member} for members of the request
	Who     Who
	Loosens bool // needs a person's signed act, at least in some cases (RULES 1)
	Changes bool // takes an Idempotency-Key
	Tool    bool // offered to agents over MCP
}

// Who may call an operation.
type Who int

const (
	Anyone     Who = iota
	People         // a person's token
	Spenders       // an agent's or a platform's token, which the deciding turn looks at again, also where a stop or the end of its run took it
	Agents         // a person's or an agent's token
	Bearers        // a person's, an agent's or a platform's token
	Providers      // a provider's key, at the rail
	MayApprove     // a person with the role owner or approver
	Owners         // a person with the role owner
)

// Spends reports that who calls it spends: its deciding turn looks at the token again,
// answers from memory what was decided under a key, and lets one that a stop or the end of
// its run took do no more than say what its begun holds cost (RULES 10, 21).
func (o Operation) Spends() bool { return o.Who == Spenders }

// Operations is the one list; a test compares each door with it.
func Operations() []Operation { return operations }

var operations = []Operation{
	{"set_up", "Make the first organization and its owner.", "POST", "/v1/set-up", Anyone, false, true, false},
	{"ask_sign_in", "Ask for a sign-in challenge.", "POST", "/v1/sign-in/challenge", Anyone, false, false, false},
	{"sign_in", "Sign in with a signed challenge.", "POST", "/v1/sign-in", Anyone, false, false, false},
	{"sign_out", "End the token that is used.", "POST", "/v1/sign-out", People, false, false, false},
	{"ask_act", "Ask what to sign before an operation that loosens a control.", "POST", "/v1/acts", People, false, false, false},
	{"show_act", "Show what waits to be signed; wait for the signature.", "GET", "/v1/acts/{nonce}", People, false, false, false},
	{"answer_act", "Sign with a passkey what another program of the same person asked for.", "POST", "/v1/acts/{nonce}/signature", People, false, false, false},
	{"whoami", "Tell which credential is held and what it may do.", "GET", "/v1/whoami", Bearers, false, false, true},

	{"ask_passkey", "Ask what a browser needs to make a passkey, with a code of set-up, invitation or recovery.", "POST", "/v1/passkeys/challenge", Anyone, false, false, false},
	{"recover_access", "Sign in with a recovery code and a new passkey.", "POST", "/v1/recover", Anyone, false, true, false},
	{"accept_invitation", "Join by an invitation, with a passkey.", "POST", "/v1/invitations/accept", Anyone, false, true, false},
	{"list_passkeys", "List one's own passkeys.", "GET", "/v1/passkeys", People, false, false, false},
	{"ask_own_passkey", "Ask what a browser needs to make another passkey for oneself.", "POST", "/v1/passkeys/ask", People, false, false, false},
	{"add_passkey", "Add a passkey to one's own.", "POST", "/v1/passkeys", People, true, true, false},
	{"revoke_passkey", "Revoke a passkey; it never signs again.", "POST", "/v1/passkeys/{passkey}/revoke", People, false, true, false},
	{"recovery", "Make new recovery codes; the old ones stop working.", "POST", "/v1/recovery", People, true, true, false},
	{"list_sessions", "List one's own sessions.", "GET", "/v1/sessions", People, false, false, false},
	{"revoke_session", "End a session.", "POST", "/v1/sessions/{session}/revoke", People, false, true, false},
	{"list_people", "List people.", "GET", "/v1/people", People, false, false, false},
	{"invite", "Make a link with which one person joins.", "POST", "/v1/invitations", Owners, true, true, false},
	{"list_invitations", "List invitations that nobody used yet.", "GET", "/v1/invitations", Owners, false, false, false},
	{"revoke_invitation", "Take an invitation back.", "POST", "/v1/invitations/{invitation}/revoke", Owners, false, true, false},
	{"set_role", "Change what a person may do.", "POST", "/v1/people/{person}/role", Owners, true, true, false},
	{"first_passkey", "Make a link with which a person who has none makes a first passkey.", "POST", "/v1/people/{person}/passkey", Owners, true, true, false},
	{"remove_person", "Remove a person, with sessions, passkeys and runs.", "POST", "/v1/people/{person}/remove", Owners, true, true, false},
	{"two_people", "Show the amounts above which two people must approve.", "GET", "/v1/two-people", People, false, false, false},
	{"set_two_people", "Set the amount above which two people must approve.", "PUT", "/v1/two-people", Owners, true, true, false},

	{"create_project", "Make a project.", "POST", "/v1/projects", People, false, true, false},
	{"list_projects", "List projects.", "GET", "/v1/projects", Agents, false, false, false},
	{"catalog", "List services that can be bought, with numeric prices.", "GET", "/v1/catalog", Agents, false, false, true},
	{"search", "Search the catalog. Results are proposals; nothing is bought.", "GET", "/v1/search", Agents, false, false, true},
	{"add_provider", "Register a provider by its manifest.", "POST", "/v1/providers", MayApprove, true, true, false},
	{"list_providers", "List registered providers.", "GET", "/v1/providers", Agents, false, false, true},
	{"show_provider", "Show a provider with its last conformance.", "GET", "/v1/providers/{provider}", Agents, false, false, true},
	{"remove_provider", "Forget a provider that nothing lives at.", "POST", "/v1/providers/{provider}/remove", MayApprove, false, true, false},
	{"record_conformance", "Keep the result of a provider's conformance run.", "POST", "/v1/providers/{provider}/conformance", MayApprove, true, true, false},
	{"link", "Plan and apply the linking of an account at a provider.", "POST", "/v1/providers/{provider}/link", Agents, false, true, true},
	{"unlink", "Plan and apply forgetting the account at a provider.", "POST", "/v1/providers/{provider}/unlink", Agents, false, true, true},
	{"open", "Get a page of a provider on which a person is signed in.", "POST", "/v1/providers/{provider}/open", MayApprove, true, false, false},
	{"propose_open", "Ask the people to open a page of a provider; the link goes to them only.", "POST", "/v1/providers/{provider}/open/proposals", Agents, false, true, true},
	{"adopt", "Plan and apply taking in a resource that is at the provider already, by its exact identifier.", "POST", "/v1/providers/{provider}/adopt", Agents, false, true, true},

	{"create_run", "Make a run with a budget; its agent's token is shown once.", "POST", "/v1/runs", MayApprove, true, true, false},
	{"list_runs", "List runs.", "GET", "/v1/runs", Agents, false, false, false},
	{"show_run", "Show a run with its budget and orders.", "GET", "/v1/runs/{run}", Agents, false, false, true},
	{"extend_run", "Give a run more time or money.", "POST", "/v1/runs/{run}/extend", MayApprove, true, true, false},
	{"end_run", "End a run; its token stops working.", "POST", "/v1/runs/{run}/end", Agents, false, true, true},
	{"list_agents", "List agents.", "GET", "/v1/agents", People, false, false, false},
	{"revoke_agent", "Revoke an agent and its tokens.", "POST", "/v1/agents/{agent}/revoke", People, false, true, false},

	{"stage", "Name a folder's files and learn which to upload.", "POST", "/v1/manifests", Agents, false, true, true},
	{"plan", "Plan exact purchases with quotes. Nothing is bought.", "POST", "/v1/plans", Agents, false, true, true},
	{"show_plan", "Show a plan with its state and orders.", "GET", "/v1/plans/{plan}", Agents, false, false, true},
	{"list_approvals", "List plans that wait for a person.", "GET", "/v1/approvals", Agents, false, false, false},
	{"review", "Show a plan with all that a person should see before a decision.", "GET", "/v1/plans/{plan}/review", People, false, false, false},
	{"show_terms", "Show the text that a hash of terms stands for.", "GET", "/v1/terms/{terms}", People, false, false, false},
	{"approve", "Approve exactly this plan.", "POST", "/v1/plans/{plan}/approve", MayApprove, true, true, false},
	{"deny", "Deny a plan, with a reason for the agent.", "POST", "/v1/plans/{plan}/deny", MayApprove, false, true, false},
	{"lower_ceiling", "Make a new plan of one that waits, with a lower ceiling.", "POST", "/v1/plans/{plan}/ceiling", MayApprove, false, true, false},
	{"apply", "Execute an approved plan. The same call again joins it.", "POST", "/v1/plans/{plan}/apply", Agents, false, true, true},
	{"add", "Plan and apply one service.", "POST", "/v1/services", Agents, false, true, true},
	{"deploy", "Plan and apply the deployment of a staged folder.", "POST", "/v1/deployments", Agents, false, true, true},
	{"resolve", "Say what became of an order that nobody can look up.", "POST", "/v1/orders/{order}/resolve", MayApprove, true, true, false},

	{"status", "Show what waits, runs, lives and costs.", "GET", "/v1/status", Agents, false, false, true},
	{"overview", "Show at a glance what waits, runs and costs.", "GET", "/v1/overview", People, false, false, false},
	{"report", "Add up money by day, provider and project, with a forecast.", "GET", "/v1/report", People, false, false, false},
	{"spend", "List money by event, with sums and budgets.", "GET", "/v1/spend", Agents, false, false, true},
	{"list_budgets", "List budgets with what is left.", "GET", "/v1/budgets", Agents, false, false, true},
	{"set_budget", "Set a limit; raising one needs a signed act. An agent lowers its own run's, and nothing else.", "PUT", "/v1/budgets", Agents, true, true, true},
	{"subscriptions", "List recurring charges.", "GET", "/v1/subscriptions", Agents, false, false, true},
	{"cancel_subscription", "Cancel a recurring charge at its next date.", "POST", "/v1/subscriptions/{subscription}/cancel", People, false, true, false},
	{"list_resources", "List what was provisioned.", "GET", "/v1/resources", Agents, false, false, false},
	{"show_resource", "Show a resource.", "GET", "/v1/resources/{resource}", Agents, false, false, false},
	{"remove", "Detach, retire or destroy a resource.", "POST", "/v1/resources/{resource}/remove", People, true, true, false},
	{"restore", "Bring a retired resource back within its grace.", "POST", "/v1/resources/{resource}/restore", People, true, true, false},
	{"update", "Plan and apply a change of a resource's configuration or service.", "POST", "/v1/resources/{resource}/update", Agents, false, true, true},
	{"upgrade", "Plan and apply a change to a larger service.", "POST", "/v1/resources/{resource}/upgrade", Agents, false, true, true},
	{"downgrade", "Plan and apply a change to a smaller service.", "POST", "/v1/resources/{resource}/downgrade", Agents, false, true, true},
	{"rotate", "Replace a resource's credentials.", "POST", "/v1/resources/{resource}/rotate", Agents, false, true, true},
	{"show_order", "Show an order, with what its provider asks for.", "GET", "/v1/orders/{order}", Agents, false, false, false},
	{"inform", "Answer what a provider asked for before it goes on with an order.", "POST", "/v1/orders/{order}/inform", MayApprove, true, true, false},
	{"exec", "Hand out the credentials of an environment, for a child process.", "POST", "/v1/exec", Agents, true, false, false},

	{"stop", "Stop spending in a scope, at once.", "POST", "/v1/stops", Agents, false, true, true},
	{"show_stop", "Show a stop and what became of each revocation.", "GET", "/v1/stops/{stop}", Agents, false, false, true},
	{"list_stops", "List stops that are in force.", "GET", "/v1/stops", Agents, false, false, false},
	{"resume", "Lift a stop.", "POST", "/v1/stops/{stop}/resume", MayApprove, true, true, false},

	{"list_notices", "List what people were told, by which ways, and what became of it.", "GET", "/v1/notices", People, false, false, false},
	{"set_notices", "Choose of which kinds one is told, and by which ways.", "PUT", "/v1/notices", People, false, true, false},
	{"test_notices", "Send a test by every way, now.", "POST", "/v1/notices/test", People, false, true, false},

	{"audit_log", "Read the audit log.", "GET", "/v1/audit", People, false, false, false},
	{"search_audit", "Find records of the audit log by words, the newest first.", "GET", "/v1/audit/search", People, false, false, false},
	{"prove", "Prove that a record is in the log; an agent gets its own run's.", "GET", "/v1/audit/{seq}", Agents, false, false, true},
	{"checkpoint", "Get a signed checkpoint of the log, with proof that it only grew.", "GET", "/v1/audit/checkpoint", Agents, false, false, false},
	{"check_books", "Walk the books and report every fault.", "GET", "/v1/books", People, false, false, false},

	{"show_authorization", "Show what a client asks for.", "GET", "/v1/authorizations/{authorization}", People, false, false, false},
	{"grant", "Connect a client: give it an agent and a run with a budget.", "POST", "/v1/authorizations/{authorization}/grant", MayApprove, true, true, false},
	{"decline", "Tell a client no.", "POST", "/v1/authorizations/{authorization}/decline", People, false, true, false},
	{"list_grants", "List connected clients.", "GET", "/v1/grants", People, false, false, false},
	{"revoke_grant", "Disconnect a client: its tokens stop working.", "POST", "/v1/grants/{grant}/revoke", People, false, true, false},
	{"show_device", "Show which device asks to sign in with a code.", "GET", "/v1/devices/{code}", People, false, false, false},
	{"confirm_device", "Sign in the device that shows this code, from a browser.", "POST", "/v1/devices/{code}/confirm", People, false, true, false},
	{"deny_device", "Refuse the device that shows this code.", "POST", "/v1/devices/{code}/deny", People, false, true, false},
	{"place_hold", "Reserve money for something that is about to be used.", "POST", "/v1/holds", Spenders, false, true, true},
	{"list_holds", "List holds that are not over.", "GET", "/v1/holds", Bearers, false, false, true},
	{"begin_hold", "Ask leave to act on a hold, now.", "POST", "/v1/holds/{hold}/begin", Spenders, false, true, true},
	{"capture_hold", "Say what the effect of a begun hold has cost.", "POST", "/v1/holds/{hold}/capture", Spenders, false, true, true},
	{"release_hold", "Give back what a hold still covers.", "POST", "/v1/holds/{hold}/release", Spenders, false, true, true},
	{"resolve_hold", "Say that nothing more will be charged on a hold.", "POST", "/v1/holds/{hold}/resolve", MayApprove, true, true, false},
	{"charge_usage", "Reserve and spend at once, for metered use.", "POST", "/v1/charges", Spenders, false, true, true},
	{"refund_hold", "Record that captured money was given back.", "POST", "/v1/refunds", Spenders, false, true, false},
	{"allow_repeat", "Say that an order may come once more, from the same provider.", "POST", "/v1/repeats", MayApprove, true, true, false},
	{"set_labels", "Label a project or a run; taking a label away needs a signed act.", "PUT", "/v1/labels", People, true, true, false},
	{"create_platform", "Register a program that meters what agents spend; its token is shown once.", "POST", "/v1/platforms", MayApprove, true, true, false},
	{"list_platforms", "List registered platforms.", "GET", "/v1/platforms", People, false, false, false},
	{"revoke_platform", "Revoke a platform and its token.", "POST", "/v1/platforms/{platform}/revoke", People, false, true, false},

	{"charge", "Charge a payment token.", "POST", "/v1/rail/charges", Providers, false, true, false},
	{"refund", "Refund a charge.", "POST", "/v1/rail/refunds", Providers, false, true, false},
}
