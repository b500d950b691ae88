"""`worker dev`: run a local deployment until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Mapping

import aiohttp
import uvloop

from worker.errors import UnavailableError
from worker_tools.dev.deployment import LocalDeployment, WorkerExitError
from worker_tools.dev.web import Console
from worker_tools.dev.web.output_log import OutputLog

MODELS_TIMEOUT_S = 60.0
"""Seconds that the first request may take."""

USAGE = """
RunPod endpoint on this machine, {workers} ready:

  console     {page}
  base URL    {url}
  OpenAI URL  {openai_url}
  model       {model}

curl {openai_url}/chat/completions \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

curl {url}/runsync \\
  -H 'Content-Type: application/json' \\
  -d '{{"input": {{"prompt": "Hello", "sampling_params": {{"max_tokens": 20}}}}}}'

from openai import OpenAI

client = OpenAI(base_url="{openai_url}", api_key="local")
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "Hello"}}]
)
print(answer.choices[0].message.content)

Ctrl-C stops the endpoint and the worker.
"""


def run_dev(environ: Mapping[str, str], port: int, workers: int, rtt_ms: float) -> int:
    """Run a local endpoint with real workers until Ctrl-C or until a worker ends.

    Args:
        environ: Environment of the workers.
        port: TCP port on 127.0.0.1; 0 takes a free one.
        workers: How many worker processes to start.
        rtt_ms: Artificial round trip of every worker call, in milliseconds.

    Returns:
        Exit status for the command: 0 after Ctrl-C, else that of what failed.
    """
    log = OutputLog()

    def on_output(worker_id: str, line: str) -> None:
        print_output(worker_id, line)
        log.add(worker_id, line)

    deployment = LocalDeployment(
        environ=environ,
        port=port,
        workers=workers,
        rtt_ms=rtt_ms,
        on_output=on_output,
    )
    # As JSON, each line of the workers names its job.
    deployment.defaults = {**deployment.defaults, "WORKER_LOG_FORMAT": "json"}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(deployment, log))


async def serve(deployment: LocalDeployment, log: OutputLog) -> int:
    """Run `deployment` until a signal or until a worker ends; return the exit status.

    Args:
        deployment: The deployment, not started.
        log: Gets its output.
    """
    stopped = asyncio.Event()
    install_signals(stopped, deployment.kill)
    try:
        async with Console(deployment, log), deployment:
            stop = asyncio.create_task(stopped.wait())
            running = asyncio.create_task(run_until_exit(deployment))
            await asyncio.wait({stop, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                stop.cancel()
                return running.result()
            print_status("stopping; Ctrl-C again kills")
            running.cancel()
            await asyncio.wait({running})
    except UnavailableError as error:
        print_status(str(error))
        return error.exit_code
    except WorkerExitError as error:
        print_status(str(error))
        return error.status or 1
    return 0


async def run_until_exit(deployment: LocalDeployment) -> int:
    """Wait for the workers, print how to use them, and wait for one to end."""
    print_status(f"starting; the model is being loaded; console: {deployment.endpoint.page_url}")
    await deployment.wait_ready()
    usage = asyncio.create_task(show_usage(deployment))
    try:
        status = await deployment.wait()
    finally:
        usage.cancel()
    print_status(f"a worker ended with exit status {status}; see its output")
    return status or 1


async def show_usage(deployment: LocalDeployment) -> None:
    """Print how to use a deployment that is ready."""
    try:
        model = await fetch_model(deployment.endpoint.openai_url)
    except UnavailableError as error:
        print_status(str(error))
        model = "MODEL"
    count = len(deployment.processes)
    print_line(
        USAGE.format(
            workers="1 worker" if count == 1 else f"{count} workers",
            page=deployment.endpoint.page_url,
            url=deployment.endpoint.url,
            openai_url=deployment.endpoint.openai_url,
            model=model,
        )
    )


async def fetch_model(openai_url: str) -> str:
    """Return the name under which the deployment serves its model.

    Raises:
        UnavailableError: The endpoint does not return a list of models.
    """
    url = f"{openai_url}/models"
    timeout = aiohttp.ClientTimeout(total=MODELS_TIMEOUT_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            body = await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise UnavailableError(f"{url} returned no list of models: {error}") from error
    try:
        return str(body["data"][0]["id"])
    except (KeyError, IndexError, TypeError) as error:
        raise UnavailableError(f"{url} returned no list of models: {json.dumps(body)}") from error


def install_signals(stopped: asyncio.Event, kill: Callable[[], None]) -> None:
    """Set `stopped` at the first SIGINT or SIGTERM; kill the workers at each later one."""

    def on_signal() -> None:
        if stopped.is_set():
            kill()
        stopped.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal)


def print_output(worker_id: str, line: str) -> None:
    """Print one line of a worker's output; JSON log lines of the SDK as text."""
    print_line(f"{worker_id} | {format_line(line)}")


def format_line(line: str) -> str:
    """Format a log line of the SDK as text; return other lines unchanged."""
    if not line.startswith("{"):
        return line
    try:
        entry = json.loads(line)
        text = f"{entry['level']:<5} {entry['message']}"
    except (ValueError, KeyError, TypeError):
        return line
    return f"{text} [{entry['requestId']}]" if entry.get("requestId") else text


def print_status(text: str) -> None:
    """Print a status line of the command."""
    print_line(f"worker dev | {text}")


def print_line(text: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
