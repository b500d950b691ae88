"""The engine process: start vLLM's own API server. The worker's only module that imports vLLM.

Run as `python -m worker.engine.child [--configure] PARENT_PID REPORT_FD [vLLM arguments]`; with
`--configure` it builds vLLM's configuration and ends. Each phase of the
start is one JSON line on the file descriptor REPORT_FD, as is the reason for a failed start. What
vLLM prints goes to stdout and stderr as ever.

Of vLLM it uses `make_arg_parser`, `validate_parsed_serve_args`, `ServeSubcommand.cmd`,
`enable_envs_cache`, `USE_SCHED_YIELD`, the registry of media connectors and the signature of
`AsyncEngineArgs.create_engine_config`; `tests/e2e/test_vllm_contract.py` fails with the reason when
one of them changes. To start sooner it also replaces, where it is there, how vLLM's registry
inspects a model's class.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from worker import content, gc_tuning
from worker.engine import heartbeat, media
from worker.engine.amx import permit_amx
from worker.engine.forked import ForkError, run_in_fork
from worker.engine.parent_death import die_with_parent, set_pdeathsig_on_fork

CONFIGURE = "--configure"
"""First argument that asks for the configuration alone."""

LONGEST_MESSAGE = 10_000
"""Characters of an exception's message that are reported."""

GRAMMAR_LOGGERS = ("vllm.v1.structured_output", "vllm.v1.core")
"""Parts of the engine that log tokens, grammars and ids of requests."""

REQUEST_LOGGERS = (
    "vllm.entrypoints.serve.utils.request_logger",
    "vllm.entrypoints.serve.middleware.log_response",
)
"""What logs requests because an option asks for it."""

SETTLED = "worker.engine.child.Settled"
"""How vLLM imports the class; this module runs under another name."""


class Reporter:
    """Tells the worker how far the start is, one JSON object per line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, **message: Any) -> None:
        """Write one message; a worker that is gone is not an error (the kernel ends us then)."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")

    def phase(self, name: str) -> None:
        """Report that the phase called `name` begins."""
        self.send(phase=name)


def fork_is_safe() -> bool:
    """Return whether vLLM's processes may be forked from this one instead of imported anew.

    A fork saves each of them a second import of vLLM, about 10 s. It is safe until an accelerator's
    runtime is initialised in this process, and only on Linux. vLLM's CPU platform asks for `spawn`
    whatever the case; there, forking is safe while this process has run no OpenMP region, and
    nothing before the engine's start does.
    """
    from vllm.platforms import current_platform

    return sys.platform == "linux" and bool(current_platform.is_cpu())


def fork_engine_processes(create_engine_config: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap `AsyncEngineArgs.create_engine_config`: afterwards, vLLM forks where that is safe.

    The configuration of vLLM's CPU platform sets `spawn` itself, so the choice must be made after
    it and before the first process starts, and vLLM has no public place for that.
    """

    @functools.wraps(create_engine_config)
    def create(*args: Any, **kwargs: Any) -> Any:
        chosen = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD")
        config = create_engine_config(*args, **kwargs)
        if chosen is None and fork_is_safe():
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
        elif chosen is not None:
            os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = chosen
        return config

    return create


def sleep_while_polling() -> None:
    """Let vLLM's processes sleep for a moment between two looks, where they share the cores.

    On CPU the scheduler's process and the computing one hand work to each other through shared
    memory; whichever waits calls `sched_yield` without end. Linux since 6.18 (and 6.12.63) takes
    the rest of its turn from who yields, by which the order of all others on that core is lost:
    processes that had something to do waited for it up to 0.6 s, vLLM's server and this worker
    among them. With vLLM's own other way to wait, for a Python without a good `sched_yield`, it is
    3 ms, and the engine is as fast. On a GPU one process does both, or there are cores for each.
    """
    from vllm.distributed import utils
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        utils.USE_SCHED_YIELD = False


def fork_api_servers() -> None:
    """Let vLLM fork its API servers from this process where it would fork its engine too.

    vLLM always spawns them, and each imports vLLM again: four took 21 to 28 s of CPU beside the
    engine's own start, and share no memory with each other. The copies made here share everything
    that was imported, because the objects of this process are frozen first.
    """
    from prometheus_client import values
    from vllm.v1 import utils

    def choose_context(method: str | None = None) -> Any:
        if not fork_is_chosen():
            return multiprocessing.get_context(method)
        # vLLM has set the folder that its servers share for their metrics by now. A new process
        # would see it while it imports the library; this one imported it before.
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
        gc.freeze()
        return multiprocessing.get_context("fork")

    names = {**vars(multiprocessing), "get_context": choose_context}
    utils.multiprocessing = types.SimpleNamespace(**names)


def key_startup_plan(arguments: Sequence[str]) -> None:
    """Let vLLM reuse a measured size of the KV cache only for the same arguments.

    Its own key leaves out what the size depends on most: with a plan from
    `--gpu-memory-utilization 0.95`, a start with 0.47 took 57.5 GiB for the cache.
    """
    from vllm.v1.worker import startup_plan

    kept = list(arguments)
    if "--uds" in kept:  # Another one for each start.
        at = kept.index("--uds")
        del kept[at : at + 2]
    compute = startup_plan.compute_plan_fingerprint

    @functools.wraps(compute)
    def compute_with_arguments(*args: Any, **kwargs: Any) -> str:
        text = json.dumps([compute(*args, **kwargs), kept])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    startup_plan.compute_plan_fingerprint = compute_with_arguments


def fork_is_chosen() -> bool:
    """Return whether vLLM's next process may be forked: nobody asked for `spawn`, no CUDA yet."""
    torch = sys.modules["torch"]
    method = os.environ.get("VLLM_WORKER_MULTIPROC_METHOD", "fork")
    return sys.platform == "linux" and method == "fork" and not torch.cuda.is_initialized()


def inspect_models_in_a_fork() -> None:
    """Let vLLM look at the model's class in a fork, not in a process that imports vLLM anew.

    It does so at the first start on a disk, before it has a cache of what it saw. vLLM wants
    another process only so that this one does not initialise CUDA; where CUDA is not initialised,
    a fork does as well, as vLLM's own engine processes show. Should it fail, vLLM's way is taken.
    """
    from vllm.model_executor.models import registry
    from vllm.platforms import current_platform

    by_import = getattr(registry, "_run_in_subprocess", None)
    if by_import is None or sys.platform != "linux":
        return

    def inspect(work: Callable[[], Any]) -> Any:
        torch = sys.modules["torch"]
        if current_platform.is_cpu() or not torch.cuda.is_initialized():
            with contextlib.suppress(ForkError):
                return run_in_fork(work)
        return by_import(work)

    registry._run_in_subprocess = inspect


def register_media_connectors() -> None:
    """Register the ways to fetch media among which `VLLM_MEDIA_CONNECTOR` chooses."""
    from vllm.connections import HTTPConnection
    from vllm.exceptions import VLLMValidationError
    from vllm.multimodal.media import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class PublicConnection(HTTPConnection):  # type: ignore[misc]
        session: Any = None

        async def get_async_client(self) -> Any:
            if self.session is None:
                self.session = media.open_public_session(VLLMValidationError)
            return self.session

        def get_sync_client(self) -> Any:
            raise VLLMValidationError("vLLM's server fetches media asynchronously only.")

    connection = PublicConnection()

    class AnyConnector(MediaConnector):  # type: ignore[misc]
        async def load_from_url_async(self, url: str, media_io: Any, **options: Any) -> Any:
            # vLLM itself answers with a failure of the server.
            if url[:5].lower() == "file:" and self.allowed_local_media_path is None:
                raise VLLMValidationError(media.NO_LOCAL_FILES)
            return await super().load_from_url_async(url, media_io, **options)

    class PublicConnector(AnyConnector):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "connection": connection})

    MEDIA_CONNECTOR_REGISTRY.register(media.ANY)(AnyConnector)
    MEDIA_CONNECTOR_REGISTRY.register(media.PUBLIC)(PublicConnector)


def hide_requests_in_dumps() -> None:
    """Let vLLM's dump of a step that failed have the sizes of its requests, not their content.

    By itself it leaves out prompts and repeats everything else: stop strings, bad words, structured
    outputs, extra arguments and ids.
    """
    from vllm.logging_utils import dump_input

    dump_input.prepare_object_to_dump = content.describe_shape


class Settled:
    """Middleware that is none: it settles an API server that is about to serve.

    vLLM looks at environment variables for each request and at each step, an eighth of its server's
    CPU time when many streams run. Its engine remembers them once it is initialised, its API server
    does not; nor does it spare collections of garbage. Middleware is made in each API server, in
    spawned ones too, after all processes have been started with the environment that they need, and
    in the event loop whose heartbeat begins here.
    """

    def __new__(cls, app: Any) -> Any:
        """Return the application itself, so that requests pass through nothing more."""
        from vllm.envs import enable_envs_cache

        enable_envs_cache()
        gc_tuning.freeze_gc()
        # From now on nearly all that this process logs is about requests.
        content.hide_from([""], shown=REQUEST_LOGGERS)
        heartbeat.begin(Path(os.environ[heartbeat.FOLDER]))
        return app


def load_cli_args() -> Any:
    """Return vLLM's module for the command line of `vllm serve`, which vLLM 0.33 moved."""
    try:
        import vllm.entrypoints.common.cli_args as cli_args  # 0.33
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("vllm.entrypoints.common"):
            raise
        import vllm.entrypoints.launchers.cli_args as cli_args  # 0.32
    return cli_args


def parse(arguments: Sequence[str], report: Reporter) -> Any:
    """Import vLLM and return its own parsed and validated arguments."""
    report.phase("import")
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_args = load_cli_args()
    report.phase("configure")
    parser = cli_args.make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    parsed = parser.parse_args(list(arguments))
    configure_logging_from_args(parsed)
    cli_args.validate_parsed_serve_args(parsed)
    return parsed


def configure(arguments: Sequence[str], report: Reporter) -> None:
    """Build vLLM's whole configuration for the model, as a start does, and load nothing."""
    parsed = parse(arguments, report)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.reasoning import ReasoningParserManager
    from vllm.tool_parsers import ToolParserManager

    if parsed.tool_parser_plugin:
        ToolParserManager.import_tool_parser(parsed.tool_parser_plugin)
    if parsed.reasoning_parser_plugin:
        ReasoningParserManager.import_reasoning_parser(parsed.reasoning_parser_plugin)
    if parsed.enable_auto_tool_choice:
        ToolParserManager.get_tool_parser(parsed.tool_call_parser)
    if parsed.reasoning_parser:
        ReasoningParserManager.get_reasoning_parser(parsed.reasoning_parser)
    inspect_models_in_a_fork()
    AsyncEngineArgs.from_cli_args(parsed).create_engine_config()
    report.phase("configured")


def serve(arguments: Sequence[str], report: Reporter) -> None:
    """Start vLLM's API server with `arguments` and stay until it ends."""
    parsed = parse(arguments, report)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.cli.serve import ServeSubcommand

    parsed.middleware = [*parsed.middleware, SETTLED]

    register_media_connectors()
    sleep_while_polling()
    hide_requests_in_dumps()
    content.hide_from(GRAMMAR_LOGGERS)
    fork_api_servers()
    key_startup_plan(arguments)
    inspect_models_in_a_fork()
    create_engine_config = fork_engine_processes(AsyncEngineArgs.create_engine_config)

    def configure_then_load(*args: Any, **kwargs: Any) -> Any:
        config = create_engine_config(*args, **kwargs)
        report.phase("load")
        return config

    AsyncEngineArgs.create_engine_config = configure_then_load
    ServeSubcommand.cmd(parsed)


def main() -> None:
    """Read the command line, tie this process to the worker, serve, report a failure."""
    work = configure if sys.argv[1] == CONFIGURE else serve
    parent_pid, descriptor, *arguments = sys.argv[1 + (work is configure) :]
    die_with_parent(int(parent_pid))
    set_pdeathsig_on_fork()
    permit_amx()
    os.set_inheritable(int(descriptor), False)
    report = Reporter(int(descriptor))
    try:
        work(arguments, report)
    except SystemExit as error:
        if error.code not in (None, 0):
            report.send(error="SystemExit", message=f"vLLM refused its arguments ({error.code})")
        raise
    except BaseException as error:
        report.send(error=type(error).__name__, message=str(error)[:LONGEST_MESSAGE])
        raise


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # Where vLLM spawns instead of forking, Python imports this module again in the new process, the
    # one chance to prepare that process as the forked ones are. It may be an API server.
    die_with_parent()
    permit_amx()
    register_media_connectors()
    sleep_while_polling()
    hide_requests_in_dumps()
    content.hide_from(GRAMMAR_LOGGERS)
    key_startup_plan(sys.argv[3:])
