VENV := .venv
PYTHON ?= python3
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint unit engine contract clean

demo: $(INSTALLED)
	@$(VENV)/bin/llmd demo

test: lint unit engine contract

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

unit engine contract: $(INSTALLED)
	$(VENV)/bin/python -m pytest tests/$@

$(INSTALLED): requirements.lock requirements-build.lock pyproject.toml tools/install.py
	@$(PYTHON) tools/install.py

clean:
	rm -rf $(VENV)
