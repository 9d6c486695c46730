# Everything a person types here. `make` alone lists it.
#
# `make run` and `make test` are the whole set-up: each installs what it needs and lacks (see
# scripts/setup), so that nothing has to be installed by hand first except a Rust toolchain and make.

.DEFAULT_GOAL := help
.PHONY: help build run test lint bench clean

# Passed on to the program: make run ARGS="--shards 2", make bench ARGS="--json".
ARGS ?=

help: ## show this list
	@echo "usage: make TARGET [ARGS=\"...\"]"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile | while IFS="$$(printf '\t')" read -r name what; do \
		printf '  %-8s %s\n' "$$name" "$$what"; done

build: ## build the release binary, target/release/pointsman
	@scripts/setup build
	cargo build --release --bin pointsman

run: ## build and run the embedded default (three shards and the proxy); ARGS="--shards 2" passes flags on
	@scripts/setup build
	@cargo run --release --bin pointsman -- $(ARGS)

test: ## check the format, lint, build and run every test; ends with "N passed, N failed"
	@scripts/setup test
	@integration/run

lint: ## format check and clippy only
	@scripts/setup build
	cargo fmt --all --check
	cargo clippy --profile quick --workspace --all-targets -- -D warnings

bench: ## measure Pointsman beside its peers; ARGS are those of `bench compare`
	@scripts/setup build
	cargo build --release --workspace --bins
	cargo run --release -p pointsman-bench -- compare $(ARGS)

clean: ## remove what was built and what the tests installed here
	cargo clean
	rm -rf .venv .tools integration/node/node_modules
