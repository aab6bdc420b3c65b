# Two commands do everything on a Debian machine with Go, git and make:
# `make demo` shows the program, `make test` installs what the tests need and
# runs all of them. Tools are pinned in tools/go.mod and built into .tools.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help build demo test needs check format vet lint generated vulnerabilities race soak bench benchmarks pictures generate clean

export CGO_ENABLED ?= 0
# The version comes from git describe below; Go's own stamp fails in a checkout
# that belongs to somebody else, as in a container.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
version := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
tools   := .tools/gofumpt .tools/staticcheck .tools/govulncheck .tools/sqlc .tools/templ
sqlc     = $(shell find internal -name sqlc.yaml)

# Where goroutines meet; the rest is sequential and would only cost time here. With
# -short these leave out, or do on one database, what is sequential in them too.
racing  := app client provider internal/store internal/office internal/rail internal/seller internal/catalog \
	internal/cloud internal/httpapi internal/mcpapi internal/server
race     = $(foreach p,$(racing),$(if $(wildcard $p),./$p/...))

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/purser, one file without cgo
	go build -trimpath -ldflags '-s -w -X github.com/purser-dev/purser/internal/cli.version=$(version)' -o bin/purser ./cmd/purser

demo: build ## show it: an agent puts a page live on a domain bought for it
	@# Without a terminal nobody can be asked; the demo's person then says yes.
	bin/purser demo $$([ -t 0 ] || echo --approve auto)

test: needs check vulnerabilities race ## install what is needed, then check and test everything
	@mkdir -p .tools && go build -o .tools/withpg ./internal/testpg/withpg
	PURSER_REQUIRE=postgres,dig,curl,chromium,judges PURSER_POSTGRES_BIN="$$(tools/needs.sh postgres-bin)" .tools/withpg go test -timeout 40m ./...

needs: ## install the programs that tests need (Debian packages), if missing
	@tools/needs.sh

check: format vet lint generated build ## everything quick that is not a test

format: .tools/gofumpt
	@files=$$(.tools/gofumpt -l .); \
	if [ -n "$$files" ]; then echo "run .tools/gofumpt -w on:"; echo "$$files"; exit 1; fi

vet:
	go vet ./...

lint: .tools/staticcheck ## run staticcheck
	.tools/staticcheck ./...

generated: .tools/sqlc .tools/templ
	@.tools/templ generate -check -log-level error -path internal/console || { echo "internal/console: run make generate and commit the result"; exit 1; }
	@for file in $(sqlc); do \
		.tools/sqlc diff -f $$file || { echo "$$file: run make generate and commit the result"; exit 1; }; done

vulnerabilities: .tools/govulncheck ## look for known vulnerabilities
	@tools/vulnerabilities.sh

race: needs ## run the tests of the concurrent packages under the race detector, without the longest
	@mkdir -p .tools && go build -o .tools/withpg ./internal/testpg/withpg
	PURSER_REQUIRE=postgres PURSER_POSTGRES_BIN="$$(tools/needs.sh postgres-bin)" CGO_ENABLED=1 \
		.tools/withpg go test -race -short -timeout 40m $(race)

soak: needs ## kill, pause, stop and cut at length what make test does in short
	@mkdir -p .tools && go build -o .tools/withpg ./internal/testpg/withpg
	PURSER_TEST_SOAK=1 PURSER_REQUIRE=postgres PURSER_POSTGRES_BIN="$$(tools/needs.sh postgres-bin)" \
		.tools/withpg go test -count 1 -timeout 6h -v ./test -run 'UnderLoad|TwoReplicas|NoCycle|NoLink|StopWithout|PowerCut|FullDisk|ClockThat'
	PURSER_TEST_SOAK=1 PURSER_REQUIRE=postgres PURSER_POSTGRES_BIN="$$(tools/needs.sh postgres-bin)" \
		.tools/withpg go test -count 1 -timeout 6h -v ./internal/spend ./internal/office -run 'Laws|Law$$|EverySequence|MoreNever|EachCondition|Linearizable|NumbersAre|ManyCallersOfMany'

bench: needs build ## measure what docs/performance.md says: bin/bench/spend.md and .json, selling, the console
	PURSER_POSTGRES_BIN="$$(tools/needs.sh postgres-bin)" bin/purser bench table --out bin/bench
	go test -run '^$$' -bench 'SignAndVerify|Create' -benchtime 1s ./app ./examples/notes
	PURSER_REQUIRE=chromium go test -run '^$$' -bench 'Pages|FirstPage|Live|Consoles' ./internal/console

benchmarks: ## run the benchmarks of single packages
	go test -run '^$$' -bench . -benchmem ./...

pictures: needs ## make the pictures of docs/images again, and nothing else
	@mkdir -p docs/images
	go test -tags pictures -count=1 ./internal/console -run TestPicturesOfTheREADME

generate: .tools/sqlc .tools/templ ## write again what is generated and committed
	@for file in $(sqlc); do .tools/sqlc generate -f $$file || exit 1; done
	.tools/templ generate -log-level error -path internal/console
	go test ./internal/config -run Example -update
	go test . -run ErrorsInTheDocuments -update

clean: ## remove what was built here
	rm -rf bin .tools coverage.out

# One build for all four: they share most of their packages.
$(tools) &: tools/go.mod tools/go.sum
	CGO_ENABLED=0 go build -C tools -o ../.tools/ \
		mvdan.cc/gofumpt honnef.co/go/tools/cmd/staticcheck golang.org/x/vuln/cmd/govulncheck github.com/sqlc-dev/sqlc/cmd/sqlc \
		github.com/a-h/templ/cmd/templ
	@touch $(tools)
