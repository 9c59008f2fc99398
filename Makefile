# ucloud: everything a developer does, each with what it needs.
.DEFAULT_GOAL := help

# Settings: make up HOSTS=3 API_PORT=8081
HOSTS ?= 1
API_PORT ?= 8080

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.cache/etcd/usr/bin:$(PATH)
python := .venv/bin/python
sources := common devcloud ucloud_api ucloud_scheduler ucloud_host ucloud_vm ucloud_image ucloud_cli tests bench
products := common ucloud_api ucloud_scheduler ucloud_host ucloud_vm ucloud_image ucloud_cli

.PHONY: help install up down status test test-quick lint format bench lock clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | while IFS=@ read -r name what; do \
	  printf '%-18s %s\n' "$$name" "$$what"; done

install: ## install what the others need: Debian packages, .venv, etcd (each of them does it by itself)
	@tools/install

up: install ## start a whole cloud on this machine and boot a first VM (HOSTS=1 API_PORT=8080)
	@$(python) -m devcloud up --hosts $(HOSTS) --api-port $(API_PORT)

down: ## end that cloud, its VMs included: no process, namespace, link, mount or file of it stays
	@if [ -x $(python) ]; then $(python) -m devcloud down; else echo "nothing was ever started here"; fi

status: ## show which daemons of that cloud run
	@if [ -x $(python) ]; then $(python) -m devcloud status; else echo "nothing was ever started here"; fi

test: install lint ## run every check and every test (as root: real etcd, libvirt and QEMU)
	@$(python) -m pytest
	@echo "All tests passed. Next: make up"

test-quick: install ## run the unit and integration tests only
	@$(python) -m pytest tests/unit tests/integration

lint: install ## check style, types, the arrows between packages, and the size of modules
	@ruff check --quiet $(sources)
	@ruff format --quiet --check $(sources) || { echo "badly formatted: make format"; exit 1; }
	@mypy --no-error-summary
	@report=$$(lint-imports --no-logo) || { echo "$$report"; exit 1; }
	@find $(products) -name '*.py' -exec awk 'FNR == 500 { print FILENAME ": 500 lines or more, split it"; bad = 1 } \
	  END { exit bad }' {} +

format: install ## put the code into its format
	@ruff check --quiet --fix $(sources)
	@ruff format --quiet $(sources)

bench: install ## measure
	@set -e; for program in bench/*.py; do echo "== $$program"; $(python) -m "bench.$$(basename "$$program" .py)"; done

lock: install ## resolve pyproject.toml and Pipfile anew into Pipfile.lock, which names no package index
	@PIPENV_VENV_IN_PROJECT=1 PIPENV_IGNORE_VIRTUALENVS=1 .tools/bin/pipenv lock --python /usr/bin/python3
	@$(python) tools/unindex Pipfile.lock

clean: down ## end the cloud and remove all that was built or downloaded here
	@rm -rf .venv .tools .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
