# make demo: unmask the film in examples/.  make test: the whole test suite.  make fuzz: spoilt inputs, for an hour and more.
# Both need nothing but Python 3.11 or later; the first call of each installs into .venv.

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
TEST_EXTRAS ?= dev,train
# What mediapipe needs to run FaceMesh; its own list would bring a second OpenCV over the first.
MEDIAPIPE = absl-py attrs flatbuffers matplotlib "protobuf>=4.25.3,<5"

.PHONY: demo test fuzz clean

demo: .venv/installed
	.venv/bin/python examples/demo.py

test: .venv/installed-for-tests
	.venv/bin/python -m pytest

FUZZ_SECONDS ?= 600

fuzz: .venv/installed-for-tests
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[fuzz]"
	mkdir -p runs/fuzz
	PYTHONPATH=.:tests .venv/bin/python tests/mutations.py --count 1000 --keep runs/fuzz
	set -e; for target in photo film journal options points times; do \
		PYTHONPATH=.:tests .venv/bin/python tests/fuzz.py $$target -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=runs/fuzz/; \
	done

clean:
	rm -rf .venv build dist *.egg-info

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

.venv/installed-for-tests: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$(TEST_EXTRAS)]" $(MEDIAPIPE)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mediapipe==0.10.14
	touch $@
