# The two commands of a fresh clone: `make run` and `make test`. Both make a virtual environment in .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
OUT ?= runs/digits

.PHONY: run test test-all bench notebooks readme rooms docs docs-serve clean

run: $(VENV)/installed  ## Train and compare the paper's six methods and modern on handwritten digits
	$(BIN)/aebench run --out $(OUT)

test: $(VENV)/installed-dev  ## Every test but the slow ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/installed-dev  ## Every test, those of many minutes too
	AEBENCH_FUZZ=10 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m ""

bench: $(VENV)/installed-dev  ## How fast a training step is, beside plain fastai and a bare loop
	$(BIN)/python benchmarks/speed.py

notebooks: $(VENV)/installed-dev  ## Run the notebooks and keep their outputs
	$(BIN)/python tools/notebooks.py

readme: $(VENV)/installed-dev  ## README.md from index.ipynb
	$(BIN)/python tools/readme.py

rooms: $(VENV)/installed-dev  ## The picture and the table of the package's rooms in CONTRIBUTING.md
	$(BIN)/python tools/rooms.py

docs: $(VENV)/installed-dev  ## The docs site in _docs, from notebooks, registry and results
	$(BIN)/python docs/build_site.py

docs-serve: docs  ## The site on this machine
	$(BIN)/python docs/build_site.py --serve

$(VENV)/installed: settings.ini setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -e .
	touch $@

$(VENV)/installed-dev: settings.ini setup.py pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_FLAGS) -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist *.egg-info _proc _docs
