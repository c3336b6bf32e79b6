# make run, make demo and make test do all their own set-up: they need Python 3.11 or newer
# with venv, git and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
UV := $(or $(shell command -v uv 2>/dev/null),$(TOOLS)/uv/bin/uv)
UV_PIP = UV_LINK_MODE=copy $(UV) pip install --quiet --python $(BIN)/python
LOCK = $(UV) pip compile --quiet --generate-hashes --no-header --no-emit-index-url \
	--no-emit-find-links --no-annotate --universal --python-version 3.11 --upgrade

.PHONY: install install-dev real-parts regtest-tools run demo test test-regtest model simulate \
	chaos mutants proofs fuzz bench lint check format lock clean

install: $(VENV)/.run-installed

run: install
	$(BIN)/nwc-service serve --welcome

# On two real LND nodes with BACKEND=lnd.
demo: install-dev $(if $(filter lnd,$(BACKEND)),regtest-tools)
	$(BIN)/python -m tests.clients.install
	$(BIN)/python -m tests.demo $(if $(BACKEND),--backend $(BACKEND))

# On all cores; `make test WORKERS=1` runs one test at a time.
test: real-parts
	$(BIN)/python -m pytest -n $(or $(WORKERS),auto) $(PYTEST)

# What is proved beside the tests; the README tells what each of them is.
proofs: model simulate chaos mutants

model: install-dev
	$(BIN)/python -m tests.model

# A failing seed is named; SEED=n plays that one again and tells all of it.
simulate: install-dev
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),2000))

# A failing episode is named by its seed, and leaves its directory.
chaos: install-dev
	$(BIN)/python -m tests.chaos --kills $(or $(KILLS),300) $(if $(SEED),--seed $(SEED)) $(CHAOS)

# Each bug that is sown must be seen; MUTANTS="-v --only 004" shows how one is.
mutants: install-dev
	$(BIN)/python -m tests.mutants $(MUTANTS)

# What is found is kept for the corpus and named; FUZZ="--only nip44" fuzzes one parser.
fuzz: install-dev
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(FUZZ)

# Ratios within one run; only they can be compared between machines.
bench: install-dev
	$(BIN)/python -m tests.fuzz.speed

lint: install-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

check: lint test

install-dev: $(VENV)/.dev-installed

# A real Lightning network for the tests: lnd and btcd, built by Go from their modules.
regtest-tools: install-dev
	$(BIN)/python -m tests.regtest.build

test-regtest: regtest-tools
	$(BIN)/python -m pytest tests/regtest tests/backends -k "regtest or lnd" $(PYTEST)

# What the tests use beside the service: other people's clients, a relay on khatru, a real LNbits.
real-parts: install-dev
	$(BIN)/python -m tests.clients.install
	$(BIN)/python -m tests.relays.build
	PATH="$(abspath $(TOOLS))/uv/bin:$$PATH" $(BIN)/python -m tests.backends.lnbits_server install

format: install-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: $(UV)
	$(LOCK) requirements/uv.in -o requirements/uv.txt
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) pyproject.toml -o requirements/run.txt
	$(LOCK) pyproject.toml --group dev -o requirements/dev.txt
	$(UV) pip compile --quiet --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
		--no-annotate --python-version 3.11 requirements/lnbits.in -o requirements/lnbits.txt

clean:
	rm -rf $(VENV) $(TOOLS) tests/clients/js/node_modules

$(TOOLS)/uv/bin/uv: requirements/uv.txt
	$(PYTHON) -m venv $(TOOLS)/uv
	$(TOOLS)/uv/bin/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	touch $@

$(BIN)/python: | $(UV)
	$(UV) venv --quiet --python $(PYTHON) $(VENV)

# The project itself is installed editable, with the locked hatchling and no build isolation.
$(VENV)/.run-installed: pyproject.toml requirements/run.txt requirements/build.txt | $(BIN)/python
	$(UV_PIP) --require-hashes -r requirements/build.txt -r requirements/run.txt
	$(UV_PIP) --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev-installed: requirements/dev.txt $(VENV)/.run-installed
	$(UV_PIP) --require-hashes -r requirements/dev.txt
	touch $@
