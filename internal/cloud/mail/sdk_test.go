package mail

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sdkScript drives the office with AgentMail's own client: sign-up, an inbox, a
// message sent to it, the list, the whole message, and the inbox's end.
const sdkScript = `
const { AgentMailClient } = require("agentmail");
const base = process.env.MAIL_BASE;
(async () => {
  const environment = { http: base, websockets: base.replace("http", "ws") };
  const guest = new AgentMailClient({ environment, apiKey: "none" });
  const signed = await guest.agent.signUp({ humanEmail: "jane@example.org", username: "bot" });
  const client = new AgentMailClient({ environment, apiKey: signed.apiKey });
  const box = await client.inboxes.create({ username: "second", clientId: "c1" });
  const again = await client.inboxes.create({ username: "second", clientId: "c1" });
  const sent = await client.inboxes.messages.send(signed.inboxId, { to: box.inboxId, subject: "Grüße", text: "words" });
  const list = await client.inboxes.messages.list(box.inboxId);
  const message = await client.inboxes.messages.get(box.inboxId, list.messages[0].messageId);
  await client.inboxes.delete(box.inboxId);
  const left = await client.inboxes.list();
  console.log(JSON.stringify({
    same: box.inboxId === again.inboxId, sent: sent.messageId === message.messageId, count: list.count,
    subject: message.subject, text: message.text, left: left.count,
  }));
})().catch((e) => { console.error(e); process.exit(1); });
`

func TestAgentMailsOwnClientWorksUnchanged(t *testing.T) {
	modules := os.Getenv("PURSER_NODE_MODULES")
	if modules == "" {
		t.Skip("PURSER_NODE_MODULES names no folder with npm agentmail 0.5.27")
	}
	if _, err := os.Stat(filepath.Join(modules, "agentmail")); err != nil {
		t.Skipf("npm agentmail is not installed there: %v", err)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	w := newWorld(t)
	cmd := exec.CommandContext(t.Context(), node, "-e", sdkScript)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "MAIL_BASE="+w.api)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the client failed: %v\n%s", err, complaints.String())
	}
	var got struct {
		Same, Sent    bool
		Count, Left   int
		Subject, Text string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("the client said %s", out)
	}
	if !got.Same || !got.Sent || got.Count != 1 || got.Subject != "Grüße" || got.Text != "words" || got.Left != 1 {
		t.Errorf("the client saw %+v", got)
	}
}
