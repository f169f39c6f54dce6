# Everything runs in a virtual environment that the first target to need it makes.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
READY = $(VENV)/.installed

.PHONY: setup demo test test-machines fuzz soak lint bench clean

setup: $(READY)

$(READY): requirements.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $(READY)

demo: $(READY)
	$(RUN) -m experiments demo

test: $(READY)
	$(RUN) -m pytest -n auto

# The numerical tests on other machines, imitated: 19 settings, 46 minutes of two cores (SETTINGS: some).
SETTINGS ?=
test-machines: $(READY)
	$(RUN) -m tests.machines --settings "$(SETTINGS)"

# 10,000 damaged files of every format, a quarter of an hour; make test reads 60 of each.
fuzz: $(READY)
	$(RUN) -m tests.fuzz --files 10000

# 50 processes killed at random moments of all stages, half an hour of one core.
soak: $(READY)
	$(RUN) -m tests.soak.soak

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

bench: $(READY)
	$(RUN) -m bench

clean:
	rm -rf $(VENV) demo soak fuzz .pytest_cache .ruff_cache
