VENV := .venv
PYTHON ?= python3
INSTALLED := $(VENV)/.installed
# A file's tests share a daemon and a model, so a file is not divided among the processes.
PYTEST_ARGS ?= -n auto --dist loadfile
# Few files, of very different length: the last ones are divided.
engine: PYTEST_ARGS = -n auto --dist worksteal

.PHONY: help demo test lint unit engine contract editors faults soak dist train train-smoke clean

help:  ## list the targets
	@sed -nE 's/^([a-z -]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 44

demo: $(INSTALLED)  ## make .venv, build llama.cpp, run two completions
	@$(VENV)/bin/llmd demo

test: lint unit engine contract editors faults  ## run the linters and all tests

lint: $(INSTALLED)  ## ruff, and mypy in strict mode
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit engine contract editors faults: $(INSTALLED)  ## run one part of the tests
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS) tests/$@

dist: $(INSTALLED)  ## build the sdist and the wheel into dist/
	$(VENV)/bin/python -m hatchling build

# Ten thousand faults of each kind, and a machine that sleeps for a minute: about twenty minutes.
# Then the editors' scenarios, twenty times in a row.
soak: $(INSTALLED)  ## run the long fault tests
	$(VENV)/bin/python -m tests.faults.soak
	for n in $$(seq 20); do $(VENV)/bin/python -m pytest -q tests/editors/test_scenarios.py || exit 1; done

# Needs PyTorch and some hours on all cores.
train: $(VENV)/.trainable  ## train the built-in model's adapter again
	$(VENV)/bin/python -m training --out .training

train-smoke: $(VENV)/.trainable  ## train for 50 steps, to see that it works
	$(VENV)/bin/python -m training --out .training-smoke --steps 50

$(VENV)/.trainable: $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet -e '.[train]'
	@touch $@

$(INSTALLED): requirements.lock requirements-build.lock requirements-cmake.lock pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py

clean:  ## remove .venv
	rm -rf $(VENV)
