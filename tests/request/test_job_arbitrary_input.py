"""Whatever a job contains: a call that can be sent, or an error object, never a crash."""

import random
from typing import Any

import orjson
import pytest

from worker.errors import RequestError
from worker.request import Batching, EngineRequest, RequestDefaults, parse_job
from worker.request.compat import COMPAT_PARAMETERS, CONTAINERS
from worker.request.job_input import GatewayInput, NativeInput, RouteInput
from worker.request.openai import known_fields
from worker.request.removed import REMOVED, UNREACHABLE
from worker.request.routes import ROUTES
from worker.request.sampling import SamplingParameters, StructuredOutputs

DEFAULTS = RequestDefaults(model="served", batching=Batching(1, 50, 3.0), max_tokens=16)

NAMES = sorted(
    {
        *GatewayInput.model_fields,
        *RouteInput.model_fields,
        *NativeInput.model_fields,
        *SamplingParameters.model_fields,
        *StructuredOutputs.model_fields,
        *REMOVED,
        *UNREACHABLE,
        *CONTAINERS,
        *COMPAT_PARAMETERS,
        *(name for fields in known_fields().values() for name in fields.known),
        "",
        "x",
        "päram",
        "max_token",
        "a.b[0]",
    }
)
SCALARS = [
    *(None, True, False, 0, 1, -1, 2, 16, 2**63, -(2**63), 2**64, 0.0, 0.7, -1.5, 1e308),
    *(float("nan"), float("inf"), "", "a", "0.7", "ä€😀", "\ud800", "\x00", "x" * 3000),
    *("never", "auto", "GET", "post", "[1]", "{}", '{"prompt": "a"}'),
    *("/", "..", "/v1/../x", *(route.path for route in ROUTES)),
]
TOPS: list[dict[str, Any]] = [
    {"prompt": "Hi"},
    {"messages": "Hi"},
    {"prompt": "Hi", "model": "a"},
    {"openai_route": "/v1/chat/completions"},
    {"openai_route": "/v1/completions", "openai_input": {}},
    {"route": "/v1/responses"},
    {"route": "/v1/audio/transcriptions"},
    {},
]


def value(pick: random.Random, depth: int) -> object:
    kind = pick.random()
    if depth == 0 or kind < 0.6:
        return pick.choice(SCALARS)
    if kind < 0.8:
        return [value(pick, depth - 1) for _ in range(pick.randrange(4))]
    return mapping(pick, depth - 1)


def mapping(pick: random.Random, depth: int) -> dict[str, object]:
    return {pick.choice(NAMES): value(pick, depth) for _ in range(pick.randrange(5))}


def outcome(job_input: object) -> EngineRequest | RequestError:
    try:
        return parse_job(job_input, DEFAULTS)
    except RequestError as error:
        return error


@pytest.mark.parametrize("seed", range(40))
def test_parse_job_arbitrary_json_gives_call_or_error(seed):
    pick = random.Random(seed)
    calls = 0
    for _ in range(100):
        job_input = {**pick.choice(TOPS), **mapping(pick, 3)}
        for inside in ("sampling_params", "openai_input", "body"):
            if inside in job_input or pick.random() < 0.3:
                job_input[inside] = mapping(pick, 3)
        result = outcome(job_input)
        if isinstance(result, RequestError):
            assert orjson.loads(result.json().encode())["error"]["code"]
            assert "Traceback" not in result.message
            assert len(result.json()) < 20_000
        else:
            calls += 1
            assert result.path.startswith("/")
            orjson.dumps(result.body)
    assert calls


@pytest.mark.parametrize("job_input", SCALARS[:20], ids=repr)
def test_parse_job_not_an_object_is_an_error(job_input):
    with pytest.raises(RequestError, match="expected an object"):
        parse_job(job_input, DEFAULTS)
