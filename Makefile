# Everything here needs Python >= 3.11 and make, nothing else: the first target that needs them fetches uv, the locked
# packages and, once per user, the broker's jars.

PYTHON ?= python3
UV := build/uv/bin/uv
BIN := .venv/bin
SYNCED := .venv/.synced
# A platform of this checkout's own; `forgelog` finds it from here and below.
DATA ?= $(CURDIR)/.forgelog

.PHONY: setup proto up down demo azurite test spark explore lint format wheel bench bench-peers peers serving-peers pipeline-peers chaos chaos-serving chaos-study overload clean

setup: $(SYNCED) proto

$(UV):
	@mkdir -p build
	@# some systems' Python comes without ensurepip: then pip puts it there
	$(PYTHON) -m venv build/uv >/dev/null 2>&1 && build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv \
		|| $(PYTHON) -m pip install --quiet --disable-pip-version-check --target build/uv uv
	@test -x $@ || { echo "uv could not be installed with $(PYTHON): it needs the venv module or pip, and a network" >&2; exit 1; }

$(SYNCED): pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --quiet --compile-bytecode
	@# xds-protos brings older copies of its modules, and which of the two was put down last is a matter of chance
	$(UV) sync --frozen --quiet --reinstall-package opentelemetry-proto
	@touch $@

# Quick when nothing is stale.
proto: $(SYNCED)
	@$(BIN)/python -m events.log.native
	@$(BIN)/python -m proto.generate
	@# where Python is not to write bytecode (as in many containers), every process would compile all that it imports
	@$(BIN)/python -m compileall -q events services forgelog forgelog_pb

up: setup
	@mkdir -p $(DATA)
	$(BIN)/forgelog up --data $(DATA)

down: $(SYNCED)
	$(BIN)/forgelog down --data $(DATA)

demo: setup
	$(BIN)/forgelog demo --data $(DATA)/demo

# Azure's store, as the tests have it: a program of npm (190 MB), the last that runs on Node.js 20. Without npm, or where
# it gets none, its tests are skipped. In a folder of its version: another version is another target.
AZURITE := build/azurite/3.35.0
azurite: | $(AZURITE)
$(AZURITE):
	@rm -rf build/azurite && mkdir -p build/azurite
	@if ! command -v npm >/dev/null; then echo "no npm, so no azurite: the tests on Azure's store are skipped" >&2; \
	elif npm install --prefix $@.part --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund --silent \
		--fetch-retries=1 --fetch-retry-mintimeout=1000 --fetch-timeout=30000 azurite@$(@F) >/dev/null; then mv $@.part $@; \
	else rm -rf $@.part; echo "npm got no azurite@$(@F): the tests on Azure's store are skipped" >&2; fi

# Two workers, which tests/side_by_side.py keeps out of each other's way; PYTEST="-n 0" is without them.
test: setup azurite
	$(BIN)/pytest -n 2 --durations-by-file=15 $(PYTEST)

# Spark's results beside DuckDB's, by a driver in the process and by Spark Connect, with TPC-H at FACTOR. Installs the
# extra `spark` (400 MB); needs a JDK.
spark: setup
	@$(UV) pip install --quiet --python $(BIN)/python "pyspark[connect]>=4.1,<5"
	FORGELOG_TEST_TPCH=$(or $(FACTOR),1) $(BIN)/pytest -n 0 --timeout 3600 tests/unit/pipelines/test_spark.py tests/unit/worker/test_tpch.py tests/unit/worker/test_rows_read.py
	FORGELOG_TEST_TPCH=$(or $(FACTOR),1) FORGELOG_TEST_SPARK=connect $(BIN)/pytest -n 0 --timeout 3600 tests/unit/pipelines/test_spark.py

# Property tests with new random examples; `make test` tries the same ones every time.
explore: setup
	$(BIN)/python -m tests.explore $(EXPLORE)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m proto.lint

format: $(SYNCED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# For the Python that runs it, with the compiled parts where there is a C compiler: see docs/how-to/install.md.
wheel: $(SYNCED)
	$(UV) build --quiet --wheel --out-dir dist
	@ls -t dist/*.whl | head -1

bench: setup $(if $(findstring mlflow,$(BENCH)),peers) $(if $(findstring serving,$(BENCH)),serving-peers) $(if $(findstring pipelines,$(BENCH)),pipeline-peers)
	$(BIN)/python -m bench $(BENCH)

# The peers have an environment of their own; Slurm comes by apt-get where that can be done.
PEERS_PYTHON := build/peers/venv/bin/python
peers: setup
	@test -x $(PEERS_PYTHON) || $(UV) venv --quiet --python $(BIN)/python build/peers/venv
	@$(UV) pip install --quiet --python $(PEERS_PYTHON) "ray>=2.40" "distributed>=2024.1" "eventsourcing[postgres]>=9.3,<10" \
		"mlflow==3.17.2" "psycopg2-binary>=2.9,<3" \
		|| echo "not all peers could be installed: those that are missing are named below" >&2

# Those that serve models have another one: they pin many packages.
serving-peers: setup
	@test -x build/peers/serving/bin/python || $(UV) venv --quiet --python $(BIN)/python build/peers/serving
	@$(UV) pip install --quiet --python build/peers/serving/bin/python "bentoml>=1.4,<2" "ray[serve]>=2.40" "onnxruntime>=1.23,<2" \
		|| echo "not all peers could be installed: those that are missing are named below" >&2

pipeline-peers: setup
	@test -x build/peers/pipelines/bin/python || $(UV) venv --quiet --python $(BIN)/python build/peers/pipelines
	@$(UV) pip install --quiet --python build/peers/pipelines/bin/python "prefect>=3.4,<4" "dagster>=1.11,<2" \
		|| echo "not all peers could be installed: those that are missing are named below" >&2

bench-peers: peers
	$(BIN)/python -m bench.peers $(PEERS)

# Needs nothing more; with libfaketime (built from its package, so a C compiler) the clock is attacked too.
# CHAOS="pipelines ..." attacks pipelines alone, with tests.chaos.pipelines and what follows as its options.
chaos: setup
ifeq ($(firstword $(CHAOS)),pipelines)
	$(BIN)/python -m tests.chaos.pipelines $(wordlist 2,99,$(CHAOS))
else
	@$(UV) pip install --quiet --python $(BIN)/python "libfaketime>=3,<4" || echo "no libfaketime: the clock is left alone" >&2
	$(BIN)/python -m tests.chaos $(CHAOS)
	$(BIN)/python -m tests.chaos.tracking
	$(BIN)/python -m tests.chaos.points --points 1000000
	ERRANDS=200 $(BIN)/python -m pytest -q tests/integration/test_dispatch.py -k many_errands
endif

# A deployment under load while what serves it is killed, hung, rolled out and taken away: some minutes.
chaos-serving: setup
	$(BIN)/python -m tests.chaos.serving $(CHAOS)
	$(BIN)/python -m tests.chaos.shares

# A search of 100 trials while every process is killed twice, in turn: some minutes.
chaos-study: setup
	$(BIN)/python -m tests.chaos.study $(STUDY)

# Five times what it can do, for a minute, then 50,000 submits straight to Kafka.
overload: setup
	$(BIN)/python -m tests.overload $(OVERLOAD)

clean:
	rm -rf build .mypy_cache .pytest_cache .ruff_cache forgelog_pb forgelog/client/sync.py
