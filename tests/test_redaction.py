"""Secrets are hidden under every form that a log or a page may show them in."""

import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from worker.redaction import REDACTED, Redactor

AWKWARD = "pä\"ss'w\\ord/+ %\t🔑"
"""Every encoding changes something of it."""

KEY_FILE = '{\r\n  "private_key": "-----BEGIN KEY-----\\nMIIEvQIB\\n",\r\n  "id": "0a1b2c3d"\r\n}\n'

FORMS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda text: repr(text.encode()),
    "repr in JSON": lambda text: json.dumps({"message": repr({"key": text})}),
    "repr of repr": lambda text: repr(repr(text)),
    "URL path": quote,
    "URL component": lambda text: quote(text, safe=""),
    "form": quote_plus,
    "command line": lambda text: shlex.join(["--api-key", text]),
}


@pytest.mark.parametrize(
    ("secrets", "text", "expected"),
    [
        pytest.param([], "as it is", "as it is", id="no-secrets"),
        pytest.param(["hf_abc"], "token hf_abc.", f"token {REDACTED}.", id="one"),
        pytest.param(["aaaa"], "aaaa aaaa", f"{REDACTED} {REDACTED}", id="every-occurrence"),
        pytest.param(["abcd", "abcdef"], "abcdef", REDACTED, id="one-secret-within-another"),
        pytest.param(["abcdef", "defghi"], "abcdefghi", REDACTED, id="overlapping-secrets"),
        pytest.param(["abab"], "xababab", f"x{REDACTED}", id="overlaps-itself"),
        pytest.param(["abc"], "abc", "abc", id="too-short-to-be-one"),
        pytest.param([""], "text", "text", id="empty-secret"),
        pytest.param(["true", "EMPTY"], "true EMPTY", "true EMPTY", id="placeholders"),
        pytest.param(["a.c*"], "abcc a.c*", f"abcc {REDACTED}", id="not-a-pattern"),
        pytest.param(["redacted", "abcd"], "abcd", REDACTED, id="part-of-the-mask"),
        pytest.param(["\ud800abc"], "x \ud800abc", f"x {REDACTED}", id="lone-surrogate"),
    ],
)
def test_redactor_replaces_secrets_only(secrets, text, expected):
    assert Redactor(secrets)(text) == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("secret", [AWKWARD, "hf_abcdefgh", KEY_FILE])
def test_redactor_hides_a_secret_in_every_encoding(secret, form):
    shown = Redactor([secret])(FORMS[form](secret))
    assert REDACTED in shown
    assert not [part for part in ("ord", "hf_abc", "MIIEvQIB", "0a1b2c3d") if part in shown]


@pytest.mark.parametrize("line", [line for line in KEY_FILE.splitlines() if len(line) > 4])
def test_redactor_hides_each_line_of_a_secret_by_itself(line):
    assert Redactor([KEY_FILE])(line).strip() == REDACTED


def test_redactor_hides_a_secret_without_the_space_around_it():
    assert Redactor([" hf_abcdef\n"])("Bearer hf_abcdef") == f"Bearer {REDACTED}"


@pytest.mark.parametrize("secret", ["name", "1234", '":'])
def test_redactor_data_keeps_the_shape_of_the_data(secret):
    data = {"name": ["a name", 1234, None, True, 1.5, ("name",)], "deep": {"x": {"y": "1234"}}}
    shown = Redactor([secret]).data(data)
    assert len(shown) == 2
    assert json.loads(json.dumps(shown)) == shown
    assert shown["deep"]["x"]["y"] == (REDACTED if secret == "1234" else "1234")


def test_redactor_data_hides_secrets_in_names_and_in_text_of_other_objects(tmp_path):
    shown = Redactor(["hf_abcdef", tmp_path.name]).data({"hf_abcdef": [tmp_path]})
    assert shown == {REDACTED: [f"{tmp_path.parent}/{REDACTED}"]}


def test_redactor_shows_no_secret_itself():
    assert "hf_abcdef" not in repr(Redactor(["hf_abcdef"]))
