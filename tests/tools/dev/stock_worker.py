"""A worker as RunPod's documentation shows it: a generator handler under the stock SDK."""

import asyncio
import json
import sys

import runpod


async def handle(job):
    body = job["input"]
    if "openai_route" in body:
        async for event in answer_openai(body["openai_route"], body["openai_input"]):
            yield event
        return
    if "sleep_s" in body:
        print(f"sleeping in {job['id']}", flush=True)
        try:
            await asyncio.sleep(body["sleep_s"])
        except asyncio.CancelledError:
            print("cancelled in the handler", flush=True)
            raise
    if "error" in body:
        raise ValueError(body["error"])
    for number in range(body.get("count", 1)):
        await asyncio.sleep(body.get("pause_s", 0))
        yield f"{body.get('text', '')}{number}"


async def answer_openai(route, body):
    if route == "/v1/models":
        yield {"object": "list", "data": [{"id": "tiny", "object": "model", "created": 0}]}
        return
    base = {"id": "chatcmpl-1", "created": 0, "model": body["model"]}
    if not body.get("stream"):
        message = {"role": "assistant", "content": "Grüße 🦙"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        yield {**base, "object": "chat.completion", "choices": [choice]}
        return
    for number in range(body.get("max_tokens", 3)):
        choice = {"index": 0, "delta": {"content": f"🦙{number} "}, "finish_reason": None}
        event = {**base, "object": "chat.completion.chunk", "choices": [choice]}
        await asyncio.sleep(0.01)
        yield f"data: {json.dumps(event, ensure_ascii=False)}\n\n"
    yield "data: [DONE]\n\n"


if __name__ == "__main__":
    if "--exit" in sys.argv:
        print("the model cannot be loaded", file=sys.stderr)
        sys.exit(3)
    runpod.serverless.start(
        {
            "handler": handle,
            "return_aggregate_stream": True,
            "concurrency_modifier": lambda current: 20,
        }
    )
