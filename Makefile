# Every target sets up what it needs: Python 3.11 or newer and git are enough.
# uv is used where it is installed; else python -m venv and pip.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test test-all lint serve bench lock clean

demo: $(READY)
	$(BIN)/motet run research "What happens to agent calls after a kill -9?" --docs docs

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)
	HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow" --timeout 3000

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

serve: $(READY)
	$(BIN)/motet serve

bench: $(READY)
	$(BIN)/python -m benchmarks

$(READY): pyproject.toml
	@if command -v uv >/dev/null 2>&1; then \
		uv sync --quiet --frozen --extra dev --python "$$(command -v $(PYTHON))"; \
	else \
		test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"; \
	fi
	@touch $@

lock:
	uv lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .langgraph_api
