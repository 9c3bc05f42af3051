# Each target sets up what it needs: a virtual environment in .venv, with the package installed in place.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: demo test test-all lint docs clean

demo: $(READY)
	$(BIN)/python train.py --recipe=quick --arch=resnet18 --overrides=filters=32 --image_size=72 \
		--dataset=recyclables_synth --augment=upright --batch_size=16 --epochs=55 --run_dir=runs/demo
	$(BIN)/python -m recycle_tf evaluate --run=runs/demo
	$(BIN)/python -m export --run=runs/demo
	$(BIN)/python -m recycle_tf predict --model=runs/demo/export/model_int8.tflite runs/demo/export/golden

test: $(READY)
	$(BIN)/python -m pytest

test-all: $(READY)
	$(BIN)/python -m pytest -m ""

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Takes minutes: the tutorial is run.
docs: $(VENV)/docs-ready
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build site *.egg-info runs/demo

$(READY): setup.py pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(VENV)/docs-ready: $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

.PHONY: fuzz crash soak

fuzz: $(READY)
	FUZZ=50 $(BIN)/python -m pytest -m "" tests/fuzz

crash: $(READY)
	CRASH_RERUNS=all $(BIN)/python -m pytest -m "" -n 0 -s tests/crash

soak: $(READY)
	$(BIN)/python -m pytest -m "" -n 0 -s tests/soak
