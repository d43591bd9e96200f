# The project's commands. CI uses them as they are.
.DEFAULT_GOAL := help
bin := .venv/bin

.PHONY: help setup demo test servers lint chart protos lock bench load capacity chaos evaluate learning gpu cluster-test
help:           ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

setup:          ## make the environments (.venv, .venv-triton)
	@bash services/cli/setup.sh

demo: setup     ## the main job on one machine; STUDY=<folder of NIfTI or DICOM> takes your own
	@$(bin)/glioserve demo $(if $(STUDY),--study '$(STUDY)')

test: setup     ## all tests that this machine can run; what is missing is skipped by name
	@$(bin)/python -m pytest -m 'not chaos and not cluster' $(ARGS)

servers:        ## fetch the real servers that tests can use (Kafka, PostgreSQL, S3, Prometheus, DICOM validators)
	@bash tests/servers/install.sh

lint: setup     ## format, lint, types, import rules, protos, spelling
	@$(bin)/ruff format --check . && $(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/lint-imports
	@cd protos && ../$(bin)/buf lint && ../$(bin)/buf breaking --against release.binpb
	@$(bin)/codespell

chart: setup    ## lint the Helm chart, render every value set, check schemas and invariants
	@sh tests/servers/install_helm.sh
	@GLIOSERVE_REQUIRE=helm,$$GLIOSERVE_REQUIRE $(bin)/python -m pytest tests/chart $(ARGS)

protos: setup   ## write protos/gen again from the .proto files
	@bash protos/generate.sh

lock:           ## write the pins (constraints*.txt) again from pyproject.toml
	@$(bin)/uv pip compile -q --python-version 3.11 --no-header pyproject.toml --extra all --group test --group lint --group load -o constraints.txt

bench: setup    ## the numbers of the README, as JSON
	@$(bin)/python -m loadtests.bench $(ARGS)

load: setup     ## a load test with a page: SCENARIO=steady, morning-burst, flood-with-theatre or slow-clients
	@$(bin)/python -m loadtests $(or $(SCENARIO),steady) $(ARGS)

capacity: setup ## simulated latencies of 1 to 1000 hospitals, from measured service times
	@$(bin)/python -m loadtests.capacity $(ARGS)

chaos: setup    ## kill every process at every failpoint and at random times
	@$(bin)/python -m pytest -m chaos $(ARGS)

cluster-test: setup servers ## the chart on a real control plane without containers (its programs are built once: 9 minutes)
	@bash tests/cluster/tools/build.sh
	@$(bin)/python -m pytest -m cluster tests/cluster $(ARGS)

evaluate: setup ## the networks on 100 phantoms with known truth: a report with plots (about 30 minutes)
	@$(bin)/glioserve evaluate phantoms $(ARGS)

learning:       ## the training environment (.venv-learning, torch) and its tests
	@bash services/learning/setup.sh
	@.venv-learning/bin/python -m pytest tests/learning

gpu:            ## continue training on a GPU, evaluate, export (resumable, at most 9 minutes a call)
	@bash services/learning/gpu.sh
