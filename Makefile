# ucloud: everything a developer does, each with what it needs.
.DEFAULT_GOAL := help

# Settings: make up HOSTS=3 API_PORT=8081
HOSTS ?= 1
API_PORT ?= 8080
# make install DESTDIR=/tmp/package PREFIX=/opt/ucloud
DESTDIR ?=
PREFIX ?= /opt/ucloud

export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.cache/etcd/usr/bin:$(PATH)
python := .venv/bin/python
# Two at a time: tests wait most of the time (tests/conftest.py says which never run side by side).
pytest := $(python) -m pytest --numprocesses 2 --no-loadscope-reorder
products := common ucloud_api ucloud_scheduler ucloud_host ucloud_vm ucloud_image ucloud_otp ucloud_net ucloud_ipam ucloud_firewall \
  ucloud_meta ucloud_cli
sources := $(products) devcloud tests bench
.PHONY: help setup install uninstall up down status test test-quick lint format docs bench lock clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | while IFS=@ read -r name what; do \
	  printf '%-18s %s\n' "$$name" "$$what"; done

setup: ## fetch what the others need: Debian packages, .venv, etcd (each of them does it by itself)
	@tools/setup

install: ## install ucloud on this machine, as services of systemd (DESTDIR= PREFIX=/opt/ucloud)
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/install

uninstall: ## remove what `make install` installed; settings, secrets and VMs stay
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" tools/uninstall

up: setup ## start a whole cloud on this machine and boot a first VM (HOSTS=1 API_PORT=8080)
	@$(python) -m devcloud up --hosts $(HOSTS) --api-port $(API_PORT)

down: ## end that cloud, its VMs included: no process, namespace, link, mount or file of it stays
	@if [ -x $(python) ]; then $(python) -m devcloud down; else echo "nothing was ever started here"; fi

status: ## show which daemons of that cloud run
	@if [ -x $(python) ]; then $(python) -m devcloud status; else echo "nothing was ever started here"; fi

test: setup lint ## run every check and every test (as root: real etcd, libvirt and QEMU)
	@$(pytest)
	@echo "All tests passed. Next: make up"

test-quick: setup ## run the unit and integration tests only
	@$(pytest) tests/unit tests/integration

lint: setup ## check style, types, the arrows between packages, and the size of modules
	@ruff check --quiet $(sources)
	@ruff format --quiet --check $(sources) || { echo "badly formatted: make format"; exit 1; }
	@mypy --no-error-summary
	@report=$$(lint-imports --no-logo) || { echo "$$report"; exit 1; }
	@find $(products) -name '*.py' -exec awk 'FNR == 500 { print FILENAME ": 500 lines or more, split it"; bad = 1 } \
	  END { exit bad }' {} +

format: setup ## put the code into its format
	@ruff check --quiet --fix $(sources)
	@ruff format --quiet $(sources)

docs: setup ## make docs/settings.md, docs/api-reference.md and docs/etcd-roles.md anew, from the code
	@$(python) tools/settings markdown > docs/settings.md
	@$(python) tools/api-reference > docs/api-reference.md
	@$(python) -m ucloud_api.admin etcd-roles show > docs/etcd-roles.md

bench: setup ## measure, each thing beside a baseline of the same run (about 20 minutes; docs/benchmarks.md)
	@$(python) -m bench.placement --vms 20000 --rounds 2
	@$(python) -m bench.api
	@$(python) -m bench.create
	@$(python) -m bench.idle
	@$(python) -m bench.metadata
	@$(python) -m bench.sftp
	@$(python) -m bench.firewall
	@$(python) -m bench.networks
	@$(python) -m bench.rbd
	@$(python) -m bench.failover --rounds 5
	@$(python) -m bench.scale --hosts 100 --vms 10000

lock: setup ## resolve pyproject.toml and Pipfile anew into Pipfile.lock, which names no package index
	@PIPENV_VENV_IN_PROJECT=1 PIPENV_IGNORE_VIRTUALENVS=1 .tools/bin/pipenv lock --python /usr/bin/python3
	@$(python) tools/unindex Pipfile.lock

clean: down ## end the cloud and remove all that was built or downloaded here
	@rm -rf .venv .tools .cache build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -prune -exec rm -rf {} +
