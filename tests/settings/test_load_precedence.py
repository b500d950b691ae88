"""Default < profile < file < environment: one test for each pair, and the merging of objects."""

import pytest

from worker.errors import ConfigurationError
from worker.machine import GIB, MachineInfo
from worker.settings import load_settings

GPU = MachineInfo(1, 24 * GIB)
ADAPTERS = "VLLM_ALLOW_RUNTIME_LORA_UPDATING"
KEPT_ANSWERS = "VLLM_ENABLE_RESPONSES_API_STORE"


@pytest.fixture
def config_file(tmp_path):
    def write(text, name="settings.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def source_of(settings, name):
    found = [item for item in settings.values if item.option.name == name]
    return (found[0].value, found[0].origin) if found else None


def test_precedence_profile_over_default():
    settings = load_settings({}, profile={"max_num_seqs": 64}, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (64, "profile")


def test_precedence_file_over_default(config_file):
    environ = {"WORKER_CONFIG": config_file("max_num_seqs: 32")}
    settings = load_settings(environ, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (32, "file settings.yaml")


def test_precedence_environment_over_default():
    settings = load_settings({"MAX_NUM_SEQS": "16"}, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (16, "environment")


def test_precedence_file_over_profile(config_file):
    environ = {"WORKER_CONFIG": config_file("max_num_seqs: 32")}
    settings = load_settings(environ, profile={"max_num_seqs": 64}, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (32, "file settings.yaml")


def test_precedence_environment_over_profile():
    settings = load_settings({"MAX_NUM_SEQS": "16"}, profile={"max_num_seqs": 64}, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (16, "environment")


def test_precedence_environment_over_file(config_file):
    environ = {"WORKER_CONFIG": config_file("max_num_seqs: 32"), "MAX_NUM_SEQS": "16"}
    settings = load_settings(environ, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (16, "environment")


def test_precedence_empty_variable_leaves_the_file(config_file):
    environ = {"WORKER_CONFIG": config_file("max_num_seqs: 32"), "MAX_NUM_SEQS": ""}
    settings = load_settings(environ, machine=GPU)

    assert source_of(settings, "MAX_NUM_SEQS") == (32, "file settings.yaml")


def test_precedence_alias_above_canonical_name_below(config_file):
    environ = {"WORKER_CONFIG": config_file("default_min_batch_size: 4"), "MIN_BATCH_SIZE": "2"}

    assert load_settings(environ, machine=GPU).streaming.min_batch_size == 2


def test_objects_are_merged_deeply_across_layers(config_file):
    environ = {
        "WORKER_CONFIG": config_file("hf_overrides: {rope_parameters: {factor: 2.0}, a: 1}"),
        "HF_OVERRIDES": '{"rope_parameters": {"factor": 4.0}}',
    }
    profile = {"hf_overrides": {"rope_parameters": {"rope_type": "yarn"}, "a": 0, "b": [1]}}

    settings = load_settings(environ, profile=profile, machine=GPU)

    merged = {"rope_parameters": {"rope_type": "yarn", "factor": 4.0}, "a": 1, "b": [1]}
    source = "profile + file settings.yaml + environment"
    assert source_of(settings, "HF_OVERRIDES") == (merged, source)


def test_profile_is_found_by_name_and_by_path(tmp_path):
    (tmp_path / "small.yaml").write_text("about: {title: Small}\nmodel: org/small\n")
    by_name = load_settings({"PROFILE": "small"}, profiles=tmp_path, machine=GPU)
    by_path = load_settings({"PROFILE": str(tmp_path / "small.yaml")}, machine=GPU)

    assert by_name.model.name == by_path.model.name == "org/small"
    assert source_of(by_name, "MODEL_NAME") == ("org/small", "profile small")


@pytest.mark.parametrize(
    "text",
    ["max-model-len: 8k", "MAX_MODEL_LEN: 8000", "max_model_len: '8000'"],
    ids=["dashes", "upper-case", "quoted"],
)
def test_file_accepts_every_spelling_of_a_name(text, config_file):
    settings = load_settings({"WORKER_CONFIG": config_file(text)}, machine=GPU)

    assert source_of(settings, "MAX_MODEL_LEN") == (8000, "file settings.yaml")


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        ("max_modle_len: 1", ["file settings.yaml:max_modle_len", "max_model_len"]),
        ("api_key: x", ["cannot be set", "RunPod checks API keys"]),
        ("profile: x", ["can only be set as an environment variable"]),
        ("- a", ["not a mapping"]),
        ("a: [", ["not valid YAML in line"]),
        ("max_num_seqs: 0", ["out of range"]),
        ("max_num_seqs: [1]", ["not an integer"]),
    ],
    ids=["misspelt", "reserved", "source", "list", "syntax", "zero-by-hand", "wrong-type"],
)
def test_file_with_a_mistake_is_a_problem(text, fragments, config_file):
    with pytest.raises(ConfigurationError) as caught:
        load_settings({"WORKER_CONFIG": config_file(text)}, machine=GPU)

    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "fragment"),
    [
        ({"WORKER_CONFIG": "/nowhere/x.yaml"}, "WORKER_CONFIG: no such file"),
        ({"PROFILE": "smal"}, "Did you mean small?"),
        ({"PROFILE": "./x.yaml"}, "PROFILE: no such file"),
    ],
    ids=["file", "profile-name", "profile-path"],
)
def test_missing_source_is_a_problem(environ, fragment, tmp_path):
    (tmp_path / "small.yaml").write_text("")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environ, profiles=tmp_path, machine=GPU)

    assert fragment in str(caught.value)


def test_promised_defaults_depend_on_the_machine():
    with_gpu = load_settings({}, machine=MachineInfo(2, 64 * GIB))
    without = load_settings({}, machine=MachineInfo(0, 64 * GIB))

    assert source_of(with_gpu, "TENSOR_PARALLEL_SIZE") == (2, "default (GPUs: 2)")
    assert source_of(with_gpu, "GPU_MEMORY_UTILIZATION") == (0.95, "default (GPU)")
    assert source_of(without, "ENFORCE_EAGER") == (True, "default (no GPU)")
    assert source_of(without, "KV_CACHE_MEMORY_BYTES") == (4 * GIB, "default (no GPU)")
    assert source_of(without, "GPU_MEMORY_UTILIZATION") is None


ELASTIC = dict.fromkeys(("ENABLE_ELASTIC_EP", "ENABLE_EPLB", "ENABLE_EXPERT_PARALLEL"), "true")


@pytest.mark.parametrize(
    ("cores", "gpus", "environ", "servers"),
    [
        pytest.param(16, 1, {}, 4, id="sixteen-cores"),
        pytest.param(64, 1, {"MAX_CONCURRENCY": "1000"}, 4, id="never-more"),
        pytest.param(8, 1, {}, 2, id="eight-cores"),
        pytest.param(7, 1, {}, None, id="too-few-cores"),
        pytest.param(16, 0, {}, None, id="no-gpu"),
        pytest.param(16, 1, {"STARTUP_PROFILE": "throughput"}, 4, id="throughput"),
        pytest.param(16, 1, {"STARTUP_PROFILE": "fast"}, None, id="fast"),
        pytest.param(16, 1, {"MAX_CONCURRENCY": "64"}, None, id="few-jobs"),
        pytest.param(16, 1, {"MAX_CONCURRENCY": "65"}, 2, id="one-job-more"),
        pytest.param(16, 1, {"MAX_CONCURRENCY": "128"}, 2, id="twice-as-many"),
        pytest.param(16, 1, {"API_SERVER_COUNT": "1"}, 1, id="set"),
        pytest.param(16, 2, {"DATA_PARALLEL_SIZE": "2"}, None, id="several-engines"),
        pytest.param(16, 1, {"ENABLE_FAULT_TOLERANCE": "true"}, None, id="fault-tolerance"),
        pytest.param(16, 1, ELASTIC, None, id="elastic"),
        pytest.param(16, 1, {ADAPTERS: "true"}, None, id="runtime-adapters"),
        pytest.param(16, 1, {KEPT_ANSWERS: "1"}, None, id="kept-answers"),
    ],
)
def test_many_requests_go_through_several_servers(cores, gpus, environ, servers):
    hardware = MachineInfo(gpus, 64 * GIB, cores=cores)
    found = source_of(load_settings(environ, machine=hardware), "API_SERVER_COUNT")
    assert (found and found[0]) == servers


@pytest.mark.parametrize(
    ("cores", "gib", "found"),
    [
        pytest.param(16, 64, (4, "default (cores: 16)"), id="room-for-all"),
        pytest.param(16, 31, (3, "default (cores: 16)"), id="memory-for-three"),
        pytest.param(12, 64, (3, "default (cores: 12)"), id="cores-for-three"),
        pytest.param(8, 16, (2, "default (cores: 8)"), id="enough-for-two"),
        pytest.param(7, 64, None, id="too-few-cores"),
        pytest.param(16, 15, None, id="too-little-memory"),
    ],
)
def test_so_many_servers_take_requests_as_there_is_room_for(cores, gib, found):
    settings = load_settings({}, machine=MachineInfo(1, gib * GIB, cores=cores))
    assert source_of(settings, "API_SERVER_COUNT") == found
