# A machine needs Go, make, git, curl and a C compiler (for the race detector).

.DEFAULT_GOAL := help
.PHONY: help controlplane test check fmt vet lint actionlint tidy imports cross vulncheck demo demo-kubeconfig recording demo-standalone fleet bench bench-bus fuzz simulate

MODULES  := $(filter-out cmd/,$(dir $(shell git ls-files --cached --others --exclude-standard '*go.mod')))
# Modules with Go files of their own that are not in go.work. Those below hack only pin versions.
NESTED   := $(filter-out ./ hack/%,$(MODULES))
COUNT    ?= 1
CASE     ?= # all
FUZZTIME ?= 20s
SEEDS    ?= 2000000
FIRST    ?= 1

# $(call in-nested,COMMAND) runs COMMAND in each of these modules.
in-nested = @for m in $(NESTED); do (set -x; cd $$m && GOWORK=off $(1)) || exit 1; done

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

controlplane: ## build etcd, Kubernetes and kwok into the user's cache: about 10 minutes, once
	go run ./internal/controlplane/build

test: export PLATFORM_REQUIRE_CLUSTER = 1
test: controlplane ## run all tests, against a real control plane, with the race detector
	$(call in-nested,go test -timeout 30m ./...)
	go test -race -timeout 30m ./cmd/... ./... # the longest first

check: fmt vet lint actionlint tidy imports cross ## all that can be checked without running the code

fmt:
	@files=$$(git ls-files --cached --others --exclude-standard '*.go' | xargs gofmt -l) && \
		test -z "$$files" || { echo "not formatted, run gofmt -w on:" $$files; exit 1; }

vet:
	go vet ./... ./cmd/...
	$(call in-nested,go vet ./...)

lint: bin/golangci-lint
	bin/golangci-lint run ./... ./cmd/...
	$(call in-nested,$(CURDIR)/bin/golangci-lint run ./...)

# shellcheck and pyflakes would run only where they are installed, so that results would differ.
actionlint: bin/actionlint
	bin/actionlint -shellcheck= -pyflakes=

tidy:
	@for m in $(MODULES); do (set -x; cd $$m && GOWORK=off go mod tidy -diff) || exit 1; done
	hack/tidy-cmd -diff

imports:
	go test -run '^Test(ImportsPointOneWay|CheckImport)$$' .

PLATFORMS := linux/386 linux/arm64 darwin/arm64 windows/amd64

cross: ## compile for other systems and architectures
	@for p in $(PLATFORMS); do (set -x; CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/} go build ./... ./cmd/...) || exit 1; done

# The modules below hack have no packages of their own: the programs that they pin are scanned.
vulncheck: bin/govulncheck controlplane ## look for known vulnerabilities in what the code calls: needs a network
	bin/govulncheck -test ./... ./cmd/...
	$(call in-nested,$(CURDIR)/bin/govulncheck -test ./...)
	@for p in bin/golangci-lint bin/actionlint bin/govulncheck bin/benchstat $$(go run ./internal/controlplane/build -print)/*; do (set -x; bin/govulncheck -mode binary $$p) || exit 1; done

demo: demo-kubeconfig controlplane ## run daemons and a service, as processes, on two real control planes
	go build -o bin/demo/ ./examples/demo ./cmd/platform
	@bin/demo/demo

# A wrong path is reported before the control plane is built, which takes minutes.
demo-kubeconfig:
	@test -z "$$DEMO_KUBECONFIG" || test -r "$$DEMO_KUBECONFIG" || { echo "DEMO_KUBECONFIG=$$DEMO_KUBECONFIG: cannot be read" >&2; exit 1; }

recording: controlplane ## record the demo into docs/demo.svg
	go build -o bin/demo/ ./examples/demo ./cmd/platform
	bin/demo/demo | go run ./hack/record >docs/demo.svg

demo-standalone: controlplane ## tell the same story within one process
	go build -o bin/demo/ ./examples/demo
	@bin/demo/demo -standalone

fleet: controlplane ## run three daemons and a service on real control planes, to try things, until Ctrl-C
	go build -o bin/fleet/ ./examples/fleet ./cmd/platform
	@bin/fleet/fleet

bench: controlplane ## measure against the alternatives, and put the tables into docs/benchmarks.md; CASE=sync measures one case anew
	cd bench && GOWORK=off go run . -out results.json -case "$(CASE)"
	cd bench && GOWORK=off go run . -out results.json -page ../docs/benchmarks.md

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
bin/golangci-lint bin/actionlint bin/govulncheck bin/benchstat: hack/tools/go.mod hack/tools/go.sum
	GOWORK=off go build -C hack/tools -o $(CURDIR)/bin/ tool
	@touch $@
