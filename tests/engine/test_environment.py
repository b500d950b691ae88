from pathlib import Path

import pytest

from worker.engine import environment, media
from worker.engine.client import KEEP_ALIVE_S
from worker.engine.environment import build_environment, count_threads, find_preloads


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def packages(tmp_path, monkeypatch) -> Path:
    """A folder in which packages are looked for instead of the real ones."""

    def find(name: str) -> Path | None:
        folder = tmp_path / name
        return folder if folder.is_dir() else None

    monkeypatch.setattr(environment, "find_package", find)
    return tmp_path


def test_build_environment_prefers_settings_to_environ_to_defaults(packages):
    built = build_environment(
        {"PATH": "/bin", "VLLM_LOGGING_LEVEL": "INFO", "PYTHONUNBUFFERED": "0"},
        {"VLLM_LOGGING_LEVEL": "DEBUG", "HF_TOKEN": "hf_x"},
    )
    assert built == {
        "PATH": "/bin",
        "VLLM_LOGGING_LEVEL": "DEBUG",
        "HF_TOKEN": "hf_x",
        "PYTHONUNBUFFERED": "0",
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": str(KEEP_ALIVE_S),
        "VLLM_MEDIA_CONNECTOR": media.PUBLIC,
    }


@pytest.mark.parametrize(
    ("environ", "private", "chosen"),
    [
        pytest.param({}, False, media.PUBLIC, id="default"),
        pytest.param({}, True, media.ANY, id="allowed"),
        pytest.param({"VLLM_MEDIA_CONNECTOR": "own"}, False, "own", id="somebody's own"),
    ],
)
def test_build_environment_chooses_where_media_comes_from(packages, environ, private, chosen):
    built = build_environment(environ, {}, private_media=private)
    assert built["VLLM_MEDIA_CONNECTOR"] == chosen


@pytest.mark.parametrize(
    ("files", "found"),
    [
        pytest.param([], [], id="no-packages"),
        pytest.param(
            ["vllm/libs/libtcmalloc_minimal.so.4", "torch.libs/libgomp-1a2b.so.1.0.0", "torch/x"],
            ["vllm/libs/libtcmalloc_minimal.so.4", "torch.libs/libgomp-1a2b.so.1.0.0"],
            id="cpu-wheels",
        ),
        pytest.param(["torch/lib/libgomp.so.1"], ["torch/lib/libgomp.so.1"], id="libgomp-inside"),
        pytest.param(
            ["vllm/x", "torch/lib/libtorch_cuda.so", "torch/lib/libgomp.so.1"], [], id="gpu-build"
        ),
    ],
)
def test_find_preloads_returns_the_libraries_that_exist(packages, files, found):
    touch(packages, *files)
    assert find_preloads() == [packages / name for name in found]


def test_build_environment_sets_preloads(packages):
    touch(packages, "vllm/libs/libtcmalloc.so.4", "torch/lib/libgomp.so.1")
    built = build_environment({}, {})
    assert built["LD_PRELOAD"] == (
        f"{packages}/vllm/libs/libtcmalloc.so.4:{packages}/torch/lib/libgomp.so.1"
    )


@pytest.mark.parametrize("own", ["/own.so", ""], ids=["set", "empty"])
def test_build_environment_leaves_a_given_preload_alone(packages, own):
    touch(packages, "vllm/libs/libtcmalloc.so.4")
    assert build_environment({"LD_PRELOAD": own}, {})["LD_PRELOAD"] == own


@pytest.mark.parametrize(
    ("siblings", "threads"),
    [
        pytest.param(["0", "1"], 1, id="two-cores"),
        pytest.param(
            ["0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"], 3, id="two-per-core"
        ),
        pytest.param(["0"], 1, id="one-core"),
        pytest.param([None, None, None], 2, id="undescribed"),
    ],
)
def test_count_threads_leaves_one_physical_core_free(tmp_path, siblings, threads):
    for cpu, listed in enumerate(siblings):
        if listed is not None:
            touch(tmp_path, f"cpu{cpu}/topology/thread_siblings_list")
            (tmp_path / f"cpu{cpu}/topology/thread_siblings_list").write_text(f"{listed}\n")
    assert count_threads(range(len(siblings)), tmp_path) == threads


@pytest.mark.parametrize(
    ("environ", "library", "expected"),
    [
        pytest.param({}, "libtorch_cpu.so", True, id="cpu-build"),
        pytest.param({}, "libtorch_cuda.so", False, id="gpu-build"),
        pytest.param({"OMP_NUM_THREADS": "5"}, "libtorch_cpu.so", "5", id="given"),
    ],
)
def test_build_environment_limits_the_threads_of_a_cpu_build(packages, environ, library, expected):
    touch(packages, f"torch/lib/{library}")
    threads = build_environment(environ, {}).get("OMP_NUM_THREADS")
    assert (threads if isinstance(expected, str) else threads is not None) == expected


@pytest.mark.parametrize(("name", "found"), [("worker", True), ("no_such_package_anywhere", False)])
def test_find_package_knows_folders_without_importing(name, found):
    folder = environment.find_package(name)
    assert (folder is not None and folder.name == name) is found
