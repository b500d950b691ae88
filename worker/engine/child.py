"""The engine process: start vLLM's own API server. The worker's only module that imports vLLM.

Run as `python -m worker.engine.child [--configure] PARENT_PID REPORT_FD [vLLM arguments]`; with
`--configure` it builds vLLM's configuration and ends. It writes each phase of the start, and the
reason for a failed start, as one JSON line to the file descriptor REPORT_FD. vLLM's own output
goes to stdout and stderr.

Of vLLM it uses `make_arg_parser`, `validate_parsed_serve_args`, `ServeSubcommand.cmd`,
`enable_envs_cache`, `USE_SCHED_YIELD`, the registry of media connectors and the signature of
`AsyncEngineArgs.create_engine_config`; `tests/e2e/test_vllm_contract.py` fails with the reason when
one of them changes. To start sooner it also replaces the function with which vLLM's registry
inspects a model's class, if vLLM has it.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worker import content, gc_tuning
from worker.engine import (
    adapter_patches,
    adapters,
    event_delay,
    forking,
    heartbeat,
    idle_shutdown,
    media,
    startup_patches,
    vllm_import,
)
from worker.engine.amx import permit_amx
from worker.engine.parent_death import die_with_parent, set_pdeathsig_on_fork

CONFIGURE = "--configure"
"""First argument to build the configuration only."""

MAX_MESSAGE_CHARS = 10_000
"""Characters of an exception's message that are reported."""

GRAMMAR_LOGGERS = ("vllm.v1.structured_output", "vllm.v1.core")
"""Parts of the engine that log tokens, grammars and ids of requests."""

REQUEST_LOGGERS = (
    "vllm.entrypoints.serve.utils.request_logger",
    "vllm.entrypoints.serve.middleware.log_response",
)
"""Loggers that an option turns on to log requests."""

SERVE_START_HOOK = "worker.engine.child.ServeStartHook"
"""Import path of the class for vLLM; this module itself runs as `__main__`."""


class Reporter:
    """Reports the progress of the start to the worker, one JSON object per line."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def send(self, **message: Any) -> None:
        """Write one message; if the worker has ended, the kernel ends this process too."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")

    def phase(self, name: str) -> None:
        """Report that the phase called `name` begins."""
        self.send(phase=name)


def disable_sched_yield() -> None:
    """Make vLLM's processes sleep between two polls of shared memory where they share the cores.

    On CPU the scheduler and the compute process exchange work through shared memory; the waiting
    one calls `sched_yield` in a loop. Since Linux 6.18 (and 6.12.63), `sched_yield` forfeits the
    whole time slice and reorders the run queue: other processes on that core, vLLM's server and
    this worker among them, waited up to 0.6 s. With vLLM's alternative, a short sleep, they wait
    3 ms, and the engine is as fast. On a GPU one process does both, or each has its own cores.
    """
    from vllm.distributed import utils
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        utils.USE_SCHED_YIELD = False


def key_startup_plan(arguments: Sequence[str]) -> None:
    """Let vLLM reuse a measured size of the KV cache only for the same arguments.

    Its own key omits the settings that affect the size most: with a plan from
    `--gpu-memory-utilization 0.95`, a start with 0.47 took 57.5 GiB for the cache.
    """
    from vllm.v1.worker import startup_plan

    kept = list(arguments)
    if "--uds" in kept:  # A new value for each start.
        at = kept.index("--uds")
        del kept[at : at + 2]
    compute = startup_plan.compute_plan_fingerprint

    @functools.wraps(compute)
    def compute_with_arguments(*args: Any, **kwargs: Any) -> str:
        text = json.dumps([compute(*args, **kwargs), kept])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    startup_plan.compute_plan_fingerprint = compute_with_arguments


def register_media_connectors() -> None:
    """Register the media connectors that `VLLM_MEDIA_CONNECTOR` selects."""
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
            # vLLM itself would answer with a server error.
            if url[:5].lower() == "file:" and self.allowed_local_media_path is None:
                raise VLLMValidationError(media.NO_LOCAL_FILES)
            return await super().load_from_url_async(url, media_io, **options)

    class PublicConnector(AnyConnector):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "connection": connection})

    MEDIA_CONNECTOR_REGISTRY.register(media.ANY)(AnyConnector)
    MEDIA_CONNECTOR_REGISTRY.register(media.PUBLIC)(PublicConnector)


def hide_requests_in_dumps() -> None:
    """Make vLLM's dump of a failed step contain the sizes of its requests, not their content.

    vLLM itself omits only prompts. Its dump repeats stop strings, bad words, structured outputs,
    extra arguments and ids.
    """
    from vllm.logging_utils import dump_input

    dump_input.prepare_object_to_dump = content.describe_shape


class ServeStartHook:
    """Startup hook of an API server, in the shape of ASGI middleware.

    It bounds the delay of events, patches the shutdown, enables vLLM's cache of environment
    variables, freezes the garbage collector's objects and starts the heartbeat. Without the cache,
    vLLM's server reads variables for each request and at each step, an eighth of its CPU time with
    many streams; its engine caches them by itself. Middleware is created in each API server, also
    in a spawned one, in its event loop and after all processes have been started with the
    environment that they need.
    """

    def __new__(cls, app: Any) -> Any:
        """Return the application unchanged: the hook adds nothing to a request's path."""
        from vllm.envs import enable_envs_cache
        from vllm.v1.engine.async_llm import AsyncLLM

        if os.environ.get(event_delay.VARIABLE):
            from vllm.v1.engine.output_processor import RequestState

            event_delay.bound_event_delay(RequestState)
        idle_shutdown.cancel_output_handler_first(AsyncLLM)
        adapter_patches.open_names()
        enable_envs_cache()
        gc_tuning.freeze_gc()
        # From now on nearly all log lines of this process are about requests.
        content.hide_from([""], shown=[*REQUEST_LOGGERS, adapters.LOGGER])
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
    """Build vLLM's complete configuration for the model without loading it."""
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
    forking.patch_model_inspection()
    AsyncEngineArgs.from_cli_args(parsed).create_engine_config()
    report.phase("configured")


def patch_process() -> None:
    """Apply the patches that each of vLLM's processes needs, whether it is forked or spawned."""
    register_media_connectors()
    disable_sched_yield()
    content.hide_from(GRAMMAR_LOGGERS)


def patch_engine(arguments: Sequence[str]) -> None:
    """Apply the patches of the processes that run the model; they import much of vLLM."""
    hide_requests_in_dumps()
    key_startup_plan(arguments)
    startup_patches.capture_fewer_graphs(arguments)
    startup_patches.keep_objects_frozen()
    startup_patches.load_engine_tokenizer_during_weights()
    startup_patches.read_weights_in_threads(arguments)
    if "--enable-lora" in arguments:
        adapter_patches.load_adapters_completely()


def serve(arguments: Sequence[str], report: Reporter) -> None:
    """Run vLLM's API server with `arguments` until it ends."""
    # Imports create objects by the million that all stay; collections only slow them down.
    gc.disable()
    report.phase("import")
    vllm_import.import_configuration()
    patch_process()
    gc.freeze()
    if "--enforce-eager" in arguments:
        vllm_import.compile_at_first_call()
    patch = functools.partial(patch_engine, arguments)
    prepared = forking.prepare_engine(arguments, patch)
    if prepared is None:
        patch()
    elif "--enforce-eager" not in arguments:
        vllm_import.compile_at_first_call()
    parsed = parse(arguments, report)
    parsed.middleware = [*parsed.middleware, SERVE_START_HOOK]
    adapter_patches.let_requests_name_adapters()
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.cli.serve import ServeSubcommand
    from vllm.v1.engine import utils

    configured: list[Any] = []
    forking.fork_api_servers(configured)
    if "--api-server-count" not in arguments:
        forking.prepare_single_server(configured)
    forking.patch_model_inspection()
    create_engine_config = forking.fork_engine_processes(AsyncEngineArgs.create_engine_config)

    def configure_then_load(*args: Any, **kwargs: Any) -> Any:
        config = create_engine_config(*args, **kwargs)
        configured.append(config)
        report.phase("load")
        return config

    AsyncEngineArgs.create_engine_config = configure_then_load
    if prepared is not None:
        utils.get_mp_context = prepared.extend(utils.get_mp_context)
    gc.freeze()
    gc.enable()
    ServeSubcommand.cmd(parsed)


def main() -> None:
    """Parse the command line, set the parent-death signal, serve, and report a failure."""
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
        report.send(error=type(error).__name__, message=str(error)[:MAX_MESSAGE_CHARS])
        raise


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    # Where vLLM spawns instead of forking, Python imports this module again in the new process.
    # Prepare that process like a forked one; it may be an API server.
    die_with_parent()
    permit_amx()
    patch_process()
    patch_engine(sys.argv[3:])
    adapter_patches.let_requests_name_adapters()
