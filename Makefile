# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Developer interface; `make` lists the targets.
#   CORE=2.18        another ansible-core than the newest release
#   ARGS="..."       more arguments for the tool: a unit test file, an integration target, ...

RUN = sh tests/tools/run.sh --core=$(CORE)

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 24

.PHONY: test
test: ## Run every check and test: lint, docs, licences, build, ansible-test
	@$(RUN) test

.PHONY: test-all
test-all: ## Run the same with every supported ansible-core and every Python at hand
	@$(RUN) test-all

.PHONY: sanity units integration coverage
sanity: ## Run ansible-test sanity
	@$(RUN) sanity $(ARGS)
units: ## Run ansible-test units
	@$(RUN) units $(ARGS)
integration: ## Run ansible-test integration
	@$(RUN) integration $(ARGS)
coverage: ## See how much of plugins/ units and integration targets reach
	@$(RUN) coverage

.PHONY: lint docs-check license-check extra-checks build-import-check ansible-lint execution-environment
lint: ## Run ruff, mypy and yamllint
	@$(RUN) checks antsibull-nox-config formatters codeqa yamllint typing
docs-check: ## Check the documentation with antsibull-docs
	@$(RUN) checks $@
license-check: ## Check that every file names its licence
	@$(RUN) checks $@
extra-checks: ## Check for unwanted files and for the action group
	@$(RUN) checks $@
build-import-check: ## Build the collection and import it as Galaxy does
	@$(RUN) checks $@
ansible-lint: ## Lint playbooks, roles and examples, by the profile for production
	@$(RUN) checks $@
execution-environment: ## Have ansible-builder make of the documentation what builds an image
	@$(RUN) checks $@

.PHONY: format
format: ## Format the code, and sort its imports
	@$(RUN) format

.PHONY: fuzz
fuzz: ## Run the tests that make up their input, for a night
	@$(RUN) fuzz $(ARGS)

.PHONY: demo
demo: ## Play playbooks/demo.yml against the emulator
	@$(RUN) demo

.PHONY: docs
docs: ## Build the site of the documentation into build/docs/html
	@$(RUN) docs

.PHONY: benchmark
benchmark: ## Print how long things take, against Ansible's own modules
	@$(RUN) benchmark $(ARGS)

.PHONY: clean
clean: ## Remove what these targets have made
	rm -rf .venv .nox .ruff_cache build
	find . -name __pycache__ -prune -exec rm -rf {} +
