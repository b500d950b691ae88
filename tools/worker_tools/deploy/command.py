"""`worker deploy`: shows the endpoint of a command line, and creates it with `--execute`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console

from worker.console import open_console, print_json, problem_data, report_problems
from worker.errors import ConfigurationError, ExitCode, Problem, UnavailableError, WorkerError
from worker.profile import PROFILES
from worker.redaction import Redactor
from worker_tools.deploy.address import console_url
from worker_tools.deploy.api import (
    TIMEOUT_S,
    AmbiguousResponseError,
    ApiRejectedError,
    Endpoint,
    EndpointsClient,
)
from worker_tools.deploy.options import DeployOptions
from worker_tools.deploy.plan import Deployment, plan_deployment
from worker_tools.deploy.report import (
    deployment_data,
    endpoint_data,
    print_deployment,
    print_dry_run,
    print_endpoint,
)
from worker_tools.deploy.request import BASE_URL_VARIABLE, endpoint_body, endpoints_url
from worker_tools.runpod_api import KEY_VARIABLE, KEYS_PAGE, LOOPBACK, is_valid_key, read_key


def run_deploy(
    environ: Mapping[str, str],
    options: DeployOptions,
    *,
    console: Console | None = None,
    profiles: Path = PROFILES,
    timeout_s: float = TIMEOUT_S,
) -> int:
    """Print the requested endpoint, and create it with `--execute`.

    Args:
        environ: The user's environment: the key, and what `--env NAME` names.
        options: The command line.
        console: Where to print; None is stdout.
        profiles: The built-in profiles.
        timeout_s: Maximum time for one request to RunPod, seconds.

    Returns:
        Exit status: 2 with all problems; 1 if RunPod rejects the request, 5 if it is unreachable.
    """
    out = console or open_console()
    problems = list(_check_access(environ)) if options.execute else []
    try:
        deployment = plan_deployment(options, environ, profiles)
    except ConfigurationError as error:
        problems += error.problems
    if problems:
        _print_problems(problems, options, out)
        return ExitCode.CONFIGURATION
    if not options.as_json:
        print_deployment(deployment, out)
    if not options.execute:
        if options.as_json:
            print_json(out, deployment_data(deployment, environ))
        else:
            print_dry_run(out)
        return ExitCode.OK
    return _execute(deployment, environ, out, timeout_s)


def _execute(
    deployment: Deployment, environ: Mapping[str, str], out: Console, timeout_s: float
) -> int:
    key, as_json = read_key(environ), deployment.options.as_json
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
    """Create the endpoint unless one of the same name exists.

    Raises:
        WorkerError: The message says what exists now and what to do.
    """
    async with EndpointsClient(url, key, timeout_s) as api:
        found = await api.find(deployment.name)
        if found is not None:
            raise ApiRejectedError(
                f"an endpoint named {found.name} exists already: {found.id}, "
                f"{console_url(found.id)}. Nothing was changed. Give the new one another --name, "
                "or edit or delete that one in the console"
            )
        try:
            return await api.create(endpoint_body(deployment))
        except AmbiguousResponseError as error:
            return await _find_created(api, deployment.name, error)


async def _find_created(api: EndpointsClient, name: str, error: AmbiguousResponseError) -> Endpoint:
    """Return the endpoint if it was created although the response is lost."""
    again = "Run the command again; it never creates a second endpoint of the same name"
    try:
        found = await api.find(name)
    except WorkerError:
        message = f"{error}. It is not known whether the endpoint {name} exists now. {again}"
        raise UnavailableError(message) from None
    if found is None:
        raise UnavailableError(f"{error}. No endpoint {name} was found. {again}") from None
    return found


def _check_access(environ: Mapping[str, str]) -> Iterator[Problem]:
    key = read_key(environ)
    if not key:
        yield Problem(
            KEY_VARIABLE, "is not set; --execute needs it", expected=f"a key from {KEYS_PAGE}"
        )
    elif not is_valid_key(key):
        yield Problem(KEY_VARIABLE, "has characters that a key cannot contain; copy it again")
    url = urlsplit(endpoints_url(environ))
    if url.scheme != "https" and url.hostname not in LOOPBACK:
        # The key is sent there.
        yield Problem(BASE_URL_VARIABLE, "is not encrypted", expected="https://…")


def _print_problems(problems: list[Problem], options: DeployOptions, out: Console) -> None:
    ordered = sorted(problems, key=lambda problem: problem.where)
    if options.as_json:
        print_json(out, {"ok": False, "problems": [problem_data(item) for item in ordered]})
    else:
        report_problems(ordered, console=out, consequence="nothing was created")
