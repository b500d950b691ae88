"""Puts argument lists (JSON on stdin) through vLLM's own parser and configuration classes.

A program, not a test: it imports vLLM, which takes seconds and belongs in a process of its own.

    python accept_arguments.py RESULTS.json MODEL

MODEL is a small model on this machine: it stands in for the real ones, which are not here, so that
everything but the model's own files is checked as at a start.
"""

import json
import sys
from typing import get_args

from vllm.config.speculative import SpeculativeMethod
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser

from worker.engine.child import load_cli_args

CLI_ARGS = load_cli_args()

OF_THE_MODEL = (
    "hf_overrides",
    "tokenizer_mode",
    "config_format",
    "load_format",
    "runner",
    "reasoning_parser",
    "enable_expert_parallel",
)
"""Options that need the real model's files, tokens or experts; the parser has checked them."""

METHODS = set(get_args(SpeculativeMethod))


def accept(parser, arguments, model):
    """Return what vLLM makes of the arguments: nothing to complain about is an empty string."""
    try:
        parsed = parser.parse_args(arguments)
    except SystemExit:
        return "the parser refuses"
    try:
        CLI_ARGS.validate_parsed_serve_args(parsed)
        if parsed.tool_call_parser:
            ToolParserManager.get_tool_parser(parsed.tool_call_parser)
        if parsed.reasoning_parser:
            ReasoningParserManager.get_reasoning_parser(parsed.reasoning_parser)
        AsyncEngineArgs.from_cli_args(parsed)
        defaults = parser.parse_args([])
        for name in OF_THE_MODEL:
            setattr(parsed, name, getattr(defaults, name))
        drafts = parsed.speculative_config
        if drafts is not None and drafts["method"] != "ngram":
            # The draft is part of the real model, or made for it: vLLM must know the method.
            if drafts["method"] not in METHODS:
                return f"unknown method: {drafts['method']}"
            parsed.speculative_config = None
        parsed.model, parsed.load_format = model, "dummy"
        config = AsyncEngineArgs.from_cli_args(parsed).create_engine_config()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what a user would see
        return f"{type(error).__name__}: {error}"
    return "" if config.scheduler_config.max_num_seqs == parsed.max_num_seqs else "another value"


if __name__ == "__main__":
    cases = json.load(sys.stdin)
    serve = CLI_ARGS.make_arg_parser(FlexibleArgumentParser())
    results = {name: accept(serve, arguments, sys.argv[2]) for name, arguments in cases.items()}
    with open(sys.argv[1], "w") as file:
        json.dump(results, file)
