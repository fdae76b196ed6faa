# make demo    start everything on this machine, make calls, show them, stop everything
# make dev     the same stack, kept up until Ctrl-C
# make test    everything that must hold before a change is merged
# make check   that, without the tests
# make faults  the long versions of the tests of what must survive
# make timeline  draws docs/outage.svg from the longest of them
# make mutate  mutation testing of the code that decides; minutes
# make bench   benchmarks

VENV   ?= .venv
PY     := $(VENV)/bin/python
# Mutation testing has a folder of its own, see `mutation` in pyproject.toml.
MUTATION ?= .venv-mutation

.PHONY: demo dev test check format clean mutate faults timeline bench
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed-demo
	@$(VENV)/bin/gateway demo

dev: $(VENV)/.installed-demo
	@$(VENV)/bin/gateway dev

test: check
	$(PY) -m pytest

check: $(VENV)/.installed-dev
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.installed-dev
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

mutate: $(MUTATION)/.installed
	$(MUTATION)/bin/python bench/mutate.py

faults: $(VENV)/.installed-dev
	$(PY) -m pytest tests/faults -m slow

timeline: $(VENV)/.installed-plots
	OUTAGE_SVG=docs/outage.svg $(PY) -m pytest tests/faults/test_outage.py -m slow

bench: $(VENV)/.installed-dev
	$(PY) bench/pipeline.py

clean:
	rm -rf $(VENV) $(MUTATION) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The stamps say what is installed. Nothing is installed again until what they depend on changes.
# The development extra contains the demo's, so the demo's stamp follows from it.
$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(PY)
	@echo "Installing pinned dependencies, with those of development, into $(VENV) (once) ..."
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.installed-demo $@

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(PY)
	@echo "Installing pinned dependencies into $(VENV) (once) ..."
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-plots: pyproject.toml constraints.txt | $(VENV)/.installed-dev
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[plots]'
	@touch $@

$(MUTATION)/.installed: pyproject.toml constraints.txt | $(PY)
	@echo "Installing mutation testing into $(MUTATION) (once) ..."
	$(PY) -m venv $(MUTATION)
	$(MUTATION)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[mutation]'
	@touch $@

# PYTHON=... chooses an interpreter. A name on PATH may be a shim that does not run, so each is asked for its version.
# Distributions that ship Python without ensurepip still have pip: it can install itself into the new folder.
$(PY):
	@for candidate in $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python); do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or newer is needed, and none was found; install one, or run: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "Creating $(VENV) with $$($$python --version) ..."; \
	$$python -m venv $(VENV) 2>/dev/null \
	  || { rm -rf $(VENV); $$python -m venv --without-pip $(VENV) && $$python -m pip --python $(PY) install --quiet pip; } \
	  || { rm -rf $(VENV); exit 1; }
