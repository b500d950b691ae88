"""`worker deploy`: shows the endpoint that a command line asks for, and creates it on request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from worker.console import open_console, print_json, problem_data, report_problems
from worker.deploy.address import console_url
from worker.deploy.api import KEYS_PAGE, TIMEOUT_S, Api, Endpoint, RefusedError, UnclearError
from worker.deploy.derivation import Deployment, derive
from worker.deploy.report import (
    deployment_data,
    endpoint_data,
    print_deployment,
    print_dry_run,
    print_endpoint,
)
from worker.deploy.request import BASE_URL_VARIABLE, endpoint_body, endpoints_url
from worker.deploy.wishes import Wishes
from worker.errors import ConfigurationError, ExitCode, Problem, UnavailableError, WorkerError
from worker.profile import PROFILES
from worker.redaction import Redactor

KEY = "RUNPOD_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run_deploy(
    environ: Mapping[str, str],
    wishes: Wishes,
    *,
    console: Console | None = None,
    profiles: Path = PROFILES,
    timeout_s: float = TIMEOUT_S,
) -> int:
    """Print the endpoint that is asked for, and create it if that is asked for too.

    Args:
        environ: The user's environment: the key, and what `--env NAME` names.
        wishes: The command line.
        console: Where to print; None is stdout.
        profiles: The built-in profiles.
        timeout_s: Longest time for one request to RunPod, seconds.

    Returns:
        Exit status: 2 with all problems; 1 when RunPod refuses, 5 when it cannot be reached.
    """
    out = console or open_console()
    problems = list(_check_access(environ)) if wishes.execute else []
    try:
        deployment = derive(wishes, environ, profiles)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        _print_problems(problems, wishes, out)
        return ExitCode.CONFIGURATION
    if not wishes.as_json:
        print_deployment(deployment, out)
    if not wishes.execute:
        if wishes.as_json:
            print_json(out, deployment_data(deployment, environ))
        else:
            print_dry_run(out)
        return ExitCode.OK
    return _execute(deployment, environ, out, timeout_s)


def _execute(
    deployment: Deployment, environ: Mapping[str, str], out: Console, timeout_s: float
) -> int:
    key, as_json = environ[KEY].strip(), deployment.wishes.as_json
    data = deployment_data(deployment, environ)
    try:
        endpoint = asyncio.run(_create(deployment, endpoints_url(environ), key, timeout_s))
    except WorkerError as error:
        message = Redactor([key])(str(error))
        if as_json:
            print_json(out, {**data, "ok": False, "error": message})
        else:
            out.print(f"\nworker deploy: {message}", markup=False, soft_wrap=True)
        return error.exit_code
    if as_json:
        print_json(out, {**data, "endpoint": endpoint_data(deployment, endpoint)})
    else:
        print_endpoint(deployment, endpoint, out)
    return ExitCode.OK


async def _create(deployment: Deployment, url: str, key: str, timeout_s: float) -> Endpoint:
    """Create the endpoint unless there is one of its name, and say what became of it.

    Raises:
        WorkerError: With what exists now, and what to do about it.
    """
    async with Api(url, key, timeout_s) as api:
        found = await api.find(deployment.name)
        if found is not None:
            raise RefusedError(
                f"an endpoint named {found.name} exists already: {found.id}, "
                f"{console_url(found.id)}. Nothing was changed. Give the new one another --name, "
                "or edit or delete that one in the console"
            )
        try:
            return await api.create(endpoint_body(deployment))
        except UnclearError as unclear:
            return await _look_again(api, deployment.name, unclear)


async def _look_again(api: Api, name: str, unclear: UnclearError) -> Endpoint:
    """Return the endpoint if the request was carried out although its answer is lost."""
    again = "Run the command again: it never makes a second endpoint of one name"
    try:
        found = await api.find(name)
    except WorkerError:
        message = f"{unclear}. Whether the endpoint {name} exists now is not known. {again}"
        raise UnavailableError(message) from None
    if found is None:
        raise UnavailableError(f"{unclear}. No endpoint {name} is to be seen. {again}") from None
    return found


def _check_access(environ: Mapping[str, str]) -> Iterator[Problem]:
    key = environ.get(KEY, "").strip()
    if not key:
        yield Problem(KEY, "is not set; --execute needs it", expected=f"a key from {KEYS_PAGE}")
    elif not re.fullmatch(r"[\x21-\x7e]+", key):
        yield Problem(KEY, "has characters that no key has; copy it again")
    url = urlsplit(endpoints_url(environ))
    if url.scheme != "https" and url.hostname not in LOOPBACK:
        # The key travels there.
        yield Problem(BASE_URL_VARIABLE, "is not encrypted", expected="https://…")


def _print_problems(problems: list[Problem], wishes: Wishes, out: Console) -> None:
    ordered = sorted(problems, key=lambda problem: problem.where)
    if wishes.as_json:
        print_json(out, {"ok": False, "problems": [problem_data(item) for item in ordered]})
    else:
        report_problems(ordered, console=out, consequence="nothing was created")
