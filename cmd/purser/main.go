// Command purser lets a coding agent buy, within what a person allowed.
package main

import (
	"os"
	_ "time/tzdata" // an image without zoneinfo would know no organization's months but those of UTC

	"github.com/purser-dev/purser/internal/cli"
)

var version string // set by the linker, see the Makefile

func main() { os.Exit(cli.Main(version)) }
