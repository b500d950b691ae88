"""The options: declared once, for the command line and for the docs."""

import dataclasses

import typer
from typer.testing import CliRunner

from worker_tools.deploy.options import DeployOptions, option_texts, with_options


def parse(*line):
    app, got = typer.Typer(), []

    @app.command()
    @with_options(DeployOptions)
    def deploy(options: DeployOptions) -> None:
        got.append(options)

    result = CliRunner().invoke(app, line)
    return got[0] if got else result.output


def test_command_line_without_options_has_the_defaults():
    assert parse() == DeployOptions()


def test_every_option_is_parsed():
    line = (
        "p --image i --name n --mode load-balancer --gpu a --gpu b --gpus 2 "
        "--workers-min 1 --workers-max 5 --scale-by delay --scale-value 2.5 --idle-timeout 7 "
        "--no-flashboot --network-volume v --disk 30 --registry r --env A=1 --env B "
        "--secret C --execute --json"
    )
    assert parse(*line.split()) == DeployOptions(
        profile="p",
        image="i",
        name="n",
        mode="load-balancer",
        gpu=["a", "b"],
        gpus=2,
        workers_min=1,
        workers_max=5,
        scale_by="delay",
        scale_value=2.5,
        idle_timeout=7,
        flashboot=False,
        network_volume="v",
        disk=30,
        registry="r",
        env=["A=1", "B"],
        secret=["C"],
        execute=True,
        as_json=True,
    )


def test_value_out_of_bounds_is_refused():
    assert "--idle-timeout" in parse("--idle-timeout", "4000")
    assert "--mode" in parse("--mode", "pod")


def test_every_option_is_described_for_the_docs():
    texts = {text.flag: text for text in option_texts()}

    assert len(texts) == len(dataclasses.fields(DeployOptions))
    assert all(text.summary for text in texts.values())
    assert texts["--workers-min"].default == "0"
    assert texts["--flashboot/--no-flashboot"].default == "on"
    assert texts["--json"].default == "off"
    assert texts["PROFILE"].default == "—"
    assert texts["--env NAME=VALUE"].default == "—"
