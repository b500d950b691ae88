"""What `worker.engine.child` uses of vLLM, and what it relies on; fails with the reason.

After a change of the pinned version this is the first thing to read.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.e2e.support.probe import run_probe
from worker.engine.startup_timing import (
    COMPILE,
    DOWNLOAD,
    GRAPHS,
    LOAD_STEPS,
    READ,
    VLLM_PHASES,
)
from worker.gc_tuning import GEN0_THRESHOLD

pytestmark = pytest.mark.contract

PROBE = """
import asyncio, gc, importlib.util, inspect, json, os, tempfile, time, types
from pathlib import Path
from unittest.mock import patch
from fastapi import FastAPI
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.entrypoints.launchers.api_server import entry
from vllm.logger import configure_logging_from_args
from vllm.model_executor.models import registry
from vllm.multimodal.media import MediaConnector
from vllm.platforms import current_platform
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm import envs
from vllm.logging_utils import dump_input
from vllm.distributed.device_communicators import shm_broadcast
from vllm.entrypoints.serve.middleware.register import init_entrypoints_middleware
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.renderers import hf
from vllm.utils import gc_utils
from vllm.v1 import utils
from vllm.v1.engine import core
from vllm.v1.engine import utils as engine_utils
from vllm.v1.worker import startup_plan
from transformers.utils import import_utils
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.output_processor import RequestState
from worker.engine import vllm_import
from worker.engine.event_delay import bound_event_delay
from worker.engine.heartbeat import FOLDER
from worker.engine.child import (
    SERVE_START_HOOK, key_startup_plan, load_cli_args, disable_sched_yield
)
from worker.engine.forking import fork_api_servers, fork_engine_processes, fork_is_safe

make_arg_parser = load_cli_args().make_arg_parser
validate_parsed_serve_args = load_cli_args().validate_parsed_serve_args

ADDED = {"--uds", "--middleware", "--disable-uvicorn-access-log", "--shutdown-timeout"}

def parameters(function):
    return list(inspect.signature(function).parameters)

parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
flags = {flag for action in parser._actions for flag in action.option_strings}

os.environ.pop("VLLM_WORKER_MULTIPROC_METHOD", None)
def configure():
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
fork_engine_processes(configure)()

app = FastAPI()
init_entrypoints_middleware(parser.parse_args(["--middleware", SERVE_START_HOOK]), app, ())
remembers = [envs._is_envs_cache_enabled()]
async def build():
    app.build_middleware_stack()
with tempfile.TemporaryDirectory() as os.environ[FOLDER]:
    asyncio.run(build())
remembers.append(envs._is_envs_cache_enabled())

def count_yields():
    # How often a wait for shared memory yields, and how often it sleeps.
    yields, sleeps = [], []
    os.sched_yield, time.sleep = (lambda: yields.append(0)), sleeps.append
    shm_broadcast.sched_yield()
    return [len(yields), len(sleeps)]

yields_then_sleeps = [count_yields()]
disable_sched_yield()
yields_then_sleeps.append(count_yields())

dump_source = inspect.getsource(dump_input._dump_engine_exception)

def choose_methods():
    fork_api_servers([])
    with_fork = utils.multiprocessing.get_context("spawn").get_start_method()
    with patch.dict(os.environ, VLLM_WORKER_MULTIPROC_METHOD="spawn"):
        return [with_fork, utils.multiprocessing.get_context("spawn").get_start_method()]

def count_startup_plans():
    config = types.SimpleNamespace(compute_hash=lambda: "the same")
    found = set()
    for share in ("0.95", "0.47"):
        for socket in ("a.sock", "b.sock"):
            with patch.object(startup_plan, "compute_plan_fingerprint", own_key):
                key_startup_plan(["--gpu-memory-utilization", share, "--uds", socket])
                found.add(startup_plan.compute_plan_fingerprint(config, 0, 1))
    return len(found)

def has(source, *texts):
    return [text for text in texts if text not in source]

manager_source = inspect.getsource(engine_utils.CoreEngineProcManager.__init__)
folder = Path(inspect.getfile(utils)).parent
graphs_source = (folder / "worker/gpu/cudagraph_utils.py").read_text()

own_key = startup_plan.compute_plan_fingerprint

def list_events():
    # The tokens of each event at an interval of 8 tokens and steps of 0.3 s.
    clock, made = iter(range(1000)), []
    bound_event_delay(RequestState, lambda: 0.3 * next(clock))
    detokenizer = types.SimpleNamespace(
        output_token_ids=made, num_output_tokens=lambda: len(made))
    names = {name: None for name in parameters(RequestState.__init__)[1:]}
    state = RequestState(**names | {"prompt_token_ids": [0], "detokenizer": detokenizer,
        "output_kind": RequestOutputKind.DELTA, "stream_interval": 8, "log_stats": False})
    state._new_completion_output = lambda token_ids, *_: list(token_ids)
    state._new_request_output = lambda _id, outputs, *_: outputs[0]
    events = []
    for token in range(6):
        made.append(token)
        reason = "length" if token == 5 else None
        events.append(state.make_request_output([token], None, reason, None))
    return [event for event in events if event is not None]

def list_shutdown_steps():
    source = inspect.getsource(AsyncLLM.shutdown)
    return sorted(["engine_core.shutdown(", "cancel_task_threadsafe(handler)"], key=source.index)

print(json.dumps({
    "engine_process": has(manager_source, "context = get_mp_context()", "context.Process(",
        "target=EngineCoreProc.run_engine_core", 'else "EngineCore"'),
    "wait_for_engine_startup": inspect.getsource(engine_utils.launch_core_engines).count(
        "wait_for_engine_startup("),
    "EngineCore": parameters(core.EngineCore.__init__)[:2],
    "DefaultModelLoader.load_weights": parameters(DefaultModelLoader.load_weights),
    "resolve_chat_template": parameters(hf.resolve_chat_template),
    "gc.unfreeze": has(inspect.getsource(gc_utils.freeze_gc_for_cudagraph_capture), "unfreeze()"),
    "packages_distributions": has(inspect.getsource(import_utils),
        "= importlib.metadata.packages_distributions()"),
    "graph_candidates": has(graphs_source, "def _init_candidates(self)", "num_tokens: int",
        "self._capture_descs[mode] =", "self._candidates.setdefault(key, [])",
        "for mode in (CUDAGraphMode.FULL, CUDAGraphMode.PIECEWISE)", "num_active_loras: int"),
    "events": list_events(),
    "shutdown_order": list_shutdown_steps(),
    "missing_modules": [name for name in (*vllm_import.CONFIGURATION_MODULES,
        *vllm_import.ENGINE_MODULES, *vllm_import.CPU_MODULES, *vllm_import.GPU_MODULES,
        *vllm_import.SERVER_MODULES)
        if importlib.util.find_spec(name) is None],
    "startup_plans": count_startup_plans(),
    "dump_goes_through_prepare": "prepare_object_to_dump(scheduler_output)" in dump_source,
    "api_server_contexts": inspect.getsource(utils.APIServerProcessManager).count(
        'multiprocessing.get_context("spawn")'),
    "api_server_methods": choose_methods(),
    "yields_then_sleeps": yields_then_sleeps,
    "remembers_environment": remembers,
    "gen0_threshold": gc.get_threshold()[0],
    "make_arg_parser": parameters(make_arg_parser),
    "validate_parsed_serve_args": parameters(validate_parsed_serve_args),
    "configure_logging_from_args": parameters(configure_logging_from_args),
    "ServeSubcommand.cmd": parameters(ServeSubcommand.cmd),
    "registry._run_in_subprocess": len(parameters(registry._run_in_subprocess)),
    "media_connector_takes": sorted({"connection", "allowed_local_media_path"}
        & set(parameters(MediaConnector))),
    "create_engine_config_on": "create_engine_config" in vars(AsyncEngineArgs.__mro__[1])
        or "create_engine_config" in vars(AsyncEngineArgs),
    "server_calls_create_engine_config": "create_engine_config"
        in inspect.getsource(entry.build_async_engine_client_from_engine_args),
    "missing_flags": sorted(ADDED - flags),
    "platform_forces_spawn": 'VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"'
        in inspect.getsource(type(current_platform)),
    "fork_is_safe": fork_is_safe(),
    "method_after_configuration": os.environ["VLLM_WORKER_MULTIPROC_METHOD"],
}))
"""


@pytest.fixture(scope="module")
def contract() -> dict[str, object]:
    return run_probe(PROBE, "vLLM has moved what the child imports")


@pytest.mark.parametrize(
    ("name", "expected", "reason"),
    [
        ("make_arg_parser", ["parser"], "child.serve builds vLLM's own parser"),
        ("validate_parsed_serve_args", ["args"], "child.serve validates as `vllm serve` does"),
        ("configure_logging_from_args", ["args"], "child.serve sets up logging likewise"),
        ("ServeSubcommand.cmd", ["args"], "child.serve hands over to it"),
        ("registry._run_in_subprocess", 1, "the child replaces it to inspect models in a fork"),
        (
            "media_connector_takes",
            ["allowed_local_media_path", "connection"],
            "the child gives it a connection to public addresses only",
        ),
        ("create_engine_config_on", True, "the child wraps it to choose fork over spawn"),
        ("server_calls_create_engine_config", True, "the wrapped method must be on the way"),
        (
            "remembers_environment",
            [False, True],
            "the child lets vLLM's server remember its environment when its app is built",
        ),
        ("gen0_threshold", GEN0_THRESHOLD, "the same hook freezes the server's objects"),
        (
            "yields_then_sleeps",
            [[1, 0], [0, 1]],
            "on CPU the child has vLLM's processes sleep where they would yield without end; if "
            "vLLM does so itself, child.disable_sched_yield can go",
        ),
        (
            "dump_goes_through_prepare",
            True,
            "the child replaces it, or stop strings and ids of requests get into the log",
        ),
        (
            "api_server_contexts",
            1,
            "the child replaces the context that starts API servers; if vLLM forks them itself, "
            "forking.fork_api_servers can go",
        ),
        ("engine_process", [], "forking.prepare_engine takes the place of this process"),
        ("wait_for_engine_startup", 1, "forking loads the tokenizer during this wait"),
        ("EngineCore", ["self", "vllm_config"], "startup_patches wraps it"),
        (
            "DefaultModelLoader.load_weights",
            ["self", "model", "model_config"],
            "startup_patches loads the engine's tokenizer in parallel",
        ),
        (
            "resolve_chat_template",
            ["tokenizer", "chat_template", "tools", "model_config"],
            "startup_patches calls it to fill vLLM's cache of templates",
        ),
        ("gc.unfreeze", [], "if vLLM keeps its objects frozen, keep_objects_frozen can go"),
        ("packages_distributions", [], "startup_patches.remember_packages replaces the function"),
        ("graph_candidates", [], "startup_patches.capture_fewer_graphs filters both"),
        ("events", [[0], [1, 2], [3, 4], [5]], "event_delay makes slow steps complete an event"),
        (
            "shutdown_order",
            ["engine_core.shutdown(", "cancel_task_threadsafe(handler)"],
            "if vLLM cancels its output handler first, idle_shutdown can go",
        ),
        ("missing_modules", [], "vllm_import imports them early"),
        ("api_server_methods", ["fork", "spawn"], "a user's choice of `spawn` is respected"),
        (
            "startup_plans",
            2,
            "the child adds the arguments to the key of vLLM's startup plan, or a start with less "
            "GPU memory takes what an earlier one took",
        ),
        ("missing_flags", [], "the worker adds these arguments"),
        (
            "platform_forces_spawn",
            True,
            "if the CPU platform no longer sets it, forking.fork_engine_processes can go",
        ),
        ("fork_is_safe", True, "on a CPU machine the engine's processes are forked"),
        ("method_after_configuration", "fork", "the choice must outlast the configuration"),
    ],
)
def test_vllm_has_what_the_child_uses(
    contract: dict[str, object], name: str, expected: object, reason: str
) -> None:
    assert contract[name] == expected, reason


@pytest.mark.parametrize(
    ("part", "module", "text", "values"),
    [
        pytest.param(
            DOWNLOAD,
            "model_executor/model_loader/weight_utils.py",
            "Time spent downloading weights for %s: %.6f seconds",
            ("org/model", 61.25),
            id="download",
        ),
        pytest.param(
            READ,
            "model_executor/model_loader/default_loader.py",
            "Loading weights took %.2f seconds",
            (61.25,),
            id="read",
        ),
        pytest.param(
            COMPILE,
            "compilation/monitor.py",
            "%storch.compile took %.2f s in total",
            ("", 61.25),
            id="compile",
        ),
        pytest.param(
            GRAPHS,
            "v1/worker/gpu_model_runner.py",
            "Graph capturing finished in %.0f secs, took %.2f GiB",
            (61.0, 0.4),
            id="graphs",
        ),
    ],
)
def test_vllm_logs_the_durations_that_startup_timings_read(
    part: str, module: str, text: str, values: tuple[object, ...]
) -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent / module
    assert text in source.read_text(encoding="utf-8"), f"{part}: vLLM words it otherwise now"
    found = VLLM_PHASES[part].search(text % values)
    assert found is not None
    assert float(found[1]) in (61.25, 61.0)


@pytest.mark.parametrize(
    ("step", "module", "text"),
    [
        ("starting the engine", "v1/engine/core.py", "Initializing a V1 LLM engine"),
        ("initialising the device", "v1/worker/gpu/model_runner.py", "Loading model from scratch"),
        ("initialising the device", "v1/worker/gpu_model_runner.py", "Starting to load model"),
        (
            "building the model",
            "model_executor/model_loader/base_loader.py",
            "Initializing model took",
        ),
        ("preparing the weights", "v1/worker/gpu/model_runner.py", "Model loading took"),
        ("warming up", "v1/engine/core.py", "init engine (profile"),
    ],
)
def test_vllm_logs_the_ends_of_the_steps_of_loading(step: str, module: str, text: str) -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    source = (Path(spec.origin).parent / module).read_text(encoding="utf-8")
    assert text in source, f"{step}: vLLM words it otherwise now"
    assert LOAD_STEPS[step].search(text)
