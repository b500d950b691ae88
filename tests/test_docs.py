"""The pages for users hold what they say: commands run, names exist, links lead somewhere."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.markdown import RUNPOD_URL, Block, read_blocks
from worker.engine.startup_timing import COMPILE_NOT_CACHED, StartupTimings
from worker.queue.job_stats import JobStats
from worker.request import Code
from worker.settings.deprecated import REMOVED, RENAMED
from worker.settings.registry import load_registry
from worker_tools.deploy.options import IMAGE
from worker_tools.render.build_arguments import BUILD_ARGUMENTS
from worker_tools.render.deployment import find_sizes

ROOT = Path(__file__).parents[1]
PAGES = (
    "deployment",
    "embeddings",
    "image",
    "index",
    "lora",
    "migrate",
    "model-location",
    "observability",
    "reliability",
    "structured-outputs",
    "tools",
    "troubleshooting",
)
TEXTS = {page: (ROOT / f"docs/{page}.md").read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [
    (page, block)
    for page in PAGES
    for block in read_blocks(ROOT / f"docs/{page}.md")
    if block.language != "text"
]
BLOCKS += [("README", b) for b in read_blocks() if b.text.startswith(("docker ", "worker "))]

LOCAL_URL = "http://127.0.0.1:8000/"
"""Where requests to a pod go; tests/serve/test_server_docs.py sends them."""

PLATFORM = {
    "FlashBoot",
    "NUM_TRAINERS",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
    "VLLM_HOST_IP",
    "NCCL_SOCKET_IFNAME",
    "GLOO_SOCKET_IFNAME",
    "RUNPOD_WEBHOOK_GET_JOB",
    "RUNPOD_ENDPOINT_ID",
    "RUNPOD_POD_ID",
    "HF_HUB_CACHE",
    "HF_HOME",
    "AMPERE_48",
    "OTEL_EXPORTER_OTLP_HEADERS",
}
"""Names in capitals that are not settings of this worker, and not made up either."""


def kind_of(block: Block) -> str:
    first = block.text.split()[0].rpartition("=")[0] or block.text.split()[0]
    if RUNPOD_URL in block.text:
        return "endpoint"
    if LOCAL_URL in block.text:
        return "pod"
    if "docker build" in block.text:
        return "docker"
    return "worker" if first in ("worker", "MODEL_NAME") else first


def of_kind(kind: str) -> list:
    return [
        pytest.param(block, id=f"{page}-{block.line}")
        for page, block in BLOCKS
        if kind_of(block) == kind
    ]


def test_every_code_block_of_the_docs_has_a_test() -> None:
    assert {kind_of(block) for _page, block in BLOCKS} == {"docker", "endpoint", "pod", "worker"}


@pytest.mark.parametrize("block", of_kind("worker"))
def test_command_of_a_page_runs(block: Block, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-euc", block.text],
        env={"PATH": path, "HOME": str(tmp_path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Qwen3" in done.stdout or "--mode " in done.stdout


@pytest.mark.parametrize("block", of_kind("docker"))
def test_builds_name_arguments_and_secrets_that_exist(block: Block) -> None:
    # No container runtime is at hand; the shell at least must take the line.
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, check=False)
    assert done.returncode == 0
    named = re.findall(r"--build-arg (\w+)=", block.text)
    assert set(named) <= {argument.name for argument in BUILD_ARGUMENTS}
    assert set(re.findall(r"--secret id=(\w+)", block.text)) <= {"HF_TOKEN"}
    builds = [line for line in block.text.splitlines() if line.startswith("docker build")]
    assert all("--platform linux/amd64" in line for line in builds)


def headings_of(text: str) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_pages_and_headings(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", TEXTS[page]):
        text = (ROOT / "docs" / target).read_text(encoding="utf-8") if target else TEXTS[page]
        assert not anchor or anchor in headings_of(text), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_are_named_exist(page: str) -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=\S*)?`", TEXTS[page]))
    registry = load_registry()
    known = {*registry.by_variable, *REMOVED, *RENAMED, *PLATFORM}
    known |= {argument.name for argument in BUILD_ARGUMENTS}
    assert named - known == set()


def test_pages_that_messages_refer_to_exist() -> None:
    sources = [*(ROOT / "worker").rglob("*.py"), *(ROOT / "tools/worker_tools").rglob("*.py")]
    named = {
        found
        for path in sources
        for found in re.findall(r"\"([a-z-]+\.md)(?:#([\w-]+))?\"", path.read_text("utf-8"))
    }
    assert len(named) > 5
    for page, anchor in named:
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert not anchor or anchor in headings_of(text), f"{page}#{anchor}"


def test_error_codes_that_are_named_exist() -> None:
    headings = re.findall(r"^### (.*)$", TEXTS["troubleshooting"], re.MULTILINE)
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", "\n".join(headings)))
    assert len(named) > 5
    assert named <= {code.value for code in Code}


def test_log_lines_that_are_quoted_are_written_somewhere() -> None:
    constants = [
        node.value
        for path in (ROOT / "worker").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    quoted = re.findall(r"\"([^\"]{10,})\"", re.sub(r"`[^`]*`", "", TEXTS["troubleshooting"]))
    assert len(quoted) > 5
    # A figure in the page is one of many.
    parts = [part.strip() for line in quoted for part in re.split(r"\b\d+\b", line)]
    missing = [part for part in parts if part and not any(part in text for text in constants)]
    assert missing == []


def test_fault_tests_that_are_named_exist() -> None:
    page = (ROOT / "docs/fault-tests.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.(?:py|yaml))`", page))
    assert len(named) > 15
    assert [name for name in named if not (ROOT / "tests" / name).is_file()] == []


def words_of(text: str) -> str:
    return re.sub(r"[\d.]+", "1", text)


def test_line_of_a_job_is_as_the_worker_writes_it() -> None:
    [shown] = re.findall(r"^(\{\"requestId\".*)$", TEXTS["observability"], re.MULTILINE)
    answer = {
        "choices": [{"finish_reason": "stop"}],
        "usage": {"prompt_tokens": 412, "completion_tokens": 187},
        "metrics": {"queue_time_ms": 840},
    }
    stats = JobStats()
    stats.record_post(10245)
    written = stats.summary_line({"output": [answer]})
    assert words_of(json.loads(shown)["message"]) == words_of(written)


def test_startup_timings_are_as_the_worker_writes_them() -> None:
    timings = StartupTimings(0, usd_per_s=0.00116)
    for page in ("observability", "cold-start"):
        text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
        [shown] = re.findall(r"^start: \{(.*)\}$", text, re.MULTILINE)
        named = re.findall(r'"(\w+)":', re.sub(r"\{[^}]*\}", "", shown))
        assert named == list(timings.to_dict())
    [suggestion] = re.findall(r'"suggestions":\["(.*?) …"\]', TEXTS["observability"])
    assert COMPILE_NOT_CACHED.startswith(suggestion)


def test_console_values_are_those_of_the_profile() -> None:
    [size] = [size for size in find_sizes() if size.profile == "qwen3-8b"]
    page = TEXTS["deployment"]
    for row in (
        f"| GPU Configuration | the pool `{size.pool}` ",
        f"| GPUs per worker | {size.gpus} |",
        f"| Auto-scaling type | Request count, {size.requests} |",
        f"| Container disk | {size.disk_gb} GB; ",
    ):
        assert row in page, row


def test_preset_that_the_hub_offers_is_named() -> None:
    listing = json.loads((ROOT / ".runpod/hub.json").read_text())
    names = {preset["name"] for preset in listing["config"]["presets"]}
    assert set(re.findall(r'the preset "([^"]+)"', TEXTS["deployment"])) <= names
    assert "the preset" in TEXTS["deployment"]


def test_examples_name_the_image_that_is_set_in_one_place() -> None:
    pages = [ROOT / "README.md", ROOT / "tools/worker_tools/cli.py", *ROOT.glob("docs/**/*.md")]
    named = {
        image
        for page in pages
        for image in re.findall(r"[\w./]+/[\w-]*worker(?=:\d)", page.read_text(encoding="utf-8"))
    }
    name = IMAGE.rpartition(":")[0]
    assert named == {name, f"docker.io/{name}"}


def test_pages_are_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in ("deployment", "troubleshooting"):
        assert os.path.join("docs", f"{page}.md") in readme


def test_pages_that_the_search_ranks_exist() -> None:
    site = runpy.run_path(str(ROOT / "scripts/site.py"))
    assert [page for page in site["BOOST"] if not (ROOT / "docs" / page).is_file()] == []
    assert (ROOT / "docs" / site["PROFILES"]).is_dir()
