import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CAPTURED = Path("worker/request/captured.json")
SCHEMAS = Path("schemas/requests")
RENDERED = {"native.json"}


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("capture")
    command = [sys.executable, "-m", "worker.capture.requests", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return folder


# vLLM's import takes ten seconds, more while other tests run.
@pytest.mark.timeout(180)
@pytest.mark.e2e
def test_captured_requests_match_the_installed_vllm(capture: Path) -> None:
    committed = {CAPTURED, *(SCHEMAS / path.name for path in (ROOT / SCHEMAS).glob("*.json"))}
    fresh = {path.relative_to(capture) for path in capture.rglob("*.json")}

    assert committed - {SCHEMAS / name for name in RENDERED} == fresh
    for path in sorted(fresh):
        assert (ROOT / path).read_text() == (capture / path).read_text(), "run: worker capture"


def test_captured_schemas_are_json_schemas_with_their_origin() -> None:
    for path in sorted((ROOT / SCHEMAS).glob("*.json")):
        schema = json.loads(path.read_text())
        assert "Generated" in schema["$comment"], path.name
        assert {"properties", "anyOf", "oneOf"} & schema.keys(), path.name
