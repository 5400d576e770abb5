# make demo and make test need Python 3.11 or later, make and a package index: they set up all else in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= auto

.PHONY: help demo test check soak docs services lock clean
help: ## list what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY) ## generate a day of a smart home, replay it, write the reports and an HTML page to out/
	$(BIN)/python datasets/smart_home.py out/smart-home
	$(BIN)/rms replay datasets/smart-home.yaml --folder out/smart-home
	$(BIN)/rms report out/smart-home/reports.ndjson --out out/smart-home/report.html --title "A day in the smart home"

test: $(READY) ## run the tests, doctests and the README's commands (RMS_DATASETS names the folder of real data)
	$(BIN)/python -m pytest -n $(JOBS)

check: $(READY) ## lint, format, types, layers, declared dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry rms_flows

soak: $(READY) ## run the long forms of the tests: kills, fuzzing, whole data sets
	$(BIN)/python -m pytest -n $(JOBS) -m soak --timeout 3600

docs: $(READY) ## run the notebooks and render them to out/docs
	$(BIN)/python -m nbconvert --to html --template page --TemplateExporter.extra_template_basedirs=docs --execute --output-dir out/docs notebooks/*.ipynb

services: $(READY) ## start a real Elasticsearch node, a Kafka broker and Flink on this machine until Ctrl-C (needs mvn; ARGS=--help tells more)
	PYTHONPATH=tests $(BIN)/python -m servers $(ARGS)

lock: ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --custom-compile-command "make lock" --extra dev --extra kafka --extra kafka-fast --extra elasticsearch --extra notebook --extra stix --extra probe --extra serve --extra monitor \
	  -o requirements.lock pyproject.toml requirements-build.in

clean: ## remove what was made, the environment too
	rm -rf $(VENV) out build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
