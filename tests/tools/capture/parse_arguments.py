"""Reads argument lists (JSON on stdin) with vLLM's own parser and prints what it made of them.

A program, not a test: it imports vLLM, which takes seconds and belongs in a process of its own.
"""

import json
import sys
from dataclasses import is_dataclass

from vllm.utils.argparse_utils import FlexibleArgumentParser

from worker.engine.child import load_cli_args


def plain(value):
    if is_dataclass(value) and not isinstance(value, type):
        if "name" in value.__dict__:
            return {key: item for key, item in value.__dict__.items() if item}
        return type(value).__name__
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def read(parser, arguments):
    try:
        return {"values": {k: plain(v) for k, v in vars(parser.parse_args(arguments)).items()}}
    except SystemExit:
        return {"error": "refused"}


if __name__ == "__main__":
    cases = json.load(sys.stdin)
    serve = load_cli_args().make_arg_parser(FlexibleArgumentParser())
    results = {name: read(serve, arguments) for name, arguments in cases.items()}
    with open(sys.argv[1], "w") as file:
        json.dump(results, file)
