"""Every line is checked before anything is sent."""

import json

import pytest

from worker_tools.batch.input_file import InvalidFileError, read_input_file

LIMIT = 10_000
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


def line(number=1, **members):
    body = {"prompt": f"prompt {number}"}
    known = {"custom_id": f"r-{number}", "method": "POST", "url": "/v1/completions", "body": body}
    return {**known, **members}


def write(tmp_path, *lines):
    path = tmp_path / "requests.jsonl"
    path.write_text(
        "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
    )
    return path


def problems_of(path):
    with pytest.raises(InvalidFileError) as caught:
        read_input_file(path, LIMIT)
    return [(problem.number, problem.message) for problem in caught.value.problems]


def test_read_input_file_takes_every_route(tmp_path):
    path = write(
        tmp_path,
        line(1, url="/v1/chat/completions", body=CHAT),
        line(2),
        line(3, url="/v1/embeddings", body={"input": "a"}),
        line(4, url="/v1/rerank", body={"query": "a", "documents": ["b"]}),
    )
    source = read_input_file(path, LIMIT)
    assert [each.custom_id for each in source.lines] == ["r-1", "r-2", "r-3", "r-4"]


def test_read_returns_the_json_of_each_line(tmp_path):
    path = tmp_path / "requests.jsonl"
    texts = [json.dumps(line(n)).encode() for n in (1, 2)]
    path.write_bytes(b"\xef\xbb\xbf" + texts[0] + b" \r\n\r\n  " + texts[1])
    source = read_input_file(path, LIMIT)
    assert list(source.read(source.lines)) == texts
    assert [each.number for each in source.lines] == [1, 3]


def test_read_input_file_reports_all_problems_with_their_lines(tmp_path):
    path = write(
        tmp_path,
        line(1),
        "{",
        "[]",
        line(4, url="/v1/chat/completion"),
        line(1),
        line(6, body={"prompt": "a", "max_token": 1}),
        line(7, body={"prompt": "a", "stream": True}),
        line(8, extra=1),
        line(9, url="/v1/models", method="GET"),
        line(10, custom_id=""),
        {"custom_id": "r-11", "body": {}},
        line(12, body={"prompt": "x" * LIMIT}),
        line(13, body={"max_tokens": 1}),
    )
    found = dict(problems_of(path))
    assert sorted(found) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
    assert "not valid JSON" in found[2]
    assert found[3] == "not a JSON object"
    assert "/v1/chat/completions" in found[4]
    assert found[5] == "custom_id: line 1 has the same"
    assert "max_tokens" in found[6]
    assert found[7].startswith("stream:")
    assert found[8].startswith("extra: unknown")
    assert "POST" in found[9]
    assert found[11] == "url: missing"
    assert str(LIMIT) in found[12]
    assert found[13] == "prompt or prompt_embeds: missing in the body"


def test_read_input_file_without_requests_is_a_problem(tmp_path):
    assert problems_of(write(tmp_path, "", " ")) == [(1, "the file has no requests")]


def test_problems_do_not_repeat_the_content(tmp_path):
    path = write(tmp_path, line(1, body={"messages": [{"secret": "words"}]}))
    [(_, message)] = problems_of(path)
    assert "words" not in message
