"""Puts values through the worker's check and through vLLM's own parser and configuration.

A program, not a test: it imports vLLM, which takes seconds and belongs in a process of its own.

    python -m tests.e2e.support.compare_options RESULTS.json MODEL [OPTION ...]

MODEL is a small model on this machine. Each value is set alone, with the settings without which
its option has no effect, and both sides get the same ones.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import vllm.config.model
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

from tests.e2e.support.option_values import values_of
from worker.errors import ConfigurationError
from worker.settings import load_settings
from worker.settings.registry import SWITCH_KINDS, Option, load_registry

TIMEOUT_S = 10
"""How long vLLM may take for one value; a configuration takes 3 ms."""

BASE = {"LOAD_FORMAT": "dummy", "AUTO_PROFILE": "false", "CUDA_VISIBLE_DEVICES": ""}

LORA = {"ENABLE_LORA": "true"}

NEEDED: Mapping[str, Mapping[str, str]] = {
    "DEFAULT_MM_LORAS": LORA,
    "FULLY_SHARDED_LORAS": LORA,
    "LORA_DTYPE": LORA,
    "LORA_MODULES": LORA,
    "LORA_TARGET_MODULES": LORA,
    "MAX_CPU_LORAS": LORA,
    "MAX_LORAS": LORA,
    "MAX_LORA_RANK": LORA,
    "ENABLE_AUTO_TOOL_CHOICE": {"TOOL_CALL_PARSER": "hermes"},
    "ENABLE_LOG_OUTPUTS": {"ENABLE_LOG_REQUESTS": "true"},
    "COLLECT_DETAILED_TRACES": {"OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4317"},
    "ENABLE_ELASTIC_EP": {"ENABLE_EPLB": "true", "ENABLE_EXPERT_PARALLEL": "true"},
    "ENABLE_EPLB": {"ENABLE_EXPERT_PARALLEL": "true"},
    "NUMA_BIND_NODES": {"NUMA_BIND": "true"},
    "NUMA_BIND_CPUS": {"NUMA_BIND": "true"},
    "SPEC_TOKENS": {"SPEC_METHOD": "ngram"},
}
"""Settings that an option needs to have an effect."""


def main(results: Path, model: str, chosen: list[str]) -> None:
    """Compare all options, or the chosen ones, and write what differs."""
    options = [
        option
        for option in load_registry().settable()
        if option.flag is not None and (not chosen or option.name in chosen)
    ]
    comparison = Comparison(model)
    with kept_environment():
        accept(("--model", model))  # vLLM imports more at its first configuration
    # The processes are forked: each has vLLM, which takes seconds to import, and the parser.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("fork")) as pool:
        compared = list(pool.map(comparison.compare, options))
    differences = [difference for _tried, found in compared for difference in found]
    tried = sum(tried for tried, _found in compared)
    results.write_text(
        json.dumps({"tried": tried, "options": len(options), "differences": differences})
    )


class Comparison:
    """Both sides, for one model."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._refusals: dict[tuple[str, ...], str | None] = {}
        time.sleep = lambda _seconds: None  # vLLM tries again what cannot be read, after 2 s
        # Takes most of the time of a configuration.
        vllm.config.model.get_config = reuse(vllm.config.model.get_config)

    def compare(self, option: Option) -> tuple[int, list[dict[str, Any]]]:
        """Return how many values of an option were tried, and where the two sides differ."""
        base = {"MODEL_NAME": self.model, **BASE, **NEEDED.get(option.name, {})}
        base_arguments = load_settings(base).engine_arguments()
        texts = values_of(option.name, option.schema, option.known_values)
        differences: list[dict[str, Any]] = []
        for text in texts:
            ours, arguments = check(base, option, text)
            if arguments is None:
                # vLLM gets it as a user of its command line would type it.
                arguments = [*base_arguments, *typed(option, text)]
            theirs = self._ask(tuple(arguments))
            if (ours is None) != (theirs is None):
                differences.append(
                    {"option": option.name, "value": text[:200], "worker": ours, "vllm": theirs}
                )
        return len(texts), differences

    def _ask(self, arguments: tuple[str, ...]) -> str | None:
        """Return why vLLM refuses the arguments, which several texts may give."""
        if arguments not in self._refusals:
            self._refusals[arguments] = within_time(functools.partial(accept, arguments))
        return self._refusals[arguments]


def check(base: Mapping[str, str], option: Option, text: str) -> tuple[str | None, Any]:
    """Return why the worker's check refuses a value, or None and the arguments that vLLM gets."""
    try:
        return None, load_settings({**base, option.name: text}).engine_arguments()
    except ConfigurationError as error:
        return str(error.problems[0])[:400], None
    except Exception as error:  # noqa: BLE001  reported as a difference
        return f"TRACEBACK {type(error).__name__}: {error}"[:200], None


def reuse(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that reads a model's configuration once for the same arguments.

    Each caller gets a copy, because vLLM changes what it has read.
    """
    kept: dict[bytes, bytes] = {}

    def read_once(*args: Any, **kwargs: Any) -> Any:
        try:
            key = pickle.dumps((args, kwargs))
        except (pickle.PicklingError, AttributeError, TypeError):
            return read(*args, **kwargs)
        if key not in kept:
            kept[key] = pickle.dumps(read(*args, **kwargs))
        return pickle.loads(kept[key])

    return read_once


@functools.cache
def make_parser() -> tuple[Any, bytes]:
    """Return vLLM's parser and its defaults, a pickled namespace.

    The parser then sets only what a command line gives, which is faster.
    """
    parser = make_arg_parser(FlexibleArgumentParser())
    parser.print_usage = lambda _file=None: None  # takes half the time of a refusal
    defaults = pickle.dumps(parser.parse_args([]))
    parser._actions = [action for action in parser._actions if not action.option_strings]
    return parser, defaults


def typed(option: Option, text: str) -> list[str]:
    """Return a value as vLLM's command line takes it."""
    flag = option.flag or ""
    if option.kind in SWITCH_KINDS and text.strip().lower() in ("true", "false"):
        return [flag if text.strip().lower() == "true" else f"--no-{flag[2:]}"]
    if (
        option.kind in ("list", "integer-list", "lora-modules")
        and "," in text
        and text[0] not in "[{"
    ):
        return [flag, *text.split(",")]
    return [f"{flag}={text}"]


def accept(arguments: tuple[str, ...]) -> str | None:
    """Return why vLLM refuses the arguments; None where it accepts them."""
    parser, defaults = make_parser()
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            parsed = parser.parse_args(list(arguments), pickle.loads(defaults))
            validate_parsed_serve_args(parsed)
            if parsed.tool_call_parser and parsed.enable_auto_tool_choice:
                ToolParserManager.get_tool_parser(parsed.tool_call_parser)
            if parsed.reasoning_parser:
                ReasoningParserManager.get_reasoning_parser(parsed.reasoning_parser)
            AsyncEngineArgs.from_cli_args(parsed).create_engine_config()
        except SystemExit:
            return (said.getvalue().strip().splitlines() or ["refused"])[-1][:400]
        except Exception as error:  # noqa: BLE001  whatever it is, a start would end with it
            return f"{type(error).__name__}: {error}"[:400]
    return None


@contextlib.contextmanager
def kept_environment() -> Iterator[None]:
    """Take back what vLLM's configuration does to the process's environment."""
    # To decode all of it takes longer than most checks.
    encoded: dict[bytes, bytes] = vars(os.environ)["_data"]
    before = dict(encoded)
    try:
        yield
    finally:
        if encoded != before:
            os.environ.clear()
            os.environ.update({os.fsdecode(k): os.fsdecode(v) for k, v in before.items()})


def within_time(work: Callable[[], str | None]) -> str | None:
    """Return the work's result, or that it did not come to an end."""

    def expire(*_: object) -> None:
        raise TimeoutError(f"no end within {TIMEOUT_S} s")

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(TIMEOUT_S)
    try:
        with kept_environment():
            return work()
    except TimeoutError as error:
        return str(error)
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
