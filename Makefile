# make demo    the main job on sample pictures, or on yours: make demo IMAGES=folder
# make test    all tests, the linter and the type checker
# make lock    requirements.lock made anew from pyproject.toml

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
IMAGES ?=
WORKERS ?= 2

.PHONY: demo test check lock clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py --output demo-output $(if $(IMAGES),--images "$(IMAGES)")

test: check
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable ".[dev]"
	touch $@

lock:
	uv pip compile --universal --python-version 3.10 --all-extras --no-emit-find-links --no-emit-index-url \
		--custom-compile-command "make lock" --output-file requirements.lock pyproject.toml

clean:
	rm -rf $(VENV) demo-output .demo build dist *.egg-info
