"""Any text in any variable gives settings or a list of problems: no exception, no secret."""

import io
import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from worker.check import run_check
from worker.errors import ConfigurationError, ExitCode
from worker.settings import load_settings
from worker.settings.deprecated import REMOVED, RENAMED
from worker.settings.registry import load_registry
from worker.settings.typos import MODEL_VARIABLES

SECRET = "hf_averysecretvalue"
REGISTRY = load_registry()
VARIABLES = sorted(
    {*REGISTRY.by_variable, *REMOVED, *RENAMED, *MODEL_VARIABLES, *REGISTRY.engine_variables}
)
QUIET = {"CUDA_VISIBLE_DEVICES": "", "BAKED_FILE": "/nowhere/baked.json"}

MAX_PROBLEM_LENGTH = 2000
"""Characters of one problem, with the choices that it lists."""

NASTY = {
    "empty": "",
    "space": " \t\n",
    "null-byte": "a\0b",
    "not-utf-8": os.fsdecode(b"\xff\xfe\x80"),
    "lone-surrogate": "\ud800",
    "long": "x" * 100_000,
    "long-path": "/" + "y" * 5000,
    "many-digits": "9" * 6000,
    "negative": "-" + "9" * 30,
    "exponent": "1e999999",
    "nan": "nan",
    "deep-array": "[" * 20_000,
    "deep-object": '{"a":' * 20_000,
    "huge-integer-in-json": '{"a": ' + "9" * 6000 + "}",
    "wrong-types": '{"a": [null, {"b": [[]]}], "model": {}, "method": [], "image": {"x": null}}',
    "array-of-all": '[null, true, 1, 1.5, "x", [], {}]',
    "template": "{% for x in y %}{{ x | nothing",
    "deep-template": "{{ " + "(" * 5000,
    "url": "https://[::1",
    "windows": "C:\\models\\x",
    "markup": "[bold]x[/italic] [/] \\[",
    "escape": "\x1b[31mred\x1b]0;title\x07",
    "format": "%s%n{0}{x}",
    "flag": "--model=x",
    "yaml": "!!python/object/apply:os.system ['true']",
    "right-to-left": "\u202eabc\u2066",
    "secret": f"prefix {SECRET} suffix",
    "secret-in-json": json.dumps({"key": SECRET, SECRET: 1}),
}

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lo", "Sm"]), max_size=20),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from([*NASTY.values()]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
        max_leaves=8,
    ).map(json.dumps),
    st.text(max_size=20).map(lambda text: f"{text}{SECRET}{text}"),
)
ENVIRONMENTS = st.dictionaries(
    st.sampled_from(VARIABLES) | st.text(min_size=1, max_size=20), TEXTS, max_size=6
)


def check(environ: dict[str, str], *, as_json: bool) -> tuple[int, str]:
    """Return exit status and output, written as to a terminal that takes UTF-8 only."""
    raw = io.BytesIO()
    with io.TextIOWrapper(raw, encoding="utf-8", errors="strict", write_through=True) as file:
        console = Console(file=file, width=160, highlight=False, color_system=None)
        status = run_check({**QUIET, **environ}, as_json=as_json, console=console)
        return status, raw.getvalue().decode()


def assert_readable(environ: dict[str, str], *, as_json: bool) -> None:
    status, output = check(environ, as_json=as_json)
    assert status in (ExitCode.OK, ExitCode.CONFIGURATION)
    assert SECRET not in output
    if as_json:
        assert json.loads(output)["ok"] is (status == ExitCode.OK)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(environ=ENVIRONMENTS, as_json=st.booleans())
def test_arbitrary_environment_gives_settings_or_problems_without_secrets(environ, as_json):
    assert_readable({"HF_TOKEN": SECRET, **environ, "TEAM_API_KEY": SECRET}, as_json=as_json)


@pytest.mark.parametrize("position", range(4))
def test_nasty_text_in_any_variable_gives_settings_or_problems(position):
    """Each variable alone, with one text in each run; the texts take turns."""
    texts = list(NASTY.values())
    for number, name in enumerate(VARIABLES):
        text = texts[(number + position * 7) % len(texts)]
        problems: tuple = ()
        try:
            load_settings({**QUIET, "TEAM_API_KEY": SECRET, name: text})
        except ConfigurationError as error:
            problems = error.problems
        assert SECRET not in "".join(map(str, problems))
        assert all(len(str(problem)) < MAX_PROBLEM_LENGTH for problem in problems), name


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_nasty_text_in_all_variables_gives_problems_without_secrets(text):
    environ = {**dict.fromkeys(VARIABLES, text), "TEAM_API_KEY": SECRET}
    assert_readable(environ, as_json=text == NASTY["secret-in-json"])
