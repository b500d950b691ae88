# The two commands are `make run` and `make test`; each does its own set-up.

PYTHON ?= python3
BIN := .venv/bin
COVERAGE ?= # `make test COVERAGE=--cov`: coverage of the unit tests, with its floor
PROCESSES ?= $(shell expr $$(nproc) + 1)# of the unit tests; many of them wait for a process or a time limit
ENGINES ?= 2# end-to-end tests of so many modules, and so engines, at a time

# Some images set it: each process would then compile every module and rewrite every test again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install run dev test test-contract test-browser test-faults test-clients image-test browser screenshots vendor lint docs audit fix render lock clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 14

install: ## .venv with the `worker` command and its tools, from the lock; instant when nothing has changed
	@$(PYTHON) scripts/environment.py

run: install ## Ask a small model a question through the whole worker, on this machine
	@$(BIN)/worker demo

dev: install ## A local RunPod endpoint that stays up, with the demo model or MODEL_NAME=...
	@$(BIN)/worker dev

test: install ## Unit tests on every core, then the tests end to end with a real vLLM
	$(BIN)/pytest -m "not (e2e or contract or browser)" --ignore=tests/e2e -n $(PROCESSES) --dist worksteal --durations=10 $(COVERAGE)
	$(BIN)/pytest -m "e2e and not (contract or browser or faults)" -n $(ENGINES) --dist loadfile --durations=10

test-contract: install ## What the worker assumes about the installed vLLM: options, functions, messages, values
	$(BIN)/pytest -m contract -n $(ENGINES) --dist loadfile --durations=10

test-browser: browser ## Pages in Chromium: the console, the report of `worker tune`, other origins
	$(BIN)/pytest -m browser -n $(ENGINES) --dist loadfile --durations=10

test-faults: install ## The longest end-to-end tests: hangs, overload, killed processes, broken models and downloads
	$(BIN)/pytest -m faults --durations=10

test-clients: install ## Clients that users have, from LangChain to GuideLLM, against one worker
	@$(BIN)/python scripts/clients.py test

browser: install ## Chromium, for the tests with pages in a browser
	@$(BIN)/python scripts/browser.py

screenshots: install ## The pictures of the console page in docs/images, by its own tests
	SCREENSHOTS=docs/images $(BIN)/pytest -m browser tests/e2e/test_console_page.py tests/e2e/test_console_browser.py

vendor: install ## The newest front-end files of the console page, pinned again
	@$(BIN)/python scripts/vendor.py --update

image-test: install ## The image, built with buildah and run; skipped without buildah
	$(BIN)/pytest tests/image --timeout=900 --durations=10

lint: install ## Everything that must hold without running a test; changes nothing
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_prose.py tests/test_mirror.py tests/test_project.py
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/python scripts/lint_bake.py
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/zizmor --offline --quiet --strict-collection .github/workflows

docs: install ## The documentation site in site/; fails on a broken link
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

audit: ## Known vulnerabilities of the locked packages; skipped without advisories
	@$(PYTHON) scripts/audit.py

fix: install ## What ruff can put right by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

render: install ## Write all generated files
	$(BIN)/worker render

lock: ## Resolve requirements/*.lock from pyproject.toml
	@$(PYTHON) scripts/lock.py

clean: ## Remove .venv and every cache in this directory (the demo model stays, in ~/.cache)
	rm -rf .venv .venv-clients .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
