"""Embeddings, scores, ranks and classes: the tiny model as an embedding model and a classifier."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.support.deployment import MODEL, Api, connect, deploy, make_environ, open_client
from tests.e2e.support.tiny_model import CLASSIFIER, build_tiny_model
from tests.e2e.test_readme import run_request
from tests.support.markdown import README, read_blocks
from worker_tools.dev import LocalDeployment

pytestmark = pytest.mark.asyncio(loop_scope="session")

SETTINGS = {"RUNNER": "pooling", "CONVERT": "embed"}
TEXTS = ["The capital of France", "is Paris.", "Straße, 世界"]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def embedder(tiny_model: Path) -> AsyncIterator[LocalDeployment]:
    async with deploy(make_environ(tiny_model, **SETTINGS), []) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pooling(embedder: LocalDeployment) -> AsyncIterator[Api]:
    async with connect(embedder) as connected:
        yield connected


async def test_request_of_the_guide_is_answered(embedder: LocalDeployment) -> None:
    blocks = read_blocks(README.parent / "docs" / "embeddings.md")
    requests = [block for block in blocks if block.is_request]
    assert requests
    for block in requests:
        await run_request(block, embedder.endpoint.url)


@pytest.mark.parametrize("form", ["float", "base64"])
async def test_embeddings_through_the_client(embedder: LocalDeployment, form: str) -> None:
    async with open_client(embedder.endpoint.openai_url) as client:
        # Without a form the client asks for base64 and decodes it.
        wanted: Any = {} if form == "base64" else {"encoding_format": "float"}
        answer = await client.embeddings.create(model=MODEL, input=TEXTS, **wanted)
    assert [item.index for item in answer.data] == [0, 1, 2]
    for item in answer.data:
        assert len(item.embedding) == 128
        assert sum(value * value for value in item.embedding) == pytest.approx(1, abs=1e-2)
    assert answer.usage.prompt_tokens > 0


async def test_embeddings_of_fewer_texts_are_the_same(pooling: Api) -> None:
    vectors = []
    for texts in (TEXTS, TEXTS[:1]):
        body = {"input": texts, "model": MODEL}
        job = await pooling.runsync({"route": "/v1/embeddings", "body": body})
        vectors.append(job["output"][0]["data"][0]["embedding"])
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-2)


@pytest.mark.parametrize("route", ["/v1/score", "/score"])
async def test_score_of_a_text_with_itself_is_highest(pooling: Api, route: str) -> None:
    body = {"text_1": TEXTS[0], "text_2": TEXTS}
    job = await pooling.runsync({"route": route, "body": body})
    scores = [item["score"] for item in job["output"][0]["data"]]
    assert scores[0] == max(scores) == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize("route", ["/v1/rerank", "/rerank", "/v2/rerank"])
async def test_rerank_puts_the_same_text_first(pooling: Api, route: str) -> None:
    body = {"query": TEXTS[2], "documents": TEXTS, "top_n": 2}
    job = await pooling.runsync({"route": route, "body": body})
    results = job["output"][0]["results"]
    assert [results[0]["index"], len(results)] == [2, 2]


async def test_batch_file_of_embeddings_and_ranks_is_answered_line_by_line(
    embedder: LocalDeployment, pooling: Api, tmp_path: Path
) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        *(("/v1/embeddings", {"model": MODEL, "input": text}) for text in TEXTS),
        *(("/v1/rerank", {"query": text, "documents": TEXTS}) for text in TEXTS),
        ("/v1/embeddings", {"model": MODEL, "input": "x " * 5000}),
    ]
    lines = [
        {"custom_id": f"line-{number}", "method": "POST", "url": url, "body": body}
        for number, (url, body) in enumerate(bodies)
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "worker", "batch", str(path), "--json"),
        *("--endpoint", embedder.endpoint.url),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    summary = json.loads(out)
    answers = read_lines(tmp_path / "in.output.jsonl")
    [failure] = read_lines(tmp_path / "in.errors.jsonl")

    assert [each["custom_id"] for each in answers] == [f"line-{n}" for n in range(6)]
    replies = [each["response"]["body"] for each in answers]
    for text, reply in zip(TEXTS, replies[:3], strict=True):
        job = await pooling.runsync(
            {"route": "/v1/embeddings", "body": {"model": MODEL, "input": text}}
        )
        expected = job["output"][0]["data"][0]["embedding"]
        assert reply["data"][0]["embedding"] == pytest.approx(expected, abs=1e-2)
    assert [reply["results"][0]["index"] for reply in replies[3:]] == [0, 1, 2]
    assert failure["custom_id"] == "line-6"
    assert failure["response"]["body"]["error"]["code"] == "context_length_exceeded", failure
    assert summary["tokens"]["input"] >= sum(r["usage"]["prompt_tokens"] for r in replies[:3]) > 0
    assert summary["tokens"]["output"] == 0


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_tokenize_counts_the_tokens_of_an_embedding_model(pooling: Api) -> None:
    job = await pooling.runsync({"route": "/tokenize", "body": {"prompt": "abc"}})
    assert job["output"][0]["count"] == 4, "a first token and three letters"


async def test_chat_is_refused_by_an_embedding_model(pooling: Api) -> None:
    for job_input in ({"prompt": "x"}, {"messages": [{"role": "user", "content": "x"}]}):
        job = await pooling.runsync(job_input)
        assert '"route_not_served"' in job["error"], job


# A classifier


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def classifier(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    folder = tmp_path_factory.mktemp("models") / "tiny-classifier"
    environ = make_environ(build_tiny_model(folder, changes=CLASSIFIER), RUNNER="pooling")
    async with deploy(environ, []) as running, connect(running) as connected:
        yield connected


async def test_texts_are_classified(classifier: Api) -> None:
    job = await classifier.runsync({"route": "/classify", "body": {"input": TEXTS}})
    assert job["status"] == "COMPLETED", job
    answer = job["output"][0]
    assert [item["index"] for item in answer["data"]] == [0, 1, 2]
    for item in answer["data"]:
        assert (item["label"], item["num_classes"], len(item["probs"])) == ("relevant", 1, 1)
        assert 0 < item["probs"][0] < 1
    assert answer["usage"]["prompt_tokens"] > 0


async def test_classifier_ranks_by_its_scores(classifier: Api) -> None:
    body = {"text_1": TEXTS[0], "text_2": TEXTS}
    job = await classifier.runsync({"route": "/v1/score", "body": body})
    assert job["status"] == "COMPLETED", job
    scores = {item["index"]: item["score"] for item in job["output"][0]["data"]}
    assert len(scores) == 3
    job = await classifier.runsync(
        {"route": "/v1/rerank", "body": {"query": TEXTS[0], "documents": TEXTS}}
    )
    ranks = {item["index"]: item["relevance_score"] for item in job["output"][0]["results"]}
    assert ranks == pytest.approx(scores, abs=1e-2)
    assert list(ranks.values()) == sorted(ranks.values(), reverse=True)


@pytest.mark.parametrize("route", ["/v1/embeddings", "/v1/chat/completions"])
async def test_classifier_refuses_other_work(classifier: Api, route: str) -> None:
    body = {"messages": "x"} if "chat" in route else {"input": "x"}
    job = await classifier.runsync({"route": route, "body": body})
    assert json.loads(job["error"])["error"]["code"] == "route_not_served", job
