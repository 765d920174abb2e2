# Two commands are enough for a newcomer: `make run` and `make test`.
# Both create .venv and install everything into it, once, and again when pyproject.toml changes.

PYTHON ?= python3
PARAMS ?= drago-grid-quick
ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# Tests of one file stay together, as they share what they trained.
TESTS := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile
# Every chapter at its own settings in a new kernel. 10 and those from 20 on are templates.
CHAPTERS := OMP_NUM_THREADS=1 JUPYTER_PLATFORM_DIRS=1 JUPYTER_PATH=$(CURDIR)/$(VENV)/share/jupyter \
    $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --nbmake --nbmake-timeout=1800 $(wildcard notebooks/0*.ipynb notebooks/11_*.ipynb)
# Chapters are run after a failing test as well, and the exit status is that of the first to fail.
EVERYTHING := trap 'exit 130' INT; tests=0; chapters=0; \
    $(TESTS) || tests=$$?; $(CHAPTERS) || chapters=$$?; exit $$((tests ? tests : chapters))

# Set in the surroundings it would keep packages from being compiled, and every import is slow.
unexport PYTHONDONTWRITEBYTECODE
# The tests and the program must see this folder's packages, not someone else's.
unexport PYTHONPATH
unexport PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help run test lab book bench

help:  ## show this list
	@echo "Targets (PYTHON=$(PYTHON) chooses the interpreter for $(VENV)):"
	@sed -n 's/^\([a-z]*\):.*##\(.*\)/  make \1:\2/p' $(firstword $(MAKEFILE_LIST)) | \
	    awk -F: '{ printf "%-14s%s\n", $$1, $$2 }'
	@echo
	@echo "Examples:"
	@echo "  make run PARAMS=drago-grid-full ARGS='-p seed=3'"
	@echo "  make run ARGS='-p seeds=[0,1,2]'"
	@echo "  make test ARGS='tests/runner -x'"

run: $(STAMP)  ## execute one run into outputs/ (PARAMS=NAME, ARGS='-p seed=3')
	$(BIN)/python -m lib run $(PARAMS) $(ARGS)

test: $(STAMP)  ## run all tests and chapters, WORKERS=2 at a time (ARGS='tests/runner -x' runs these tests alone)
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(EVERYTHING))

lab: $(STAMP)  ## open the workbook in JupyterLab (ARGS='05_replay_and_forgetting --port 9000')
	$(BIN)/python -m lib.workbook.lab $(ARGS)

book: $(STAMP)  ## execute the chapters again and make pages of them (ARGS='02_world_models')
	$(BIN)/python -m lib.workbook.book build $(ARGS)
	$(BIN)/python -m lib.workbook.book check $(ARGS)
	$(BIN)/python -m lib.workbook.book site

bench: $(STAMP)  ## measure the fast path beside the plain one, minutes long (ARGS='--quick')
	$(BIN)/python -m tests.benchmarks $(ARGS)

# The stamp is touched last, so a failed install is tried again the next time.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python 3.11 or newer is needed, but '$(PYTHON)' is" \
	        "$$($(PYTHON) --version 2>&1 | tail -n 1);" \
	        "choose another one, for example: make PYTHON=python3.12 test" >&2; exit 1; }
	@rm -f $@
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@
