import json
from pathlib import Path

import pytest

from worker_tools.capture.command import capture_files

ROOT = Path(__file__).parents[3]
CAPTURED = Path("worker/request/captured.json")
SCHEMAS = Path("schemas/requests")
RENDERED = {"native.json"}


# vLLM's import takes ten seconds, more while other tests run.
@pytest.mark.timeout(180)
@pytest.mark.contract
def test_captured_requests_match_the_installed_vllm() -> None:
    committed = {CAPTURED, *(SCHEMAS / path.name for path in (ROOT / SCHEMAS).glob("*.json"))}
    fresh = {Path(name): text for name, text in capture_files().items()}

    assert committed - {SCHEMAS / name for name in RENDERED} == fresh.keys()
    for path, text in fresh.items():
        assert (ROOT / path).read_text() == text, "run: worker capture"


def test_captured_schemas_are_json_schemas_with_their_origin() -> None:
    for path in sorted((ROOT / SCHEMAS).glob("*.json")):
        schema = json.loads(path.read_text())
        assert "Generated" in schema["$comment"], path.name
        assert {"properties", "anyOf", "oneOf"} & schema.keys(), path.name
