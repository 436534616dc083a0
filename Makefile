# Copyright (c) 2026 The wuying.workspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Developer interface; `make` lists the targets.
#   CORE=2.18        use another ansible-core than the newest release
#   ARGS="..."       pass arguments to the tool: a unit test, an integration target, ...

TARGETS = $(shell sed -n 's/^\([a-z-]*\):.*\#\#.*/\1/p' Makefile)
.PHONY: $(TARGETS)

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 24

test: ## Run all checks and tests with the newest ansible-core
ci: ## Run test, and what differs with the oldest ansible-core and the oldest Python
test-all: ## Run all checks and tests with every supported ansible-core and every available Python

units: ## Run unit tests: ARGS=FILE, ARGS=FILE::TEST, ARGS="-k EXPRESSION", or all
integration: ## Run integration targets: ARGS=TARGET, or all
sanity: ## Run the sanity tests of ansible-test
coverage: ## Measure how much of plugins/ the tests execute

lint: ## Run ruff, mypy, yamllint, bandit and zizmor
docs-check: ## Check the documentation with antsibull-docs
license-check: ## Check that every file names its license
extra-checks: ## Check for unwanted files and check the action group
build-import-check: ## Build the collection and import it as Galaxy does
ansible-lint: ## Lint playbooks, roles and examples with the production profile
execution-environment: ## Check the execution environment in the documentation with ansible-builder

format: ## Format the code and sort its imports
redis-versions: ## Run the unit tests of the Redis store with each version of its library
fuzz: ## Run the tests that generate their input, for a night
demo: ## Run playbooks/demo.yml against the emulator
docs: ## Build the documentation site into build/docs/html
benchmark: ## Print how long tasks take, compared with Ansible's own modules

clean: ## Remove everything that these targets create
	rm -rf .nox .ruff_cache build
	find . -name __pycache__ -prune -exec rm -rf {} +

$(filter-out help clean,$(TARGETS)):
	@sh tests/tools/run.sh "$(CORE)" $@ $(ARGS)
