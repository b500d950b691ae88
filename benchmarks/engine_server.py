"""The engine without a transport, and the client of `vllm bench serve` in the same process.

Run as `python -m benchmarks.engine_server [vLLM arguments] --port PORT`. `POST /ask` runs a load
and returns its figures: that request is the only one by HTTP.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from benchmarks.client import BACKENDS, Load, LoadError, ask
from benchmarks.engine_alone import start_engine
from worker.engine.amx import permit_amx
from worker.engine.parent_death import die_with_parent, set_pdeathsig_on_fork

PATH = "/ask"

Generate = Callable[[str, Any, str], Any]


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """Body of a request to `PATH`: the arguments of `ask`."""

    model: Path
    load: Load
    seed: int


def replace_requests(generate: Generate, apply_template: Callable[[str], str]) -> None:
    """Let vLLM's client ask `generate` instead of a server, with times noted at the same points.

    Args:
        generate: `AsyncLLM.generate`.
        apply_template: Returns the prompt of a chat with one message.
    """
    from vllm.benchmarks.lib.endpoint_request_func import (
        ASYNC_REQUEST_FUNCS,
        RequestFuncInput,
        RequestFuncOutput,
    )
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    def build(render: Callable[[str], str]) -> Callable[..., Awaitable[RequestFuncOutput]]:
        async def request(
            request_func_input: RequestFuncInput, session: object, pbar: object = None
        ) -> RequestFuncOutput:
            asked = request_func_input
            sampling = SamplingParams(
                temperature=0,
                max_tokens=asked.output_len,
                ignore_eos=asked.ignore_eos,
                output_kind=RequestOutputKind.DELTA,
            )
            found = RequestFuncOutput(prompt_len=asked.prompt_len, start_time=time.perf_counter())
            last_s = found.start_time
            async for output in generate(render(asked.prompt), sampling, uuid.uuid4().hex):
                now_s = time.perf_counter()
                if found.output_tokens == 0:
                    found.ttft = now_s - last_s
                else:
                    found.itl.append(now_s - last_s)
                last_s = now_s
                found.output_tokens += len(output.outputs[0].token_ids)
                found.generated_text += output.outputs[0].text
            found.latency = last_s - found.start_time
            found.success = True
            return found

        return request

    ASYNC_REQUEST_FUNCS[BACKENDS["completion"]] = build(lambda prompt: prompt)
    ASYNC_REQUEST_FUNCS[BACKENDS["chat"]] = build(apply_template)


def build_app() -> web.Application:
    """Return the server; the requests must have been replaced."""

    async def answer(request: web.Request) -> web.Response:
        asked = TypeAdapter(LoadRequest).validate_json(await request.read())
        url = f"http://{request.host}"
        try:
            figures = await ask(url, asked.model, asked.load, asked.seed)
        except LoadError as error:
            return web.Response(status=500, text=str(error))
        return web.json_response(figures)

    async def is_ready(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.add_routes([web.post(PATH, answer), web.get("/health", is_ready)])
    return app


async def serve(arguments: list[str], port: int) -> None:
    """Start the engine and answer until this process is ended."""
    engine = start_engine(arguments)
    try:
        tokenizer: Any = engine.get_tokenizer()

        def apply_template(prompt: str) -> str:
            messages = [{"role": "user", "content": prompt}]
            text: str = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
            return text

        replace_requests(engine.generate, apply_template)
        runner = web.AppRunner(build_app())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()
    finally:
        engine.shutdown()


def main() -> None:
    """Read the command line and serve."""
    *arguments, _option, port = sys.argv[1:]
    die_with_parent()
    set_pdeathsig_on_fork()
    permit_amx()
    import uvloop

    uvloop.run(serve(arguments, int(port)))


if __name__ == "__main__":
    main()
