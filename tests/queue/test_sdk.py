import asyncio
from typing import get_args

import pytest
from runpod.serverless.modules import rp_fitness, rp_http, rp_job

from worker.queue import sdk
from worker.redaction import REDACTED, Redactor


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

    assert set(sdk.LOG_LEVELS) == set(get_args(LogLevel))


@pytest.mark.parametrize(
    ("url", "template", "last"),
    [
        pytest.param(sdk.job_stream_url, "JOB_STREAM_URL", "false", id="stream"),
        pytest.param(sdk.job_done_url, "JOB_DONE_URL", "true", id="done"),
    ],
)
def test_urls_are_the_sdks(monkeypatch, url, template, last):
    monkeypatch.setattr(rp_http, template, "http://p/x/$ID?gpu=y")
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
    """The SDK adds its own checks, which take seconds and test what the preflight has tested."""
    ran = []
    monkeypatch.setattr(rp_fitness, "_fitness_checks", [lambda: ran.append("custom")])
    monkeypatch.setattr(
        rp_fitness, "_registration_state", {"gpu_check": False, "system_checks": False}
    )
    await sdk.run_fitness_checks()
    assert ran == ["custom"]
    assert len(rp_fitness._fitness_checks) == 1


async def test_debounced_calls_within_the_delay_become_one_call():
    calls = []
    debounced = sdk.Debounced(lambda: calls.append(len(calls)), delay_s=0.01)
    for _ in range(300):
        debounced()
    assert calls == []
    await asyncio.sleep(0.05)
    assert calls == [0]
    debounced()
    await asyncio.sleep(0.05)
    assert calls == [0, 1]


def test_debounced_without_an_event_loop_calls_at_once():
    calls = []
    debounced = sdk.Debounced(lambda: calls.append(True), delay_s=60)
    debounced()
    debounced()
    assert calls == [True, True]
