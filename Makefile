VENV := .venv
PYTHON ?= python3
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint unit engine contract editors faults soak train train-smoke clean

demo: $(INSTALLED)
	@$(VENV)/bin/llmd demo

test: lint unit engine contract editors faults

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit engine contract editors faults: $(INSTALLED)
	$(VENV)/bin/python -m pytest tests/$@

# Ten thousand faults of each kind, and a machine that sleeps for a minute: some twenty minutes. Then
# what one does at the keyboard, in every editor, twenty times.
soak: $(INSTALLED)
	$(VENV)/bin/python -m tests.faults.soak
	for n in $$(seq 20); do $(VENV)/bin/python -m pytest -q tests/editors/test_scenarios.py || exit 1; done

# The built-in model's infill adapter, over again: PyTorch, and some hours of all cores.
train: $(VENV)/.trainable
	$(VENV)/bin/python -m training --out .training

train-smoke: $(VENV)/.trainable
	$(VENV)/bin/python -m training --out .training-smoke --steps 50

$(VENV)/.trainable: $(INSTALLED)
	$(VENV)/bin/python -m pip install --quiet -e '.[train]'
	@touch $@

$(INSTALLED): requirements.lock requirements-build.lock pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py

clean:
	rm -rf $(VENV)
