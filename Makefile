# Every target sets up what it needs on a fresh Debian 12; `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Set-up, tests and benchmarks share one machine, one package database and one virtual environment: `make -j` runs them in order.
.NOTPARALLEL:

# Debian's own: python3-bpfcc, which `ambient trace` uses, is built for it alone.
SYSTEM_PYTHON := /usr/bin/python3
VENV := .venv
PYTHON := $(VENV)/bin/python

# System tests wait more than they compute: two at a time take half as long, even on two cores.
JOBS := 2

# What the mesh and the lab run with, clang with its headers for the capture programs, and curl for whoever follows README.md.
RUN_PACKAGES := python3-venv clang libbpf-dev libbpf1 iproute2 iptables nftables procps curl
# What tests and benchmarks compare with, measure with and look through.
TEST_PACKAGES := bpftool iperf3 nghttp2-client nghttp2-proxy nginx-light openssl python3-bpfcc tcpdump wrk
# What the image is made with; it needs neither an engine nor a registry.
IMAGE_PACKAGES := mmdebstrap binutils
# The oldest Kubernetes that has all that the chart uses; for an older one Helm leaves out what it does not know.
MANIFESTS_FOR := 1.32.0
# What a Kubernetes of namespaces consists of, besides what is built from source (tests/cluster/recipes); gcc makes the pause image.
CLUSTER_PACKAGES := busybox-static conntrack containerd containernetworking-plugins etcd-server gcc ipset libc6-dev runc
# bcc compiles where it runs; any Debian kernel's headers serve.
ifeq ($(wildcard /lib/modules/$(shell uname -r)/build),)
TEST_PACKAGES += linux-headers-cloud-$(shell dpkg --print-architecture)
endif

PROTOS := $(wildcard mesh/wire/*.proto)
PROGRAMS := $(wildcard ebpf/programs/*.bpf.c)
GENERATED := $(PROTOS:.proto=_pb2.py) $(PROGRAMS:ebpf/programs/%.bpf.c=ebpf/objects/%.bpf.o)
LOCKED := $(VENV)/.locked-$(firstword $(shell sha256sum requirements.lock))
INSTALLED := $(VENV)/.installed

.PHONY: help demo test test-unit test-system test-cluster test-oldest cluster lint format bench cni image manifests lock clean root run-packages test-packages image-packages cluster-packages cargo install

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: root install ## two nodes, one label: pods talk through mutual TLS, and the demo checks it
	@$(VENV)/bin/ambient demo

test: test-unit test-system ## all tests, about 7 minutes; JOBS=1 runs one system test at a time

test-unit: install cargo ## decisions, protocols, fuzzing
	$(PYTHON) -m pytest tests/unit tests/fuzz
	cd native && cargo test --quiet --locked

test-system: root test-packages install ## real namespaces, real capture, programs that are not ours
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile tests/netns tests/interop

test-cluster: root cluster-packages install ## a real Kubernetes of two nodes on this machine; builds it the first time
	$(PYTHON) -m pytest tests/cluster

test-oldest: root cluster-packages install ## the control plane on the oldest API server that it runs with; builds it the first time
	AMBIENT_API_SERVER=oldest $(PYTHON) -m pytest tests/cluster/api_server

cluster: root cluster-packages install ## such a Kubernetes, to try things in; tests/cluster/README.md
	$(PYTHON) -m tests.cluster up

lint: install cargo ## ruff, mypy, import-linter; rustfmt, clippy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	cd native && cargo fmt --check && cargo clippy --quiet --all-targets --locked -- -D warnings

format: install ## let ruff put the code into shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: root test-packages install ## no mesh, Envoy and ours side by side; ROWS=glob runs some rows
	$(PYTHON) -m bench $(if $(ROWS),--rows '$(ROWS)')

cni: cargo ## the CNI plugin, one static file: dist/ambient-cni
	cd native && cargo build --quiet --release --locked
	install -D --mode 0755 native/target/release/ambient-cni dist/ambient-cni

image: root image-packages install cni ## the container image as a file in dist/; ARGS=--refresh takes Debian's packages of today
	@$(PYTHON) -m daemonset.image $(ARGS)

manifests: install ## render the Helm chart into daemonset/manifests, for clusters without Helm
	@mkdir -p daemonset/manifests; helm=$$(command -v helm || $(PYTHON) -c 'from tests.cluster.programs import HELM, programs; print(programs(HELM) / "helm")'); \
	of="daemonset/chart of sha256 $$(find daemonset/chart -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-64)"; \
	for name in ambient uninstall; do \
		{ echo "# Rendered by make manifests from $$of"; \
		[ $$name != ambient ] || cat daemonset/chart/files/namespace.yaml; \
		"$$helm" template ambient daemonset/chart --namespace ambient-system --kube-version $(MANIFESTS_FOR) \
			$$([ $$name = ambient ] && echo --no-hooks || echo --show-only templates/uninstall.yaml); } >daemonset/manifests/$$name.yaml; \
	done

lock: run-packages ## resolve the dependencies of pyproject.toml anew into requirements.lock, and those of the image beside it
	@scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	$(SYSTEM_PYTHON) -m venv "$$scratch" && "$$scratch/bin/pip" install --quiet uv && \
	"$$scratch/bin/uv" pip compile --quiet --upgrade --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--group pyproject.toml:dev pyproject.toml -o requirements.lock && \
	"$$scratch/bin/uv" pip compile --quiet --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--constraints requirements.lock pyproject.toml -o requirements-runtime.lock

clean: ## remove what make made here; Debian packages stay
	rm -rf $(VENV) dist native/target bench/results ebpf/objects .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	rm -f mesh/wire/*_pb2*.py mesh/wire/*_pb2*.pyi mesh/wire/*_grpc.py
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

root:
	@$(if $(filter-out 0,$(shell id -u)),$(error network namespaces need root: run make as root))

# Debian 12 has an older one.
cargo:
	@command -v cargo >/dev/null || { echo "the CNI plugin is written in Rust: install Rust 1.85 or newer, with clippy and rustfmt (rustup.rs)" >&2; exit 1; }

run-packages:
	@.ci/debian-packages $(RUN_PACKAGES)

test-packages: run-packages
	@.ci/debian-packages $(TEST_PACKAGES)

image-packages: run-packages
	@.ci/debian-packages $(IMAGE_PACKAGES)

cluster-packages: run-packages
	@.ci/debian-packages $(CLUSTER_PACKAGES)

install: $(INSTALLED)

$(LOCKED): requirements.lock | run-packages
	[ -x $(PYTHON) ] || $(SYSTEM_PYTHON) -m venv $(VENV)
	$(PYTHON) -m pip install --quiet --no-deps --require-hashes --only-binary :all: -r requirements.lock
	rm -f $(VENV)/.locked-*
	touch $@

# One rule for both, because building the package generates.
$(INSTALLED) $(GENERATED) &: pyproject.toml hatch_build.py $(PROTOS) $(PROGRAMS) $(wildcard ebpf/programs/*.h) $(LOCKED)
	$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(INSTALLED)
