# Two commands do the main work: `make report` and `make test`. Both make .venv first, where it is missing.
# Other Python: make PYTHON=python3.12 test. Other report: make report MODEL=Qwen/Qwen3-8B GPU=A10G

PYTHON ?= python3
MODEL  ?= meta-llama/Llama-3.1-8B
GPU    ?= L4
LOCK   ?= requirements.lock
# Many systems set LANGUAGE for themselves, as en_US:en; only the one given to make counts.
ifneq ($(origin LANGUAGE),command line)
LANGUAGE := en
endif

BIN   := .venv/bin
STAMP := .venv/.installed
UV    := $(shell uv --version >/dev/null 2>&1 && command -v uv)

TORCH_BIN   := .venv-torch/bin
TORCH_STAMP := .venv-torch/.installed

NBVAL      := --nbval --nbval-current-env --nbval-sanitize-with tests/sanitize.cfg --nbval-cell-timeout 300

.PHONY: help report test test-torch torch-environment accuracy lint format lab app bench refresh lock clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

report: $(STAMP)  ## write reports/Llama-3.1-8B--L4.html, to be read offline
	$(BIN)/vram report -p model $(MODEL) -p gpu $(GPU)

test: $(STAMP)  ## the whole regression: unit tests, doctests, notebooks, the wheel
	$(BIN)/python -m pytest tests vramlib notebooks $(NBVAL) -n auto --dist loadfile

accuracy: $(STAMP)  ## our numbers against what real engines printed at start-up
	$(BIN)/python -m vramlib.accuracy

test-torch: $(TORCH_STAMP)  ## what PyTorch and transformers count, against the formulas; no GPU needed
	$(TORCH_BIN)/python -m pytest tests/test_torch_oracle.py -n auto

torch-environment: $(TORCH_STAMP)  ## the environment of test-torch alone

lint: $(STAMP)  ## format, lint and docstring rules, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)  ## put files into the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lab: $(STAMP)  ## open the workbook in JupyterLab, on this machine only; LANGUAGE=vi for Vietnamese
	$(BIN)/vram lab --language $(LANGUAGE)

app: $(STAMP)  ## the what-if dashboard in a browser, on this machine only; LANGUAGE=vi for Vietnamese
	$(BIN)/vram app --language $(LANGUAGE)

bench: $(STAMP)  ## one estimate beside json.loads of the same config
	$(BIN)/python tools/bench.py
	$(BIN)/python tools/bench_allocator.py
	$(BIN)/python tools/bench_sweep.py
	$(BIN)/python tools/bench_slider.py
	$(BIN)/python tools/bench_reports.py

refresh: $(STAMP)  ## run every notebook and store it as the tests expect
	$(BIN)/python -m vramlib.notebook refresh notebooks/*.ipynb

lock: $(STAMP)  ## names and versions that `make` installs, from the bounds of pyproject.toml
	uv pip compile --quiet --universal --upgrade --no-header --no-annotate --no-emit-index-url \
	    --extra test --extra lint --extra hub --extra cluster pyproject.toml -o requirements.lock

clean:  ## remove the environment and what was built
	rm -rf .venv .venv-torch build dist .mypy_cache .pytest_cache .ruff_cache

$(STAMP): pyproject.toml $(LOCK)
ifneq ($(UV),)
	@test -x $(BIN)/python || uv venv --quiet --python $(PYTHON) .venv
	uv pip install --quiet --python $(BIN)/python -c $(LOCK) -e '.[test,lint]'
else
	@test -x $(BIN)/python || $(PYTHON) tools/create_venv.py .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[test,lint]'
endif
	@touch $@

# uv does not read pip's settings; PIP_FIND_LINKS may name a folder with a PyTorch for CPUs.
$(TORCH_STAMP): pyproject.toml $(LOCK)
ifneq ($(UV),)
	@test -x $(TORCH_BIN)/python || uv venv --quiet --python $(PYTHON) .venv-torch
	uv pip install --quiet --python $(TORCH_BIN)/python $(addprefix --find-links ,$(PIP_FIND_LINKS)) \
	    -c $(LOCK) -e '.[torch-test]'
else
	@test -x $(TORCH_BIN)/python || $(PYTHON) tools/create_venv.py .venv-torch
	$(TORCH_BIN)/python -m pip install --quiet --disable-pip-version-check -c $(LOCK) -e '.[torch-test]'
endif
	@touch $@
