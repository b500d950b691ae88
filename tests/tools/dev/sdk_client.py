"""Calls an endpoint with RunPod's own client; prints what it got as JSON."""

import asyncio
import json

import aiohttp
import runpod


async def call_async():
    async with aiohttp.ClientSession() as session:
        endpoint = runpod.AsyncioEndpoint("local", session)
        job = await endpoint.run({"text": "async", "count": 2})
        chunks = [chunk async for chunk in job.stream()]
        return {"status": await job.status(), "chunks": chunks}


def call_sync():
    endpoint = runpod.Endpoint("local")
    result = endpoint.run_sync({"text": "sync", "count": 2})
    job = endpoint.run({"text": "stream", "count": 3})
    chunks = list(job.stream())
    sleeping = endpoint.run({"sleep_s": 1})
    return {
        "run_sync": result,
        "stream": chunks,
        "output": job.output(),
        "cancel": sleeping.cancel()["status"],
        "status": sleeping.status(),
        "purge": endpoint.purge_queue()["removed"],
        "health": endpoint.health()["workers"]["ready"],
    }


async def call_both():
    results = await asyncio.gather(asyncio.to_thread(call_sync), call_async())
    return dict(zip(("sync", "async"), results, strict=True))


runpod.api_key = "local"
print("RESULT " + json.dumps(asyncio.run(call_both())))
