import json
from collections import defaultdict

import jsonschema
import pytest
from pydantic import BaseModel

from worker.metadata import find_meta
from worker.request.compat import COMPAT_PARAMETERS, CONTAINERS
from worker.request.field import aliases_of
from worker.request.job_input import (
    BatchingInput,
    BatchLineInput,
    GatewayInput,
    NativeInput,
    RouteInput,
)
from worker.request.sampling import RepetitionDetection, SamplingParameters, StructuredOutputs
from worker_tools.render.requests import native_schema, render_requests

MODELS = (
    BatchingInput,
    GatewayInput,
    BatchLineInput,
    RouteInput,
    NativeInput,
    SamplingParameters,
    StructuredOutputs,
    RepetitionDetection,
)

UNITLESS = {
    "presence_penalty",
    "frequency_penalty",
    "temperature",
    "length_penalty",
    "seed",
    "priority",
}
"""Numbers that count nothing."""


def fields_of(model: type[BaseModel]):
    return [(f"{model.__name__}.{name}", name, field) for name, field in model.model_fields.items()]


@pytest.mark.parametrize(
    ("where", "name", "field"),
    [row for model in MODELS for row in fields_of(model)],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_every_request_field_is_described(where, name, field):
    text = field.description
    assert text, where
    assert text.endswith((".", "…")), where
    assert "default is" not in text.lower(), where
    numeric = any(kind in str(field.annotation) for kind in ("int", "float"))
    listed = any(kind in str(field.annotation) for kind in ("list", "dict", "str"))
    if numeric and not listed and name not in UNITLESS:
        assert find_meta(field).unit, where


def test_requests_page_has_every_alias_and_every_compat_parameter():
    page = render_requests(defaultdict(int))

    for name in (*aliases_of(SamplingParameters), *COMPAT_PARAMETERS, *CONTAINERS):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize(
    ("job_input", "valid"),
    [
        ({"prompt": "Hi"}, True),
        ({"messages": [{"role": "user", "content": "Hi"}], "stream": True}, True),
        ({"prompt": "Hi", "sampling_params": {"max_tokens": 5, "stop": ["a"]}}, True),
        ({"prompt": "Hi", "sampling_params": {"max_tokens": 1.5}}, False),
        ({"prompt": "Hi", "sampling_params": {"maxtokens": 1}}, False),
        ({"prompt": "Hi", "sampling_params": {"max_new_tokens": 5}}, True),
        ({"prompt": "Hi", "sampling_params": {"max_completion_tokens": 1.5}}, False),
        ({"prompt": "Hi", "sampling_params": {"vllm_xargs": {"a": 1}}}, True),
        ({"stream": True}, False),
    ],
)
def test_native_schema_agrees_with_the_worker(job_input, valid):
    validator = jsonschema.Draft202012Validator(json.loads(native_schema()))

    assert validator.is_valid(job_input) is valid
