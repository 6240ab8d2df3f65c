# `make` lists the targets. All that is needed is Python 3.11 or newer with pip, and make:
# .ci/environment builds .venv from the lock files when they, or the Python, have changed.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint unit untraced integration coverage wheel conformance bench stress simulate mutants protos lock dev clean distclean

export PYTHON ?= python3
unexport PYTHONDONTWRITEBYTECODE # each of the many processes would compile all anew
BIN := .venv/bin
TRACED = $(BIN)/coverage run --data-file=build/coverage.$@ -m pytest --junit-xml=build/$@.xml
UNTRACED := concurrency simulation stress # tracing would double their time
# What each part says stands together, when it has ended. A make that cannot do that runs one at a time.
TOGETHER := $(if $(filter output-sync,$(.FEATURES)),--jobs=$(or $(JOBS),2) --output-sync=target)
STARTED := $(shell date +%s)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: ## See the main job at work (ARGS="--platform python" does without TensorFlow)
	@.ci/environment demo
	@if [ -z "$(ARGS)" ] && ! $(BIN)/python -c 'import importlib.util as u; assert u.find_spec("tensorflow")' 2>/dev/null; then \
	    echo "TensorFlow has no wheel for $$($(BIN)/python -V): the demo runs on models in plain Python."; \
	    exec $(BIN)/servman demo --platform python; \
	fi; \
	exec $(BIN)/servman demo $(ARGS)

test: ## Run all that CI runs, two parts at a time (JOBS=1: one, seen as it goes)
	@$(MAKE) --no-print-directory $(TOGETHER) lint unit integration untraced wheel
	@$(MAKE) --no-print-directory coverage
	@$(BIN)/python .ci/closing_line.py $(STARTED) build/unit.xml build/integration.xml build/untraced.xml build/wheel.xml

lint: dev ## Check format, style, types and the import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: dev ## Run the fast tests
	@mkdir -p build
	$(TRACED) tests $(UNTRACED:%=--ignore=tests/%) --ignore=tests/integration

integration: dev ## Run the tests on real time, files and threads
	@mkdir -p build
	$(TRACED) tests/integration

untraced: dev ## Run the forced interleavings, the simulation and the stress, without coverage
	$(BIN)/python -m pytest $(UNTRACED:%=tests/%) --junit-xml=build/untraced.xml

coverage: dev ## Report the branch coverage of the last `make unit` and `make integration`
	@$(BIN)/coverage combine --quiet --keep build/coverage.*
	$(BIN)/coverage report

wheel: dev ## Build the wheel and run tests/api against it in an environment of its own
	@rm -rf build/wheel build/installed
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
	@$(BIN)/python -m venv --without-pip build/installed
	@$(BIN)/python -m pip --python build/installed/bin/python install --quiet --require-hashes -r requirements/runtime.txt
	@$(BIN)/python -m pip --python build/installed/bin/python install --quiet --no-deps build/wheel/*.whl
	build/installed/bin/python -P -c 'import servman' # with the dependencies that the wheel names, and no more
	@# The tools come from .venv; its .pth files, and so the editable servman, do not count on PYTHONPATH.
	SERVMAN_UNDER_TEST=build/installed PYTHONPATH="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	    build/installed/bin/python -P -m pytest tests/api --junit-xml=build/wheel.xml

conformance: dev ## Sum up how servman stands to TensorFlow Serving's own tests
	$(BIN)/python -m tests.conformance.report

bench: dev ## Measure the figures of docs/benchmarks.md
	$(BIN)/python -m tests.bench

stress: dev ## Run a manager under fire, soak a whole core, kill workers (SECONDS=60 of each, SEED=n)
	$(BIN)/python -m tests.stress seeded --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.stress soak --seconds $(or $(SECONDS),60)
	$(BIN)/python -m tests.stress killings --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.stress cycles

simulate: dev ## Run managers and cores through random histories (SEEDS=1000 FIRST=0)
	@$(BIN)/python -m tests.simulation seeds --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0)

mutants: dev ## Count the seeds that the simulation needs to find planted faults
	@$(BIN)/python -m tests.simulation faults

protos: dev ## Compile the messages after a change to servman/protos/*.proto
	$(BIN)/python -m grpc_tools.protoc -I servman/protos --include_imports \
	    --descriptor_set_out=servman/protos/descriptors.binpb servman/protos/*.proto

lock: ## Renew the lock files, with uv on the PATH (LOCK_FLAGS=--upgrade takes new versions)
	requirements/lock $(LOCK_FLAGS)

dev: ## Create or renew .venv (PYTHON=python3.12 chooses the Python)
	@.ci/environment dev

clean: ## Remove what was built, measured and cached
	rm -rf build dist .coverage .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find servman tests examples -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove .venv, too
	rm -rf .venv
