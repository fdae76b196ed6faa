# make demo    start everything on this machine, make calls, show them, stop everything
# make dev     the same stack, kept up until Ctrl-C
# make test    everything that must hold before a change is merged
# make check   that, without the tests
# make faults  every fault of the matrix on real servers, and the other long tests of what must survive; one table
# make soak    100,000 calls while workers die and the broker's connections break, on both brokers
# make fuzz    a million wrong messages, from the wire inward
# make timeline  draws docs/outage.svg from the longest of them
# make mutate  mutation testing of the code that decides; minutes
# make bench   benchmarks
# make audit   known vulnerabilities of the pinned dependencies; its database is in the internet

VENV   ?= .venv
PY     := $(VENV)/bin/python
# Mutation testing has a folder of its own, see `mutation` in pyproject.toml.
MUTATION ?= .venv-mutation
AUDIT    ?= .venv-audit

.PHONY: demo dev test check format clean mutate faults soak fuzz timeline bench audit servers
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed-demo
	@$(VENV)/bin/gateway demo

dev: $(VENV)/.installed-demo
	@$(VENV)/bin/gateway dev

test: check servers
	@.ci/halves $(PY) -m pytest

# What the tests start by themselves, from the system's packages.
servers:
	@.ci/servers

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

faults: $(VENV)/.installed-dev servers
	$(PY) -m pytest tests/faults -m "not soak"

soak: $(VENV)/.installed-dev servers
	$(PY) -m pytest tests/faults/test_soak.py -m soak -s

fuzz: $(VENV)/.installed-dev
	$(PY) -m bench.fuzz --inputs 1000000

timeline: $(VENV)/.installed-plots
	OUTAGE_SVG=docs/outage.svg $(PY) -m pytest tests/faults/test_outage.py -m slow

bench: $(VENV)/.installed-dev
	$(PY) bench/pipeline.py
	$(PY) -m bench.signing

audit: $(AUDIT)/.installed
	@$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt \
	  || { echo "If it says that packages could not be audited, its database was not reached: nothing is known then." >&2; exit 1; }

clean:
	rm -rf $(VENV) $(MUTATION) $(AUDIT) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

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

$(AUDIT)/.installed: | $(PY)
	@$(PY) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check 'pip-audit>=2.10,<3'
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
