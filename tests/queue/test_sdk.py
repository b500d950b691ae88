import asyncio

import pytest
from runpod.serverless.modules import rp_job

from worker.queue import make_scaler, sdk
from worker.queue.loop import EventDrivenScaler, StockScaler
from worker.redaction import REDACTED, Redactor


async def handle(job):
    yield job


def test_differences_of_the_pinned_sdk_are_none():
    found = sdk.differences()
    assert not found, "the installed SDK is not the expected one:\n" + "\n".join(found)


def changed(*_parameters, **_more):
    """Stands for a function whose parameters have changed."""


@pytest.mark.parametrize("name", sorted(sdk.EXPECTED_FUNCTIONS))
def test_differences_name_a_function_with_other_parameters(monkeypatch, name):
    module, _, path = name.partition(".")
    monkeypatch.setattr(f"{sdk.MODULES[module].__name__}.{path}", changed)
    expected = ", ".join(sdk.EXPECTED_FUNCTIONS[name])
    assert f"{name} takes (_parameters, _more), not ({expected})" in sdk.differences()


@pytest.mark.parametrize("name", [*sorted(sdk.EXPECTED_FUNCTIONS), *sdk.EXPECTED_TEXTS])
def test_differences_name_what_is_gone(monkeypatch, name):
    module, _, path = name.partition(".")
    monkeypatch.delattr(f"{sdk.MODULES[module].__name__}.{path}")
    assert f"there is no {name}" in sdk.differences()


@pytest.mark.parametrize("name", sdk.EXPECTED_ATTRIBUTES)
def test_differences_name_an_attribute_that_is_gone(monkeypatch, name):
    class Scaler(sdk.JobScaler):
        def __init__(self, config):
            super().__init__(config)
            delattr(self, name)

    monkeypatch.setattr(sdk, "JobScaler", Scaler)
    assert sdk.differences() == [f"a JobScaler has no {name}"]


def test_make_scaler_is_event_driven_with_the_expected_sdk(capsys):
    scaler = make_scaler(handle, 7)
    assert isinstance(scaler, EventDrivenScaler)
    assert scaler.current_concurrency == 7
    assert "own job loop" not in capsys.readouterr().out


def test_make_scaler_with_another_sdk_falls_back_and_warns(monkeypatch, capsys):
    monkeypatch.setattr(f"{sdk.MODULES['rp_job'].__name__}.get_job", changed)
    scaler = make_scaler(handle, 7)
    assert isinstance(scaler, StockScaler)
    assert scaler.concurrency_modifier(1) == scaler.concurrency_modifier(7) == 7
    printed = capsys.readouterr().out
    assert "Using the SDK's own job loop" in printed
    assert "rp_job.get_job takes" in printed


@pytest.mark.parametrize("ours", sorted(sdk.LOG_LEVELS))
def test_set_log_level_knows_the_settings_levels(monkeypatch, ours, capsys):
    monkeypatch.setattr(sdk.runpod_log, "level", sdk.runpod_log.level)
    sdk.set_log_level(ours)
    assert sdk.runpod_log.level == sdk.LOG_LEVELS[ours]
    sdk.runpod_log.error("reached")
    assert "reached" in capsys.readouterr().out


@pytest.mark.parametrize("as_json", [False, True])
def test_hide_secrets_reaches_every_module_of_the_sdk_and_comes_before_the_cut(
    monkeypatch, capsys, as_json
):
    monkeypatch.setattr(sdk.runpod_log, "level", "INFO")
    monkeypatch.setattr(sdk.runpod_log, "log", sdk.runpod_log.log)
    if as_json:
        monkeypatch.setenv("RUNPOD_ENDPOINT_ID", "endpoint")
    secret = 'hf_se"cret' * 3
    sdk.hide_secrets(Redactor([secret]))
    # The SDK leaves out the middle of a long message, here a part of the secret.
    rp_job.log.error("x" * 2040 + secret + "x" * 4000, "job-1")
    printed = capsys.readouterr().out
    assert REDACTED in printed or REDACTED[:4] in printed
    assert "hf_se" not in printed
    assert "job-1" in printed


def test_log_levels_are_those_of_the_settings():
    from worker.settings.groups import LogLevel

    assert set(sdk.LOG_LEVELS) == set(LogLevel.__args__)


@pytest.mark.parametrize(
    ("url", "template", "last"),
    [
        pytest.param(sdk.job_stream_url, "JOB_STREAM_URL", "false", id="stream"),
        pytest.param(sdk.job_done_url, "JOB_DONE_URL", "true", id="done"),
    ],
)
def test_urls_are_the_sdks(monkeypatch, url, template, last):
    monkeypatch.setattr(sdk.rp_http, template, "http://p/x/$ID?gpu=y")
    assert url("j-1") == f"http://p/x/j-1?gpu=y&isStream={last}"


@pytest.mark.parametrize("count", [0, 1, 5, 300, 1000])
def test_split_job_ids_names_every_job_once_within_the_room(count):
    ids = [f"{n:08}-f315-4e25-a146-0f3d98cf024b-e1" for n in range(count)]
    parts = list(sdk.split_job_ids(",".join(ids) or None, 2000))
    assert len(parts) >= 1
    assert [name for part in parts if part for name in part.split(",")] == ids
    assert all(len(part.replace(",", "%2C")) <= 2000 for part in parts if part)


def test_split_job_ids_counts_what_the_url_will_hold():
    assert list(sdk.split_job_ids("ä,ä,ä", 20)) == ["ä,ä", "ä"]


async def test_fitness_checks_are_the_registered_ones_only(monkeypatch):
    ran = []
    monkeypatch.setattr(sdk.rp_fitness, "_fitness_checks", [lambda: ran.append("custom")])
    monkeypatch.setattr(
        sdk.rp_fitness, "_registration_state", {"gpu_check": False, "system_checks": False}
    )
    await sdk.run_fitness_checks()
    assert ran == ["custom"]
    assert len(sdk.rp_fitness._fitness_checks) == 1


async def test_seldom_calls_once_for_all_calls_of_a_while():
    calls = []
    seldom = sdk.Seldom(lambda: calls.append(len(calls)), delay_s=0.01)
    for _ in range(300):
        seldom()
    assert calls == []
    await asyncio.sleep(0.05)
    assert calls == [0]
    seldom()
    await asyncio.sleep(0.05)
    assert calls == [0, 1]


def test_seldom_calls_at_once_without_an_event_loop():
    calls = []
    seldom = sdk.Seldom(lambda: calls.append(True), delay_s=60)
    seldom()
    seldom()
    assert calls == [True, True]
