# The two commands that a newcomer needs: make run, make test.

CARGO ?= cargo
BIN    = target/release/marigraph
ARGS  ?=

.PHONY: run cluster test verify fix bench bench-build bench-peers bench-long setup help

help:                 ## This list.
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/' | sort

run: setup            ## Builds the server and starts it on ./data, PostgreSQL wire on 127.0.0.1:5433.
	@test -x $(BIN) || echo "The first build compiles DataFusion and RocksDB: some tens of minutes on two cores; the next one is quick."
	@$(CARGO) build --release -p server
	@exec $(BIN) serve $(ARGS)

cluster: setup        ## Builds the server and starts three dnodes of one cluster on this machine, in ./data-cluster.
	@$(CARGO) build --release -p server
	@exec scripts/cluster $(ARGS)

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

bench: bench-build    ## Measures ingest and queries next to PostgreSQL 15 in the same run; ARGS="MODE …", see benches/README.md.
	target/release/bench $(ARGS)

bench-build:
	@scripts/setup test
	@# One after the other: together they would select other features, and DataFusion would be built again.
	$(CARGO) build --release -p server
	$(CARGO) build --release -p benches

RESULTS = benches/results/$(shell date +%F).md

bench-peers: bench-build ## The same next to DuckDB, ClickHouse, VictoriaMetrics and InfluxDB, all answers compared; writes benches/results.
	target/venv/bin/python3 -m pip install --quiet --disable-pip-version-check duckdb chdb numpy
	@scripts/bench-peers
	target/release/bench suite --embedded --debian --report $(RESULTS) $(ARGS)
	target/release/bench suite --shape iot --hosts 1000 --hours 6 --form csv,binary --debian --report $(RESULTS)
	target/release/bench answers --embedded --hours 6 --instances 3 --report $(RESULTS)
	target/release/bench answers --shape iot --hours 6 --instances 3 --report $(RESULTS)

bench-long: bench-build ## Every other mode at its full size, some hours; appends to benches/results.
	target/release/bench ingest --hours 2 --report $(RESULTS)
	target/release/bench disorder --hours 3 --form binary --report $(RESULTS)
	target/release/bench cardinality --form binary --report $(RESULTS)
	target/release/bench recovery --hours 6 --form csv,binary --report $(RESULTS)
	target/release/bench flat --form binary --report $(RESULTS)
	target/release/bench size --hours 3 --form binary --report $(RESULTS)
	target/release/bench suite --hours 12 --form binary --no-peer --embedded --report $(RESULTS)
	target/release/bench suite --shape devops --hosts 400 --report $(RESULTS)
	target/release/bench suite --shape meters --hosts 10000 --report $(RESULTS)

setup:
	@scripts/setup
