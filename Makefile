# Every target sets up what it needs; running it again is quick.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
GPU_PYTHON ?= 3.12
SHARED := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: demo test soak check wheel-check wheels docs clean

demo: $(VENV)/demo.stamp        ## mock images -> an answer, a report and a classifier, offline, in 3 minutes
	test -d demo-run/images || $(BIN)/skythaw data mock demo-run/images --objects 600
	$(BIN)/skythaw tune demo-run/images --labels demo-run/images.csv --budget 165s --out demo-run/tuned

test: $(VENV)/dev.stamp         ## the tests, in minutes
	$(BIN)/python -m pytest $(SHARED)

soak: $(VENV)/dev.stamp         ## the long tests: all cases, many kills, hostile files by the hundred, clusters
	$(BIN)/python -m pytest $(SHARED) -m soak

check: $(VENV)/dev.stamp        ## style, types, and the one-way order of the layers
	$(BIN)/ruff check src tests docs benchmarks
	$(BIN)/ruff format --check src tests docs benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel-check: $(VENV)/dev.stamp  ## the wheel does what README shows, without the repository
	$(BIN)/python .ci/wheel_check.py

wheels: $(VENV)/dev.stamp       ## what benchmarks/gpu.sh needs on a machine without a network whose Python is GPU_PYTHON
	rm -rf benchmarks/wheels
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --python-version $(GPU_PYTHON) \
		--constraint constraints.txt --requirement benchmarks/bare_packages.txt --dest benchmarks/wheels
	du -sh benchmarks/wheels

docs: $(VENV)/docs.stamp        ## the site, in build/site: pages from the code are made again, notebooks run, links checked
	$(BIN)/python docs/scripts/commands.py > docs/commands.md
	$(BIN)/python docs/scripts/tree.py
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/site
	@echo 'open build/site/index.html'

$(VENV)/%.stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "skythaw needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Say which: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[$*]'
	touch $@

clean:
	rm -rf $(VENV) demo-run build docs/generated
