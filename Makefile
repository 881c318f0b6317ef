# Two commands for a newcomer: `make run` and `make test`. Both need python3 (3.11 or newer) and
# pip; uv is used when present. The second time neither needs a network.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
OUT ?= trivium-report
BIN := $(VENV)/bin
# Tests that run with shapes and types checked at every call; the others also pass wrong ones.
SHAPED := tests/conformance tests/property tests/parity
REST := src tests $(SHAPED:%=--ignore=%)
# Without a GPU the pin makes pip take the CPU build of torch.
PIN := $(shell command -v nvidia-smi >/dev/null 2>&1 || echo -c constraints/cpu.txt)

.PHONY: run test check docs release-check clean

run: $(VENV)/.installed
	$(BIN)/trivium audit --out $(OUT) --force

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SHAPED) -n $(WORKERS) --dist worksteal -q \
		--jaxtyping-packages=trivium,beartype.beartype
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(REST) -n $(WORKERS) --dist worksteal -q

check: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# The pages as a site in site/; they read well without it. Not part of the tests.
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict

# Builds, installs and tries a release in two fresh environments; CONTRIBUTING.md says more.
release-check:
	WORKERS=$(WORKERS) .ci/release-check

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "trivium needs Python 3.11 or newer; try: make PYTHON=python3.12 ..." >&2; exit 2; }
	@if command -v uv >/dev/null 2>&1; then uv venv --seed --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV); fi

# uv picks the torch build by the machine (`--torch-backend=auto`); where that cannot be reached,
# or there is no uv, pip installs.
define install
	@if command -v uv >/dev/null 2>&1 && \
		uv pip install --python $(BIN)/python --torch-backend=auto $(PIN) -e '$(1)'; then :; \
	else $(BIN)/python -m pip install --disable-pip-version-check -q $(PIN) -e '$(1)'; fi
	@touch $@
endef

$(VENV)/.installed: pyproject.toml constraints/cpu.txt | $(BIN)/python
	$(call install,.)

$(VENV)/.installed-test: pyproject.toml constraints/cpu.txt | $(BIN)/python
	$(call install,.[test])

$(VENV)/.installed-docs: pyproject.toml constraints/cpu.txt | $(BIN)/python
	$(call install,.[docs])
