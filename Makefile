# What developers type. `make` alone lists it.
CARGO ?= cargo
DENY = $(CARGO) deny --locked --config .github/deny.toml

.PHONY: help test lint demo crds docs deny e2e

help:
	@sed -n 's/^\([a-z0-9]*\):.*## /\1\t/p' Makefile

test: ## all tests
	$(CARGO) test --locked

lint: deny ## format, clippy, documentation, dependencies; generated files are compared by tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	$(CARGO) test --locked --test docs --test crds

deny: ## licences, sources and advisories of dependencies, where cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(DENY) check --hide-inclusion-graph bans licenses sources && \
	  if $(DENY) fetch db; then $(DENY) check --disable-fetch advisories; \
	  else echo 'the advisory database cannot be reached: advisories not checked'; fi; \
	else \
	  echo 'cargo-deny is not installed: dependencies not checked (cargo install cargo-deny --locked)'; \
	fi

demo: ## the controller at work, without a cluster; KEEP=1 leaves it up to play with
	$(CARGO) build --locked --bin tegata --example demo
	@$(CARGO) run --locked --quiet --example demo

e2e: ## everything on real parts, which it gets first: minutes once; ONLY=kinds picks, KEEP=1 keeps files
	tests/e2e/parts.sh
	$(CARGO) test --locked --test e2e -- $(ONLY)

crds: ## write manifests/crds.yaml anew
	@mkdir -p manifests
	$(CARGO) run --locked --quiet -- crds > manifests/crds.yaml.new
	mv manifests/crds.yaml.new manifests/crds.yaml

docs: ## write .github/REASONS.md anew
	TEGATA_UPDATE_DOCS=1 $(CARGO) test --locked --test docs table_of_reasons
