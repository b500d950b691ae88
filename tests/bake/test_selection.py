"""Which files go into the image."""

import json

import pytest

from worker.bake.selection import (
    choose_files,
    find_code_repositories,
    find_family,
    tokenizer_files,
)

CONFIG = ["config.json", "tokenizer.json", "chat_template.jinja"]
OTHER = ["README.md", ".gitattributes", "image.png", "onnx/model.onnx", "original/model.pth"]


@pytest.mark.parametrize(
    ("names", "load_format", "weights"),
    [
        pytest.param(["model.safetensors"], "auto", ["model.safetensors"], id="one file"),
        pytest.param(
            ["model.safetensors", "pytorch_model.bin", "x.pt"],
            "auto",
            ["model.safetensors"],
            id="safetensors rather than pickles",
        ),
        pytest.param(
            ["consolidated.safetensors", "model-1.safetensors"],
            "auto",
            ["consolidated.safetensors"],
            id="the format of Mistral first, as vLLM does",
        ),
        pytest.param(
            ["consolidated.safetensors", "model-1.safetensors"],
            "mistral",
            ["consolidated.safetensors"],
            id="mistral",
        ),
        pytest.param(
            ["pytorch_model.bin", "training_args.bin", "optimizer.bin"],
            "auto",
            ["pytorch_model.bin"],
            id="nothing of the training",
        ),
        pytest.param(["a.pt"], "auto", ["a.pt"], id="pt as the last resort"),
        pytest.param(
            ["model.safetensors", "pytorch_model.bin"], "npcache", ["pytorch_model.bin"], id="bin"
        ),
        pytest.param(
            ["2_Dense/model.safetensors", "2_Dense/pytorch_model.bin", "model.safetensors"],
            "auto",
            ["2_Dense/model.safetensors", "model.safetensors"],
            id="layers of an embedding model",
        ),
        pytest.param(["model.safetensors"], "dummy", [], id="no weights"),
    ],
)
def test_choose_files_takes_what_vllm_loads(names, load_format, weights):
    assert choose_files([*names, *CONFIG, *OTHER], load_format) == sorted([*weights, *CONFIG])


def test_choose_files_takes_only_what_the_index_names():
    names = ["model-1.safetensors", "model-2.safetensors", "stray.safetensors", "config.json"]
    indexed = frozenset(names[:2])
    assert choose_files(names, "auto", indexed) == ["config.json", *names[:2]]


def test_choose_files_takes_everything_for_a_format_with_its_own_layout():
    names = ["model.tensors", "config.json", "README.md"]
    assert choose_files(names, "tensorizer") == sorted(names)


def test_find_family_names_the_index():
    family = find_family(["model-1.safetensors"], "auto")
    assert family is not None
    assert family.index == "model.safetensors.index.json"


def test_tokenizer_files_have_no_weights():
    assert tokenizer_files(["model.safetensors", *CONFIG, *OTHER]) == sorted(CONFIG)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"config.json": {"auto_map": {"AutoModel": "m.C"}}}, []),
        (
            {"config.json": {"auto_map": {"AutoModel": "a/b--m.C", "AutoConfig": "a/b--c.C"}}},
            ["a/b"],
        ),
        ({"tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["x/y--t.T", None]}}}, ["x/y"]),
        ({"config.json": [], "broken.json": "{", "vocab.json": {"--": 1}}, []),
    ],
    ids=["own", "another", "list", "nothing"],
)
def test_find_code_repositories_reads_every_auto_map(tmp_path, files, found):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
    assert find_code_repositories(tmp_path) == found
