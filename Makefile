# `make demo`: a whole sweep on real data, from a clean checkout. `make test`: all tests.
# Needs: python3 (3.11 to 3.13) with venv. Everything else comes from uv.lock.
PYTHON ?= python3
UV_VERSION := 0.13.9
UV := .uv/bin/uv
export UV_PYTHON := $(PYTHON)
export UV_PYTHON_DOWNLOADS := never
export UV_LINK_MODE := copy
export UV_COMPILE_BYTECODE := 1
SYNC := $(UV) sync --frozen --inexact --quiet

.PHONY: demo test lint benchmarks board clean

demo: .venv/.demo
	.venv/bin/bench run digits

test: .venv/.test .venv-board/.test .venv-board4/.test lint
	.venv/bin/python -m pytest
	.venv-board/bin/python -m pytest tests/board
	.venv-board4/bin/python -m pytest tests/board

# Figures of the harness itself (start-up, planning, reports, whole sweeps); printed, never asserted.
benchmarks: .venv/.test
	.venv/bin/python -m pytest tests/benchmarks --benchmark-only --slow

lint: .venv/.test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.venv/.demo: uv.lock pyproject.toml $(UV)
	$(SYNC) --no-dev --extra train --extra rtl
	@touch $@

.venv/.test: uv.lock pyproject.toml $(UV)
	$(SYNC) --extra train --extra rtl --extra rtl-ecp5 --extra parquet --extra mlflow --group test --group lint
	@touch $@ .venv/.demo

# The boards' own environment: pynq wants numpy 1 and protobuf 5, TensorFlow neither.
.venv-board/.test: uv.lock pyproject.toml $(UV)
	UV_PROJECT_ENVIRONMENT=.venv-board $(SYNC) --no-dev --extra board --group board-test
	@touch $@ .venv-board/.board

# Only what the emulated board of `bench run digits_board` runs in.
board: .venv-board/.board

.venv-board/.board: uv.lock pyproject.toml $(UV)
	UV_PROJECT_ENVIRONMENT=.venv-board $(SYNC) --no-dev --extra board
	@touch $@

# pynq 4, which knows Zynq UltraScale+ only.
.venv-board4/.test: uv.lock pyproject.toml $(UV)
	UV_PROJECT_ENVIRONMENT=.venv-board4 $(SYNC) --no-dev --extra board4 --group board-test
	@touch $@

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Python 3.11 to 3.13 is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv .uv || { echo "Install the package python3-venv (apt-get install python3-venv)."; exit 1; }
	@.uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

clean:
	rm -rf .venv .venv-board .venv-board4 .uv
