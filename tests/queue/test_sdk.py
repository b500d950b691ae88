import pytest

from worker.queue import make_scaler, sdk
from worker.queue.loop import EventDrivenScaler, StockScaler


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


def test_log_levels_are_those_of_the_settings():
    from worker.config.groups import LogLevel

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
