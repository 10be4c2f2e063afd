# A machine needs Go, make, git and a C compiler (for the race detector).

.DEFAULT_GOAL := help
.PHONY: help controlplane test check fmt vet lint tidy imports demo demo-standalone fleet bench bench-bus fuzz simulate

MODULES  := $(filter-out cmd/,$(dir $(shell git ls-files --cached --others --exclude-standard '*go.mod')))
NESTED   := bench examples/transports # modules with tests of their own, which know no go.work
COUNT    ?= 1
CASE     ?= # all
FUZZTIME ?= 20s
SEEDS    ?= 2000000
FIRST    ?= 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

controlplane: ## build etcd, Kubernetes and kwok into the user's cache: about 10 minutes, once
	go run ./internal/controlplane/build

test: export PLATFORM_REQUIRE_CLUSTER = 1
test: controlplane ## run all tests, against a real control plane, with the race detector
	@for m in $(NESTED); do (set -x; cd $$m && export GOWORK=off && go vet ./... && go test -timeout 30m ./...) || exit 1; done
	go test -race -timeout 30m ./... ./cmd/...

check: fmt vet lint tidy imports ## all that can be checked without running the code

fmt:
	@files=$$(git ls-files --cached --others --exclude-standard '*.go' | xargs gofmt -l) && \
		test -z "$$files" || { echo "not formatted, run gofmt -w on:" $$files; exit 1; }

vet:
	go vet ./... ./cmd/...

lint: bin/golangci-lint
	bin/golangci-lint run ./... ./cmd/...

tidy:
	@for m in $(MODULES); do (set -x; cd $$m && GOWORK=off go mod tidy -diff) || exit 1; done
	hack/tidy-cmd -diff

imports:
	go test -run '^Test(ImportsPointOneWay|CheckImport)$$' .

demo: controlplane ## run daemons and a service, as processes, on two real control planes
	go build -o bin/demo/ ./examples/demo ./cmd/platform
	@bin/demo/demo

demo-standalone: controlplane ## tell the same story within one process
	go build -o bin/demo/ ./examples/demo
	@bin/demo/demo -standalone

fleet: controlplane ## run three daemons and a service on real control planes, to try things, until Ctrl-C
	go build -o bin/fleet/ ./examples/fleet ./cmd/platform
	@bin/fleet/fleet

bench: controlplane ## measure against the alternatives, and put the tables into README.md; CASE=sync measures one case anew
	cd bench && GOWORK=off go run . -out results.json -case "$(CASE)"
	cd bench && GOWORK=off go run . -out results.json -readme ../README.md

bench-bus: ## benchmark the bus; COUNT=10 gives what bin/benchstat wants
	go test -run '^$$' -bench . -count $(COUNT) .

fuzz: ## fuzz each target for FUZZTIME
	@git grep --untracked '^func Fuzz' -- '*_test.go' | \
		sed 's|^|./|; s|^\(.*\)/[^/]*:func \(Fuzz[A-Za-z0-9_]*\).*|\1 \2|' | \
		while read -r pkg target; do \
			(set -x; go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg </dev/null) || exit 1; \
		done

simulate: ## run SEEDS seeds of the bus's protocol from FIRST on, each a virtual world: hours
	go test ./natsbus/internal/simulate -run '^TestSeeds$$' -v -timeout 0 -seeds $(SEEDS) -first $(FIRST)

# hack/tools pins the versions.
bin/golangci-lint bin/benchstat: hack/tools/go.mod hack/tools/go.sum
	GOWORK=off go build -C hack/tools -o $(CURDIR)/bin/ tool
	@touch $@
