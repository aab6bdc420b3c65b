package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// runFile tells other commands of this machine where the server of a data
// folder listens. It is written when the server is ready and removed at its end.
type runFile struct {
	URL   string     `json:"url"`
	MCP   string     `json:"mcp"`
	Pid   int        `json:"pid"`
	Cloud *cloudRuns `json:"cloud,omitempty"`
	Setup string     `json:"setup_code,omitempty"` // only printed, never in the file

	SetupLink string `json:"setup_link,omitempty"` // the same, for a browser
}

// cloudRuns is where the local cloud listens.
type cloudRuns struct {
	API     string `json:"api_url"`
	HTTPS   string `json:"edge_https"`
	HTTP    string `json:"edge_http"`
	DNS     string `json:"dns"`
	SMTP    string `json:"smtp"`
	RootPEM string `json:"root_pem"`
	Pid     int    `json:"pid"`
}

func runFilePath(dir string) string { return filepath.Join(dir, "up.json") }

func readRunFile(dir string) (runFile, error) {
	var run runFile
	text, err := os.ReadFile(runFilePath(dir))
	if err == nil {
		err = json.Unmarshal(text, &run)
	}
	return run, err
}

func (r runFile) write(dir string) error {
	r.Setup, r.SetupLink = "", ""
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("writing where the server listens: %w", err)
	}
	return writeFile(runFilePath(dir), append(text, '\n'), 0o600)
}
