# Nebula. `make help` lists the targets; `make up` and `make test` do all of their own set-up on a Debian
# machine that has Go and make.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X github.com/nebula-serve/nebula/internal/cli.version=$(VERSION)
LINT     = go tool -modfile=tools/go.mod golangci-lint

# Real processes share the machine with each other in some tests, so few packages run at once.
TESTFLAGS ?= -shuffle=on -p 2 -timeout 15m
PKG       ?= ./...
# The race detector waits a whole second at the end of every process, for reports of other threads; scripts start hundreds.
export GORACE ?= atexit_sleep_ms=20

# The real engine that tests run; set NEBULA_LLAMA_SERVER to use one of your own.
with_engine = engine="$${NEBULA_LLAMA_SERVER:-$$(scripts/llama-server.sh)}" && NEBULA_LLAMA_SERVER="$$engine"
# The official client of the Hugging Face Hub, which some tests compare with. Where it cannot be had they are skipped, and say so.
with_client = NEBULA_HF_PYTHON="$$(scripts/huggingface-hub.sh || true)"
# Only root can make hosts, and only for root are their tools installed: without them the rows are skipped, and say so.
with_hosts = if [[ $$(id -u) -eq 0 ]]; then scripts/setup.sh iproute2 nftables; fi;

# Where the logs of rows that fail are kept.
faultlogs = -artifacts -outputdir $$(mkdir -p .cache/faults && realpath .cache/faults)

.PHONY: build web man up test test-race test-chaos test-chaos-full test-web test-console screenshots test-short fuzz-api lint fmt check bench bench-api bench-fleet bench-files bench-console cover clean engine setup help

build: web ## build bin/nebula, one static binary (default); WEB=0 leaves the web console out
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags '$(LDFLAGS)' -o bin/nebula ./cmd/nebula

web: ## build the web console, which the binary holds, where its sources have changed
	@WEB="$(WEB)" scripts/web.sh

man: build ## write the manual pages to bin/man1
	bin/nebula man bin/man1

up: ## build, get an engine, start Nebula with a demo model, chat with it; Ctrl-C ends it
	@scripts/setup.sh ca-certificates
	@$(MAKE) build
	@exec scripts/up.sh

test: test-race ## every test there is: unit, property, scripts, real etcd, real engine, race detector, the console in a browser
	@if [[ "$(PKG)" == ./... ]]; then $(MAKE) test-web test-console; fi

test-web: ## the console's formatting, lint, types and tests
	@exec scripts/web.sh test

test-console: ## journeys through the console of a real Nebula with a real engine, in a real browser
	@$(with_engine) scripts/web.sh journeys

test-race: setup ## the same without the console
	@$(with_engine) $(with_client) CGO_ENABLED=1 scripts/test.sh -race $(TESTFLAGS) $(PKG)
	@if [[ "$(PKG)" == ./... ]]; then cd test/oidc && CGO_ENABLED=1 ../../scripts/test.sh -race -timeout 15m ./...; fi # a module of its own

test-chaos: ## break real servers, nodes and engines, in at most 5 minutes; hosts are network namespaces, which need root
	@$(with_hosts) $(with_engine) go test -v -short -tags chaos -count=1 -timeout 10m $(faultlogs) ./test/netns ./test/chaos

test-chaos-full: ## the same with every row and every length
	@$(with_hosts) $(with_engine) go test -v -tags chaos -count=1 -timeout 60m $(faultlogs) ./test/netns ./test/chaos

screenshots: ## every page of the console in both languages and both schemes, into docs/screenshots
	@$(with_engine) NEBULA_SHOTS=../docs/screenshots scripts/web.sh journeys pages

test-short: ## the quick tests only: no real etcd, no real engine, no race detector
	go test -short $(TESTFLAGS) $(PKG)

fuzz-api: ## send the API what its OpenAPI document allows, and what nobody should send; FUZZ_SECONDS long (300), from FUZZ_SEED on
	FUZZ_SECONDS=$${FUZZ_SECONDS:-300} FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} go test -v -count=1 -timeout 0 -run 'TestFuzz_' ./internal/httpapi | grep -v '^=== '

lint: ## run golangci-lint, which checks the formatting too (its first build takes minutes)
	$(LINT) run

fmt: ## format all Go code
	$(LINT) fmt

check: ## what CI runs: vet, lint and every test
	go vet -tags chaos ./...
	@$(MAKE) lint
	@$(MAKE) test

bench: ## measure; prints one "bench: NAME = VALUE UNIT (target ...) ok|short" line per figure
	@if [[ -x scripts/bench.sh ]]; then exec scripts/bench.sh; else $(MAKE) bench-go; fi

bench-api: ## the same for the API alone: lists and watches of 10,000 models
	@exec scripts/bench.sh -only api

bench-fleet: ## the same for a fleet: 1,000 hollow nodes, then faults on real servers, nodes and gateways; some need root
	@$(with_hosts) exec scripts/bench-fleet.sh

bench-files: ## the same for model files: downloads beside curl and aria2, kills, flipped bits, scans
	@$(with_hosts) exec scripts/bench-files.sh

bench-console: ## the same for the web console: first load, 10,000 models, changes, open tabs, accessibility
	@$(with_engine) scripts/web.sh bench

.PHONY: bench-go
bench-go: ## the Go benchmarks alone
	go test -run '^$$' -bench . -benchmem $(PKG)

cover: setup ## how much of each package its tests reach
	@mkdir -p .cache
	@$(with_engine) go test $(TESTFLAGS) -coverprofile=.cache/cover.out $(PKG)
	@go tool cover -func=.cache/cover.out | tail -n 1

clean: ## remove what was built here (caches of Go and of the engine stay)
	rm -rf bin dist .cache web/dist/console web/node_modules

engine: ## get a real llama-server and print where it is
	@scripts/llama-server.sh

setup: ## install what the tests need and this machine lacks
	@scripts/setup.sh

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
