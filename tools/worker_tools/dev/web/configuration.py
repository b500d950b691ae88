"""The settings as `worker check` shows them, the form of RunPod's console, and what changes do."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from worker.check import describe_settings
from worker.console import problem_data
from worker.errors import ConfigurationError
from worker.redaction import REDACTED, SECRET_NAME, Redactor
from worker.settings.load import load_settings
from worker.settings.registry import Option, OptionRegistry, load_registry
from worker.settings.secrets import secret_values
from worker.sizing.requirement import check_capacity
from worker_tools.deploy.variables import secret_reference
from worker_tools.dev.reply import ApiError
from worker_tools.render.console import hub

MAX_VALUE_LENGTH = 100_000
"""Characters of one value."""

IMAGE = "you/runpod-vllm-worker:1.0"
PLAIN = re.compile(r"[\w./:@%+,-]*")
"""Values that need no quotes in a `.env` file."""

Changes = dict[str, str | None]
"""New values of variables; None removes one."""


def parse_changes(body: Mapping[str, Any]) -> Changes:
    """Read the changes that a page sends.

    Raises:
        ApiError: 400, one of them is not a setting, or not text.
    """
    changes = body.get("changes")
    if not isinstance(changes, dict):
        raise ApiError(400, 'the body has to be {"changes": {NAME: VALUE}}')
    known = load_registry().by_variable
    for name, value in changes.items():
        if name not in known:
            raise ApiError(400, f"{name[:100]!r} is not a setting; the page changes settings only")
        if value is not None and not isinstance(value, str):
            raise ApiError(400, f"{name}: the value of a variable is text, or null")
        if value is not None and (len(value) > MAX_VALUE_LENGTH or "\0" in value):
            raise ApiError(400, f"{name}: the value is too long, or has a null character")
    return changes


def apply_changes(environ: Mapping[str, str], changes: Changes) -> dict[str, str]:
    """Return the environment with changes applied; an alias of a changed setting is removed."""
    registry = load_registry()
    changed = {registry.by_variable[name].name for name in changes}
    kept = {
        name: value
        for name, value in environ.items()
        if name not in registry.by_variable or registry.by_variable[name].name not in changed
    }
    return kept | {name: value for name, value in changes.items() if value is not None}


def check(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return what `worker check --json` prints, and the environment as lines to copy."""
    lines = write_lines(environ, load_registry())
    try:
        settings = load_settings(environ)
    except ConfigurationError as error:
        problems = [problem_data(problem) for problem in error.problems]
        return {"ok": False, "problems": problems, "lines": lines}
    warnings = (*settings.warnings, *check_capacity(settings))
    return {**describe_settings(settings, warnings), "problems": [], "lines": lines}


def describe_form(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the form of RunPod's console with the present values; secrets are hidden."""
    registry = load_registry()
    redact = Redactor(secret_values((), environ))
    form = hub(registry)["config"]
    return {
        "presets": form["presets"],
        "fields": [
            {
                "name": entry["key"],
                **{key: value for key, value in entry["input"].items() if key != "name"},
                "title": entry["input"]["name"],
                **_present(registry.by_variable[entry["key"]], environ, redact),
            }
            for entry in form["env"]
        ],
    }


def _present(option: Option, environ: Mapping[str, str], redact: Redactor) -> dict[str, Any]:
    name = next((name for name in (option.name, *option.aliases) if name in environ), None)
    value = None if name is None else environ[name]
    if option.secret:
        value = REDACTED if value else None
    return {
        "value": None if value is None else redact(value),
        "secret": option.secret,
        "docs": f"docs/{option.anchor}",
    }


def write_lines(environ: Mapping[str, str], registry: OptionRegistry) -> dict[str, str]:
    """Return the settings of an environment in the forms in which they are set elsewhere.

    A secret is a reference to the user's own variable or to RunPod's secret, never its value.
    """
    redact = Redactor(secret_values((), environ))
    given = {name: value for name, value in environ.items() if name in registry.by_variable}
    secret = [name for name in given if is_secret(name, registry)]
    plain = {name: redact(given[name]) for name in given if name not in secret}
    docker = [f"-e {shlex.quote(f'{name}={value}')}" for name, value in plain.items()]
    deploy = [f"--env {shlex.quote(f'{name}={value}')}" for name, value in plain.items()]
    references = {name: secret_reference(name) for name in secret}
    return {
        "console": "\n".join(
            f"{name}={quote_env(value)}" for name, value in (plain | references).items()
        ),
        "env": "\n".join(
            [f"{name}={quote_env(value)}" for name, value in plain.items()]
            + [f"{name}=" for name in secret]
        ),
        "docker": _command("docker run --gpus all", [*docker, *(f"-e {n}" for n in secret), IMAGE]),
        "deploy": _command(
            f"worker deploy --image {IMAGE}", [*deploy, *(f"--secret {n}" for n in secret)]
        ),
    }


def is_secret(name: str, registry: OptionRegistry) -> bool:
    """Return whether the value of a variable is hidden."""
    return registry.by_variable[name].secret or bool(SECRET_NAME.search(name))


def quote_env(value: str) -> str:
    """Return a value as a `.env` file has it."""
    return value if PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _command(command: str, arguments: list[str]) -> str:
    return " \\\n  ".join([command, *arguments])
