# What developers type. `make` alone lists it.
CARGO ?= cargo
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
IMAGE ?= localhost/tegata:$(VERSION)
# What builds the image: docker where its daemon answers, else podman or buildah.
BUILDER ?= $(shell docker info >/dev/null 2>&1 && echo docker || command -v podman || echo buildah)
CA_CERTIFICATES ?= /etc/ssl/certs/ca-certificates.crt
# The target is named although it is the host's own: build scripts are then linked as usual.
TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')
TARGET_DIR = $(or $(CARGO_TARGET_DIR),target)
DENY = $(CARGO) deny --locked --config .github/deny.toml

.PHONY: help test lint demo crds chart image docs deny e2e bench

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

# Where tests/e2e/parts.sh keeps what it gets.
PARTS = $(or $(TEGATA_E2E_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/tegata-e2e)/bin
e2e: ## everything on real parts, which it gets first: minutes once; ONLY=kinds picks, KEEP=1 keeps files
	tests/e2e/parts.sh
	$(if $(ONLY),,HELM=$(or $(HELM),$(PARTS)/helm) \
	  KUBERNETES_VALIDATE=$(or $(KUBERNETES_VALIDATE),$(PARTS)/kubernetes-validate) \
	  $(CARGO) test --locked --test chart)
	$(CARGO) test --locked --test e2e -- $(ONLY)

# TEGATA_BIN measures another program, for example the one that is shipped; BURST_SECONDS says how long
# each burst may go on.
bench: ## what it costs and what it stands: a quarter of an hour; ONLY="a c" picks parts
	$(CARGO) test --locked --profile measured --test bench -- $(ONLY)

crds: ## write manifests/crds.yaml anew
	@mkdir -p manifests
	$(CARGO) run --locked --quiet -- crds > manifests/crds.yaml.new
	mv manifests/crds.yaml.new manifests/crds.yaml

chart: ## write manifests/install.yaml and the chart's definitions anew, and test the chart
	TEGATA_BLESS=1 $(CARGO) test --locked --test chart

image: ## the container image; IMAGE=registry.example/tegata:tag names it
	RUSTFLAGS='-C target-feature=+crt-static' \
	  $(CARGO) build --locked --release --bin tegata --target $(TARGET)
	@if readelf -d $(TARGET_DIR)/$(TARGET)/release/tegata | grep NEEDED; then \
	  echo 'the program needs these libraries, which the image does not have'; exit 1; fi
	@mkdir -p $(TARGET_DIR)/image
	cp $(TARGET_DIR)/$(TARGET)/release/tegata $(CA_CERTIFICATES) LICENSE $(TARGET_DIR)/image/
	$(BUILDER) build --file Dockerfile --tag $(IMAGE) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$(shell git rev-parse HEAD 2>/dev/null) $(TARGET_DIR)/image

docs: ## write .github/REASONS.md anew
	TEGATA_UPDATE_DOCS=1 $(CARGO) test --locked --test docs table_of_reasons
