"""Collect the container's environment variables. Secrets are references to RunPod's secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from worker.errors import Problem
from worker.redaction import SECRET_NAME, SECRET_REFERENCE
from worker.settings.registry import OptionRegistry
from worker.settings.secrets import SECRETS_PAGE
from worker.sizing.target import is_model
from worker_tools.deploy.options import DeployOptions

ANCHOR = "deploy-command.md#secrets"

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET = re.compile(r"[A-Za-z0-9_-]+")

KEY_PREFIX = re.compile(
    r"(hf_|api_org_|sk-|sk_|rpa_|gh[opsur]_|github_pat_|glpat-|AKIA|ASIA|AIza|xox[abeprs]-|eyJ|nvapi-"
    r"|npm_|pypi-|dckr_pat_|gsk_|r8_|ya29\.|SG\.)"
)
"""Prefixes of keys that Hugging Face, OpenAI, RunPod, GitHub, clouds and others issue."""

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
ALPHANUMERICS = re.compile(r"[A-Za-z0-9]+")
MIN_KEY_LENGTH = 16
"""Consecutive letters and digits that an issued key has at least."""

MIN_RANDOM_LENGTH, MIN_RANDOM_CHANGES = 20, 4
MAX_WORD_LENGTH = 32
"""Longer sequences of letters and digits are random. Sequences of at least `MIN_RANDOM_LENGTH` are
random if they change between letters and digits `MIN_RANDOM_CHANGES` times."""


def secret_reference(secret: str) -> str:
    """Return the reference that RunPod replaces with the secret when a worker starts."""
    return f"{{{{ RUNPOD_SECRET_{secret} }}}}"


def is_reference(value: str) -> bool:
    """Return whether a value is a reference as RunPod writes it."""
    found = SECRET_REFERENCE.fullmatch(value)
    return found is not None and value == secret_reference(found[1])


def collect_variables(
    options: DeployOptions,
    environ: Mapping[str, str],
    registry: OptionRegistry,
    problems: list[Problem],
) -> dict[str, str]:
    """Return the environment variables that the command line sets in the container.

    Args:
        options: The command line.
        environ: The user's own environment, for `--env NAME`.
        registry: All settings; it marks the secret ones.
        problems: Problems are appended here. They never contain a secret.
    """
    variables: dict[str, str] = {}
    for name, value in _read_env(options.env or (), environ, problems):
        hidden = is_secret(name, registry) or is_issued_key(value)
        if hidden and value and not is_reference(value):
            problems.append(_plain_secret(name))
        else:
            variables[name] = value
    for name, secret in _read_secrets(options.secret or (), problems):
        variables[name] = secret_reference(secret)
    if options.profile is not None:
        name = "MODEL_NAME" if is_model(options.profile) else "PROFILE"
        if variables.get(name, options.profile) != options.profile:
            message = f"the argument is {options.profile}; give one of the two"
            problems.append(Problem(f"--env {name}", message, got=variables[name]))
        variables[name] = options.profile
    return variables


def is_secret(name: str, registry: OptionRegistry) -> bool:
    """Return whether a variable is secret: by its declaration, or else by its name."""
    option = registry.by_variable.get(name)
    return bool(SECRET_NAME.search(name.upper())) if option is None else option.secret


def is_issued_key(text: str) -> bool:
    """Return whether a text has the prefix and the length of a key that a service issues."""
    runs = (run for run in ALPHANUMERICS.findall(text) if len(run) >= MIN_KEY_LENGTH)
    # A word of that length has one case and no digit.
    return bool(KEY_PREFIX.match(text)) and any(
        not run.isalpha() or run not in (run.lower(), run.upper()) for run in runs
    )


def is_likely_key(text: str) -> bool:
    """Return whether a text is probably a key, not the name of one."""
    if is_issued_key(text) or UUID.fullmatch(text):
        return True
    for run in ALPHANUMERICS.findall(text):
        changes = sum(a.isdigit() != b.isdigit() for a, b in pairwise(run))
        if len(run) >= MAX_WORD_LENGTH or (
            len(run) >= MIN_RANDOM_LENGTH and changes >= MIN_RANDOM_CHANGES
        ):
            return True
    return False


def _read_env(
    given: Sequence[str], environ: Mapping[str, str], problems: list[Problem]
) -> Iterator[tuple[str, str]]:
    for item in given:
        name, assigned, value = item.partition("=")
        if is_likely_key(name):
            problems.append(_pasted_key("--env", "NAME=VALUE"))
        elif not NAME.fullmatch(name):
            # The message repeats neither side, because either may be a key.
            problems.append(Problem("--env", "not a valid variable name", expected="NAME=VALUE"))
        elif assigned:
            yield name, value
        elif name in environ:
            yield name, environ[name]
        else:
            message = "is not set in this shell"
            problems.append(Problem(f"--env {name}", message, expected=f"--env {name}=VALUE"))


def _read_secrets(given: Sequence[str], problems: list[Problem]) -> Iterator[tuple[str, str]]:
    for item in given:
        name, _, secret = item.partition("=")
        if is_likely_key(name) or not NAME.fullmatch(name):
            problems.append(_pasted_key("--secret", "NAME or NAME=SECRET"))
        elif is_likely_key(secret) or not SECRET.fullmatch(secret or name):
            problems.append(_pasted_key(f"--secret {name}", "NAME or NAME=SECRET"))
        else:
            yield name, secret or name


def _pasted_key(where: str, expected: str) -> Problem:
    """Return the problem of a key in place of a name, without the key."""
    return Problem(
        where,
        "takes the name of a variable and the name of a RunPod secret, not its value. If you gave "
        "a key, it is in your shell's history now. Replace the key and create a secret at "
        f"{SECRETS_PAGE}",
        expected=expected,
        anchor=ANCHOR,
    )


def _plain_secret(name: str) -> Problem:
    return Problem(
        f"--env {name}",
        "is a secret, and everyone with access to the endpoint could read it",
        expected=f"a RunPod secret: create it at {SECRETS_PAGE}, then --secret {name}=ITS_NAME",
        anchor=ANCHOR,
    )
