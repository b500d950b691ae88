"""The built-in profiles themselves: schema, options, facts, hardware, engine arguments."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from worker.machine import GIB, MachineInfo
from worker.profile import builtin_folder, load_all
from worker.profile.model import FACTS, UNCONFIRMED
from worker.profile.pools import find_pool
from worker.settings import load_settings
from worker.sizing import load_target, place_on
from worker.vllm_options.schema import read_schema

FOLDER = builtin_folder()
ROOT = Path(__file__).parents[2]
FILES = sorted(FOLDER.rglob("*.yaml"))
PROFILES = {profile.name: profile for profile in load_all(FOLDER)}
SCHEMA = jsonschema.Draft202012Validator(
    json.loads((ROOT / "schemas" / "profile.schema.json").read_text())
)

MOST_LINES = 60
"""Lines of a profile that people still read."""


def arguments_of(name):
    gpus = PROFILES[name].about.hardware.gpus
    return load_settings({"PROFILE": name}, machine=MachineInfo(gpus, 64 * GIB)).engine_arguments()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(FOLDER).as_posix())
def test_file_is_valid_short_and_names_its_schema(path):
    text = path.read_text()
    first = text.splitlines()[0]
    place = first.removeprefix("# yaml-language-server: $schema=")

    assert (path.parent / place).resolve() == ROOT / "schemas" / "profile.schema.json"
    assert text.count("\n") <= MOST_LINES
    assert [error.message for error in SCHEMA.iter_errors(yaml.safe_load(text))] == []


@pytest.mark.parametrize("name", PROFILES)
def test_engine_arguments_of_a_profile(name, snapshot):
    assert arguments_of(name) == snapshot


@pytest.mark.parametrize("name", PROFILES)
def test_profile_alone_is_complete(name):
    profile = PROFILES[name]

    settings = load_settings({"PROFILE": name}, machine=MachineInfo(8, 64 * GIB))
    assert settings.model.name == profile.model
    assert settings.warnings == ()
    assert profile.about.title
    assert re.fullmatch(r"[A-Z].{10,100}\.", profile.about.summary)


@pytest.mark.parametrize("name", PROFILES)
def test_every_fact_is_known_with_its_source(name):
    about = PROFILES[name].about
    facts = {fact: about.fact(fact) for fact in FACTS}
    optional = ("active_parameters", "encoder_bytes", "adapter_widths", "licence", "gated")

    assert [fact for fact, value in facts.items() if value is None and fact not in optional] == []
    assert all(fact.source for fact in facts.values() if fact is not None)


@pytest.mark.parametrize("name", PROFILES)
def test_only_access_may_be_unconfirmed(name):
    about = PROFILES[name].about
    facts = {fact: about.fact(fact) for fact in FACTS}
    doubtful = {fact for fact, value in facts.items() if value and not value.confirmed}

    assert doubtful <= {"gated"}


@pytest.mark.parametrize("name", PROFILES)
def test_source_names_no_version_of_vllm(name):
    versioned = [
        facts.source
        for facts in PROFILES[name].about.facts
        if re.search(r"vllm v?\d", facts.source, re.IGNORECASE)
    ]
    assert versioned == [], "the version of the registry is the capture's, not the profile's"


@pytest.mark.parametrize("name", PROFILES)
def test_architecture_is_one_that_vllm_supports(name):
    architecture = PROFILES[name].about.fact("architecture").value

    known = {item for names in read_schema().architectures.values() for item in names}
    assert architecture in known


@pytest.mark.parametrize("name", PROFILES)
def test_layers_are_those_that_the_weights_can_have(name):
    about = PROFILES[name].about
    parameters, weights = about.fact("parameters").value, about.fact("weight_bytes").value

    # A parameter takes between half a byte (four bits) and two; scales and embeddings add a bit.
    assert 0.5 <= weights / parameters <= 2.01


@pytest.mark.parametrize("name", PROFILES)
def test_hardware_is_what_the_facts_say(name):
    hardware = PROFILES[name].about.hardware
    question = load_target({}, name)
    pools = [find_pool(pool) for pool in hardware.pools]
    prices = [pool.usd_per_s for pool in pools]

    assert pools
    assert prices == sorted(prices)
    for pool in pools:
        assert pool.memory_bytes >= hardware.memory_gib * GIB
        assert place_on(question, pool.name, pool.memory_bytes, hardware.gpus, pool).fit.fits
    just_enough = place_on(question, "", int(hardware.memory_gib * GIB), hardware.gpus)
    assert just_enough.fit.fits


@pytest.mark.parametrize("name", [name for name in PROFILES if PROFILES[name].about.speculation])
def test_preset_for_speculation_has_a_method_and_a_source(name):
    about = PROFILES[name].about
    preset = about.speculation

    assert about.task == "generate"
    assert preset.source != UNCONFIRMED
    assert preset.config["num_speculative_tokens"] > 0
    assert (preset.config["method"] == "ngram") == (preset.weight_bytes == 0)


def test_there_are_profiles_for_what_people_serve():
    names = " ".join(PROFILES)
    families = (
        "llama-3 qwen3- qwen3.6 coder fp8 awq a3b gemma mistral devstral gpt-oss-20b gpt-oss-120b "
        "distill phi glm kimi minimax smollm vl embedding rerank whisper deepseek-v3.2 deepseek-v4 "
        "glm-4.7 glm-5 kimi-k2.7-code minimax-m3 qwen3.5 qwen3.8 gemma-4-e2b gemma-4-12b "
        "nemotron-3-super mistral-small-4 mistral-large-3 ministral-3-3b ministral-3-14b granite-4 "
        "lfm2.5-1.2b lfm2.5-8b qwen3.5-0.8b qwen3.5-2b asr"
    )

    assert len(PROFILES) >= 90
    assert [family for family in families.split() if family not in names] == []


def test_nothing_of_another_profile_is_described_twice():
    titles = [profile.about.title for profile in PROFILES.values()]
    summaries = [
        (profile.about.summary, profile.model.split("/")[0]) for profile in PROFILES.values()
    ]

    assert len(set(titles)) == len(titles)
    assert len(set(summaries)) >= len(summaries) - 8
