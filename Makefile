# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Developer interface; `make` lists the targets.

TARGETS = $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' Makefile)
.PHONY: help $(TARGETS)

help:
	@echo 'make TARGET [ARGS="..."] [CORE=2.18]'
	@echo 'CORE selects another ansible-core than the newest release, except in test, ci and test-all.'
	@awk -F ': *## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]*:.*## / {printf "  %-23s%s\n", $$1, $$2}' Makefile

##@ Try it
demo: ## Run the demo against an emulator of the service

##@ Test everything
ci: ## Run test, and what differs with the oldest versions
test: ## Run all checks and tests with the newest ansible-core
test-all: ## Run all tests with every ansible-core and Python

##@ Test something
units: ## Run unit tests: all, ARGS=FILE, FILE::TEST or "-k WORD"
integration: ## Run integration targets: all, or ARGS=TARGET
sanity: ## Run the sanity tests of ansible-test
coverage: ## Measure how much of plugins/ the tests execute
redis-versions: ## Run the tests of the Redis store with each redis-py
fuzz: ## Run the tests with random input, for a night

##@ Check
format: ## Format the code and sort its imports
lint: ## Run ruff, mypy, yamllint, bandit and zizmor
ansible-lint: ## Lint playbooks, roles and examples
docs-check: ## Check the documentation with antsibull-docs
license-check: ## Check that every file names its license
extra-checks: ## Check for unwanted files and check the action group
build-import-check: ## Build the collection and import it as Galaxy does
execution-environment: ## Check the execution environment of the AWX guide

##@ Build
docs: ## Build the documentation site into build/docs/html
benchmark: ## Measure the speed
simulation: ## Find how many controllers a fleet needs: ARGS="--sessions N"
clean: ## Remove everything that these targets create
	rm -rf .nox .ruff_cache .hypothesis build
	find . -name __pycache__ -prune -exec rm -rf {} +

$(filter-out help clean,$(TARGETS)):
	@sh tests/tools/run.sh "$(CORE)" $@ $(ARGS)
