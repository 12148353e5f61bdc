# The two commands that a newcomer needs: make run, make test.

CARGO ?= cargo
BIN    = target/release/marigraph
ARGS  ?=

.PHONY: run test verify fix bench bench-peers setup help

help:                 ## This list.
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/' | sort

run: setup            ## Builds the server and starts it on ./data, PostgreSQL wire on 127.0.0.1:5433.
	@test -x $(BIN) || echo "The first build compiles DataFusion and RocksDB: some tens of minutes on two cores; the next one is quick."
	@$(CARGO) build --release -p server
	@exec $(BIN) serve $(ARGS)

test:                 ## Sets up, builds the server with failpoints and passes every test.
	@scripts/setup test
	$(CARGO) test --workspace --features server/failpoints

verify: setup         ## What CI runs: formatting, clippy with warnings as errors, every test.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --features server/failpoints -- -D warnings
	$(MAKE) test

fix:                  ## Formats, and applies what clippy can fix.
	$(CARGO) fmt --all
	$(CARGO) clippy --workspace --all-targets --features server/failpoints --fix --allow-dirty --allow-staged

bench:                ## Measures ingest and scans next to PostgreSQL 15 in the same run; ARGS="--hours 12".
	@scripts/setup test
	@# One after the other: together they would select other features, and DataFusion would be built again.
	$(CARGO) build --release -p server
	$(CARGO) build --release -p benches
	target/release/bench $(ARGS)

bench-peers:          ## The same queries on DuckDB and ClickHouse too, from PyPI, one thread each.
	@scripts/setup test
	target/venv/bin/python3 -m pip install --quiet --disable-pip-version-check duckdb chdb numpy
	$(MAKE) bench ARGS="--embedded $(ARGS)"

setup:
	@scripts/setup
