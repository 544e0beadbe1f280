# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint format docs bench cards system clean

demo: $(STAMP)
	$(BIN)/assay check ef21w elang lelp --store .assay --workers 2 || test $$? -lt 3
	$(BIN)/assay report --out report

test: $(STAMP) system
	$(BIN)/python -m pytest -q -m "not ray" --numprocesses 2 --dist loadgroup
	$(BIN)/python -m pytest -q -m ray

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks docs
	$(BIN)/ruff format --check src tests benchmarks docs
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix src tests benchmarks docs
	$(BIN)/ruff format src tests benchmarks docs

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --site-dir site

bench: $(STAMP)
	for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

cards: $(STAMP)
	$(BIN)/python -m assay.cli.cards

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $(STAMP)

# What the tests need beside Python packages: a browser, for the report.
SYSTEM := chromium
system:
	@for name in $(SYSTEM); do command -v $$name > /dev/null || missing="$$missing $$name"; done; \
	test -z "$$missing" || { test "$$(id -u)" = 0 && command -v apt-get > /dev/null && \
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $$missing; } || \
	{ echo "The tests need$$missing; install it with your system's package manager."; exit 1; }

clean:
	rm -rf $(VENV) .assay report .pytest_cache .mypy_cache .ruff_cache
