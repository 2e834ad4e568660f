# make demo      run the main job on sample images, or on yours: make demo IMAGES=folder
# make test      run make check and all tests
# make readers   read tables with pandas, Polars, datasets, Lance, Spark and Iceberg, in their own environments
# make fuzz      fuzz the decoder for ten minutes, or longer: make fuzz SECONDS=3600
# make check     run the linter, the format check and the type checker
# make lock      generate requirements.lock from pyproject.toml, and from it the requirements of the container images
# make generated generate containers/metadata.json and docs/options.md from the options
# make clean     remove the virtual environment and everything that demo and builds create

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
IMAGES ?=
# Processes that run tests: two, or up to four where each has a core and 4 GB of memory.
WORKERS ?= $(shell $(PYTHON) -c "import os; memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'); \
	print(max(2, min(4, os.cpu_count() or 2, memory >> 32)))")
SECONDS ?= 600

.PHONY: demo test tools readers fuzz check lock generated clean

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py --output demo-output $(if $(IMAGES),--images "$(IMAGES)")

# Files of tests run in their order: so the longest ones are not the last.
test: check tools
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

# A test whose tool is missing is skipped. This names the tool, and how to get it.
tools:
	@for tool in chromium:chromium zsh:zsh go:golang java:default-jdk mvn:maven; do \
		command -v $${tool%%:*} > /dev/null || \
			echo "no $${tool%%:*}: some tests are skipped; to run them, apt-get install $${tool##*:}"; \
	done

# Two versions of Spark and the other readers do not fit into one environment. Spark runs on the Java of the machine.
READERS := $(patsubst %,$(VENV)/readers/%/installed,python spark-3.5 spark-4)

readers: $(VENV)/installed-dev tools
	$(MAKE) --no-print-directory --jobs 3 $(READERS)
	$(BIN)/python -m pytest -n $(WORKERS) tests/readers

$(VENV)/readers/%/installed: tests/readers/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade "pip>=24"
	$(@D)/bin/python -m pip install --quiet --requirement $<
	touch $@

fuzz: $(VENV)/installed-dev
	$(BIN)/python -m pip install --quiet "atheris>=3.0"
	$(BIN)/python tests/fuzz_decode.py $(SECONDS)

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint requirements.lock --editable ".[dev]"
	touch $(VENV)/installed $@

COMPILE := uv pip compile --universal --python-version 3.10 --no-emit-find-links --no-emit-index-url \
	--custom-compile-command "make lock"
IMAGE := --no-annotate --constraint requirements.lock

lock:
	$(COMPILE) --all-extras --output-file requirements.lock pyproject.toml
	$(COMPILE) $(IMAGE) --extra s3 --excludes containers/cpu-without.txt \
		--output-file containers/cpu-requirements.txt pyproject.toml
	sed -n 's/^tensorflow==/tensorflow[and-cuda]==/p' requirements.lock | $(COMPILE) $(IMAGE) --extra s3 \
		--excludes containers/gpu-without.txt --output-file containers/gpu-requirements.txt pyproject.toml -

generated:
	$(BIN)/python -m runners.template.parameters > containers/metadata.json
	$(BIN)/python -m runners.cli.reference > docs/options.md

clean:
	rm -rf $(VENV) demo-output .demo build dist *.egg-info
