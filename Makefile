# make install   a virtual environment in .venv with pinned dependencies
# make demo      search the digits study: minutes on two CPU cores
# make test      lint, types and tests
# make check     lint and types alone

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: install demo test check
install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/kdsearch run search_spaces/digits.yaml

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two at a time: much of a cluster's test is waiting. A file stays with one of them, and its cluster.
test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
