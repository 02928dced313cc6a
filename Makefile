# What developers type. `make` alone lists it.
CARGO ?= cargo

.PHONY: help test lint demo crds docs deny

help:
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

test: ## all tests
	$(CARGO) test --locked

lint: deny ## format, clippy, documentation, dependencies; generated files are compared by tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	$(CARGO) test --locked --test docs --test crds

deny: ## licences, advisories and sources of dependencies, where cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
	  $(CARGO) deny --locked check --config .github/deny.toml; \
	else \
	  echo 'cargo-deny is not installed: dependencies not checked (cargo install cargo-deny --locked)'; \
	fi

demo: ## the controller at work, without a cluster
	$(CARGO) run --locked --example demo

crds: ## write manifests/crds.yaml anew
	@mkdir -p manifests
	$(CARGO) run --locked --quiet -- crds > manifests/crds.yaml.new
	mv manifests/crds.yaml.new manifests/crds.yaml

docs: ## write .github/REASONS.md anew
	TEGATA_UPDATE_DOCS=1 $(CARGO) test --locked --test docs table_of_reasons
