"""Routes other than chat and completions: what each of them needs, and what it answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.support.deployment import Api
from tests.e2e.support.effects.choice import LETTERS
from worker.engine.client import EngineClient
from worker.request.routes import ROUTES, Route

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONDITIONAL = [route for route in ROUTES if route.needs]


async def refuse(api: Api, job_input: dict[str, Any]) -> dict[str, Any]:
    job = await api.runsync(job_input)
    assert job["status"] == "FAILED", job
    error: dict[str, Any] = json.loads(job["error"])["error"]
    return error


@pytest.mark.parametrize("route", CONDITIONAL, ids=lambda route: route.path)
async def test_vllm_does_not_offer_a_route_without_its_setting(
    engine: EngineClient, route: Route
) -> None:
    # Past the worker, which has most of them closed.
    body = {} if route.methods[0] == "POST" else None
    async with engine.request(route.methods[0], route.path, body) as response:
        assert response.status in (403, 404)


@pytest.mark.parametrize(
    "route",
    [route for route in CONDITIONAL if route.access == "open"],
    ids=lambda route: route.path,
)
async def test_open_route_without_its_setting_names_it(api: Api, route: Route) -> None:
    job_input: dict[str, Any] = {"route": route.path}
    if "POST" in route.methods:
        job_input["body"] = {"prompt": "x"}
    error = await refuse(api, job_input)
    assert (error["code"], error["status"]) == ("route_not_served", 404)
    assert route.needs in error["message"]


@pytest.mark.parametrize(
    "route", [route for route in ROUTES if route.access == "closed"], ids=lambda route: route.path
)
async def test_closed_route_is_refused_before_vllm(api: Api, route: Route) -> None:
    error = await refuse(api, {"route": route.path, "method": route.methods[0]})
    assert (error["code"], error["status"]) == ("route_closed", 403)
    assert "OPEN_CONTROL_ROUTES" in error["message"]


async def test_labels_are_scored_by_generation(api: Api) -> None:
    scores = []
    for labels in ([LETTERS["a"], LETTERS["b"]], [LETTERS["b"], LETTERS["a"]]):
        body = {"query": "Is it so?", "items": ["Yes.", "No."], "label_token_ids": labels}
        job = await api.runsync({"route": "/generative_scoring", "body": body})
        assert job["status"] == "COMPLETED", job
        scores.append([item["score"] for item in job["output"][0]["data"]])
    for first, second in zip(*scores, strict=True):
        assert first + second == pytest.approx(1, abs=1e-3)


async def test_decisions_of_a_model_without_them_are_refused(api: Api) -> None:
    body = {"state": "It rains.", "questions": {"wet": {"type": "boolean"}}}
    error = await refuse(api, {"route": "/v1/systemone", "body": body})
    assert error["code"] == "route_not_served"
