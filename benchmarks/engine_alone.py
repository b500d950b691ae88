"""The engine without a transport: AsyncLLM in a separate process, controlled over stdin.

Run as `python -m benchmarks.engine_alone REPORT_FD [vLLM arguments]`. Each line on stdin is a
burst, each line on the file descriptor its measurements; `{}` says that the engine is ready.
Times are those of `time.monotonic()`, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

from worker.engine.amx import permit_amx
from worker.engine.child import disable_sched_yield, load_cli_args
from worker.engine.forking import fork_engine_processes
from worker.engine.parent_death import die_with_parent, set_pdeathsig_on_fork


def start_engine(arguments: Sequence[str]) -> Any:
    """Start vLLM's engine with the arguments of `vllm serve`."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.argparse_utils import FlexibleArgumentParser
    from vllm.v1.engine.async_llm import AsyncLLM

    parsed = load_cli_args().make_arg_parser(FlexibleArgumentParser()).parse_args(list(arguments))
    disable_sched_yield()
    AsyncEngineArgs.create_engine_config = fork_engine_processes(
        AsyncEngineArgs.create_engine_config
    )
    # Some of vLLM's defaults depend on who asks: a server's engine takes more tokens in a step.
    return AsyncLLM.from_engine_args(
        AsyncEngineArgs.from_cli_args(parsed), usage_context=UsageContext.OPENAI_API_SERVER
    )


async def generate(engine: Any, prompt: str, max_tokens: int, stream: bool) -> dict[str, Any]:
    """Generate once; return the time of each output and the number of tokens."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    kind = RequestOutputKind.DELTA if stream else RequestOutputKind.FINAL_ONLY
    sampling = SamplingParams(
        temperature=0, max_tokens=max_tokens, ignore_eos=True, output_kind=kind
    )
    submitted_s = time.monotonic()
    chunks_s, tokens = [], 0
    async for output in engine.generate(prompt, sampling, uuid.uuid4().hex):
        chunks_s.append(time.monotonic())
        tokens += len(output.outputs[0].token_ids)
    return {"submitted_s": submitted_s, "chunks_s": chunks_s, "tokens": tokens}


async def serve(arguments: Sequence[str], report: int) -> None:
    """Answer bursts until stdin ends."""
    engine = start_engine(arguments)
    try:
        _send(report, {})
        commands = asyncio.StreamReader(limit=2**24)
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(commands), sys.stdin
        )
        while line := await commands.readline():
            burst = json.loads(line)
            streams = await asyncio.gather(
                *(
                    generate(engine, prompt, burst["max_tokens"], burst["stream"])
                    for prompt in burst["prompts"]
                )
            )
            _send(report, {"streams": streams})
    finally:
        engine.shutdown()


def _send(report: int, message: dict[str, Any]) -> None:
    with os.fdopen(os.dup(report), "wb") as pipe:
        pipe.write(json.dumps(message).encode() + b"\n")


def main() -> None:
    """Read the command line and serve."""
    report, *arguments = sys.argv[1:]
    die_with_parent()
    set_pdeathsig_on_fork()
    permit_amx()
    os.set_inheritable(int(report), False)
    import uvloop

    uvloop.run(serve(arguments, int(report)))


if __name__ == "__main__":
    main()
