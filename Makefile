# `make` lists the targets. Everything is installed into .venv, from locks with hashes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
CONFIG ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
INSTALL := $(PIP) install --quiet --quiet --require-hashes --only-binary :all:
# What the tests run that is not Python: age opens our files, OpenSSL makes certificates, Chromium shows the pages.
# strace and faketime make system calls and the clock fail, mkfs.ext4 makes disks to fill and to cut from power.
# And PostgreSQL, whose server programs Debian keeps out of the path, with pg_dump and pg_restore of its client.
# SoftHSM is a token without hardware; systemd-analyze reads the units.
PROGRAMS := age openssl sqlite3 xxd chromium strace faketime mkfs.ext4 softhsm2-util systemd-analyze node npm
# Installing them begins servers on some machines, which is why `make test` does not. ip makes the network of a call.
REAL_PROGRAMS := postfix dovecot sipp kamailio rtpengine ip
# Two workers suit small machines; a file's tests share their fixtures. tests/conftest.py says which files come first.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
# What is pure or nearly so, and the main path once: enough to notice most mistakes in under a minute.
QUICK := tests/domain tests/sources tests/log tests/config tests/docs tests/vectors tests/test_project.py \
	tests/archive/test_spine.py tests/api/test_ranges.py
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --strip-extras \
	--generate-hashes --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

## Use

.PHONY: demo
demo: .venv/run.stamp ## A small world in a temporary archive; prints its address and logins; Ctrl-C removes it
	@exec $(BIN)/python -m service demo

.PHONY: run
run: .venv/run.stamp ## The service with config.toml (or CONFIG=FILE), data in ./data, keys in ./keys
	@exec $(BIN)/python -m service serve $(if $(CONFIG),--config $(CONFIG))

.PHONY: install
install: .venv/run.stamp ## What the service needs, into .venv; LOCKS=requirements-postgres.lock (-s3, -pkcs11) adds more
	@for lock in $(LOCKS); do $(INSTALL) --requirement "$$lock"; done

## Check

.PHONY: check
check: .venv/dev.stamp ## Format, lint, types, imports and the quick tests, in under a minute
	@$(MAKE) static
	@$(PYTEST) -m "not slow and not browser and not long" $(QUICK)

.PHONY: test
test: .venv/dev.stamp programs .venv/node.stamp ## Everything that CI runs; installs what it needs
	@$(MAKE) static
	@$(PYTEST)

.PHONY: test-long
test-long: .venv/dev.stamp programs ## What breaks things for half an hour: hundreds of kills, tens of power cuts
	@$(PYTEST) -m long tests/crash

.PHONY: test-real
test-real: .venv/dev.stamp ## Mail servers and telephony of Debian deliver to the archive; root, on a machine for tests
	@$(MAKE) programs PROGRAMS="$(REAL_PROGRAMS)"
	@$(PYTEST) -m real tests/system

.PHONY: static
static: .venv/dev.stamp
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo >.venv/imports.txt || { cat .venv/imports.txt; exit 1; }

.PHONY: format
format: .venv/dev.stamp ## Format the code, and mend what the linter can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

## Measure

.PHONY: bench
bench: .venv/dev.stamp ## Measure everything that docs/performance.md promises
	@exec $(BIN)/python -m bench

.PHONY: bench-long
bench-long: .venv/dev.stamp ## The measurements that take hours: ten million contacts
	@exec $(BIN)/python -m bench --long

## Keep

.PHONY: lock
lock: .venv/dev.stamp ## Lock the dependencies anew; LOCK=--upgrade takes the newest
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "make: a lock that suits every Python from 3.11 on is made with 3.11" >&2; exit 1; }
	@$(COMPILE) $(LOCK) --output-file requirements.lock pyproject.toml
	@$(COMPILE) $(LOCK) --extra s3 --constraint requirements.lock \
		--output-file requirements-s3.lock pyproject.toml
	@$(COMPILE) $(LOCK) --extra postgres --constraint requirements.lock \
		--output-file requirements-postgres.lock pyproject.toml
	@$(COMPILE) $(LOCK) --extra pkcs11 --constraint requirements.lock \
		--output-file requirements-pkcs11.lock pyproject.toml
	@$(COMPILE) $(LOCK) --extra dev --constraint requirements.lock \
		--output-file requirements-dev.lock pyproject.toml

.PHONY: sbom
sbom: .venv/run.stamp ## What is installed, as a CycloneDX bill of materials in sbom.json; LOCKS names the locks
	@$(BIN)/python tools/sbom.py $(or $(LOCKS),requirements.lock) >sbom.json
	@echo "sbom.json"

.PHONY: settings
settings: .venv/run.stamp ## Write config.toml anew from the settings
	@$(BIN)/python -m service.config >.venv/config.toml
	@cp .venv/config.toml config.toml

.PHONY: clean
clean: ## Remove what was built and installed; never data or keys
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find service storage tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || \
		{ echo "make: $(PYTHON) cannot make an environment; on Debian install python3-venv" >&2; rm -rf .venv; exit 1; }

# The command, for wherever one stands, and never with what lies there (-P). Installing the project itself would need a build tool that no lock holds.
.venv/bin/taltio: | .venv/bin/python
	@printf '#!/bin/sh\nPYTHONPATH="%s$${PYTHONPATH:+:$$PYTHONPATH}" exec "%s/python" -P -m service "$$@"\n' \
		"$(CURDIR)" "$(CURDIR)/$(BIN)" >$@
	@chmod +x $@

.venv/run.stamp: requirements.lock | .venv/bin/python .venv/bin/taltio
	@echo "make: installing what the service needs into .venv"
	@$(INSTALL) --requirement requirements.lock
	@touch $@

# What a sender's Node uses, for the tests alone: locked with hashes, and nothing of it runs while it is installed.
.venv/node.stamp: tests/tus/package-lock.json | programs .venv/bin/python
	@mkdir -p .venv/tus
	@cp tests/tus/package.json tests/tus/package-lock.json .venv/tus
	@cd .venv/tus && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

.venv/dev.stamp: requirements-dev.lock requirements.lock | .venv/bin/python .venv/bin/taltio
	@echo "make: installing what the service and its tests need into .venv"
	@$(INSTALL) --requirement requirements-dev.lock
	@touch .venv/run.stamp $@

# Only the tests need them. With root they are installed, without it they are named.
.PHONY: programs
programs:
	@missing=""; for program in $(PROGRAMS); do \
		command -v "$$program" >/dev/null || missing="$$missing $$program"; \
	done; \
	command -v initdb /usr/lib/postgresql/*/bin/initdb >/dev/null || missing="$$missing postgresql"; \
	command -v pg_dump /usr/lib/postgresql/*/bin/pg_dump >/dev/null || missing="$$missing postgresql-client"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		missing="$${missing/mkfs.ext4/e2fsprogs}"; missing="$${missing/softhsm2-util/softhsm2}"; \
		missing="$${missing/systemd-analyze/systemd}"; missing="$${missing/dovecot/dovecot-imapd}"; \
		missing="$${missing/ node/ nodejs}"; \
		missing="$${missing/sipp/sip-tester}"; missing="$${missing/rtpengine/rtpengine-daemon}"; missing="$${missing/ ip/ iproute2}"; \
		echo "make: installing$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get -qq update </dev/null >/dev/null; \
		apt-get -qq install -y --no-install-recommends $$missing </dev/null >/dev/null; \
	else \
		echo "make: the tests need these programs, please install:$$missing" >&2; exit 1; \
	fi
