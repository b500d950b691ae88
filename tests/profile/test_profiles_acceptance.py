"""Every profile's engine arguments, put through the pinned vLLM itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from worker.machine import GIB, MachineInfo
from worker.profile import builtin_folder, load_all, names
from worker.settings import load_settings

PROGRAM = Path(__file__).with_name("accept_arguments.py")
NAMES = names(builtin_folder())
SPECULATING = [item.name for item in load_all(builtin_folder()) if item.about.speculation]
CASES = {
    **{name: {"PROFILE": name} for name in NAMES},
    **{f"{name}-speculating": {"PROFILE": name, "SPECULATION": "on"} for name in SPECULATING},
}


@pytest.fixture(scope="module")
def accepted(tmp_path_factory):
    """vLLM's answer to each profile, from one process: the import takes ten seconds."""
    from tests.e2e.support.tiny_model import build_tiny_model  # it needs what comes with vLLM

    folder = tmp_path_factory.mktemp("accepted")
    cases = {
        name: load_settings(environ, machine=MachineInfo(1, 64 * GIB)).engine_arguments()
        for name, environ in CASES.items()
    }
    model = build_tiny_model(folder / "tiny-llama")
    subprocess.run(
        [sys.executable, str(PROGRAM), str(folder / "results.json"), str(model)],
        input=json.dumps(cases),
        text=True,
        capture_output=True,
        check=True,
    )
    return json.loads((folder / "results.json").read_text())


@pytest.mark.contract
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CASES)
def test_vllm_accepts_the_arguments_of_a_profile(accepted, name):
    assert accepted[name] == ""
