from pathlib import Path

import pytest
import yaml

from worker.engine.startup_errors import CAUSE_LIMIT, describe_exit, explain_startup_failure

RECORDED = yaml.safe_load((Path(__file__).parent / "failed_starts.yaml").read_text())

WRAPPED = (
    "RuntimeError",
    "Engine core initialization failed. See root cause above. Failed core proc(s): "
    "{'EngineCore_DP0': 1}",
)
MODEL_CONFIG = """1 validation error for ModelConfig
  Value error, Invalid repository ID or local directory specified: '/nope'.
Please verify the following requirements:
1. Provide a valid Hugging Face repository ID.
 [type=value_error, input_value=ArgsKwargs((), {'model': '/nope'}), input_type=ArgsKwargs]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error"""
TOO_LONG = """1 validation error for ModelConfig
  Value error, User-specified max_model_len (9) is greater than the derived max_model_len (8). \
[type=value_error, input_value={'hf_token': 'secret'}, input_type=dict]
    For further information visit https://errors.pydantic.dev/2.14/v/value_error"""
ONE_FIELD = """1 validation error for SchedulerConfig
max_num_seqs
  Input should be greater than or equal to 1 [type=greater_than_equal, input_value=0, \
input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/greater_than_equal"""
CORE = "(EngineCore pid=4711) ERROR 11-23 10:00:00 [core.py:1100] "


@pytest.mark.parametrize(
    ("reported", "output", "status", "sentence"),
    [
        pytest.param(
            (
                "OSError",
                "org/nope is not a local folder and is not a valid model identifier listed on "
                "'https://huggingface.co/models'\nIf this is a private repository, …",
            ),
            [],
            1,
            "The model was not found: check MODEL_NAME (an id like org/name, or a folder that "
            "exists in this container), and HF_TOKEN if the model is private. vLLM said: OSError: "
            "org/nope is not a local folder and is not a valid model identifier listed on "
            "'https://huggingface.co/models'",
            id="model-absent",
        ),
        pytest.param(
            ("ValidationError", MODEL_CONFIG),
            [],
            1,
            "The model was not found: check MODEL_NAME (an id like org/name, or a folder that "
            "exists in this container), and HF_TOKEN if the model is private. vLLM said: "
            "ValidationError: Invalid repository ID or local directory specified: '/nope'.",
            id="folder-absent",
        ),
        pytest.param(
            (
                "OSError",
                "You are trying to access a gated repo.\nMake sure to have access to it at …",
            ),
            ["huggingface_hub.errors.GatedRepoError: 401 Client Error. (Request ID: Root=1)"],
            1,
            "The model is gated: accept its licence on its page and set HF_TOKEN to a token of "
            "that account. vLLM said: OSError: You are trying to access a gated repo.",
            id="gated",
        ),
        pytest.param(
            ("HfHubHTTPError", "401 Client Error: Unauthorized for url: https://…/config.json"),
            [],
            1,
            "The model hub refused the token: set HF_TOKEN to a valid one. vLLM said: "
            "HfHubHTTPError: 401 Client Error: Unauthorized for url: https://…/config.json",
            id="token-refused",
        ),
        pytest.param(
            (
                "OSError",
                "We couldn't connect to 'https://huggingface.co' to load the files, and couldn't "
                "find them in the cached files.\nCheck your internet connection …",
            ),
            [],
            1,
            "The model is not on disk and the model hub cannot be reached: check MODEL_NAME, the "
            "network, or bake the model into the image. vLLM said: OSError: We couldn't connect to "
            "'https://huggingface.co' to load the files, and couldn't find them in the cached "
            "files.",
            id="offline",
        ),
        pytest.param(
            WRAPPED,
            [
                CORE + "Traceback (most recent call last):",
                CORE + '  File "weight_utils.py", line 1, in download',
                CORE + "OSError: [Errno 28] No space left on device",
                "RuntimeError: " + WRAPPED[1],
            ],
            1,
            "The disk is full: give the endpoint a larger container disk or network volume. vLLM "
            "said: OSError: [Errno 28] No space left on device",
            id="disk-full",
        ),
        pytest.param(
            WRAPPED,
            [
                CORE + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 112.00 MiB. "
                "GPU 0 has a total capacity of 15.77 GiB of which 28.88 MiB is free."
            ],
            1,
            "The GPU's memory is too small: choose a larger GPU, more GPUs, a quantized model, or "
            "a lower MAX_MODEL_LEN or MAX_NUM_SEQS. vLLM said: torch.OutOfMemoryError: CUDA out "
            "of memory. Tried to allocate 112.00 MiB. GPU 0 has a total capacity of 15.77 GiB of "
            "which 28.88 MiB is free.",
            id="gpu-out-of-memory",
        ),
        pytest.param(
            WRAPPED,
            [
                CORE + "ValueError: To serve at least one request with the models's max seq len "
                "(131072), 16.0 GiB KV cache is needed, which is larger than the available KV "
                "cache memory (3.4 GiB)."
            ],
            1,
            "Too little memory is left for the KV cache: lower MAX_MODEL_LEN, raise "
            "GPU_MEMORY_UTILIZATION, or choose a larger GPU. vLLM said: ValueError: To serve at "
            "least one request with the models's max seq len (131072), 16.0 GiB KV cache is "
            "needed, which is larger than the available KV cache memory (3.4 GiB).",
            id="kv-cache-too-small",
        ),
        pytest.param(
            WRAPPED,
            [CORE + "ValueError: Free memory on device cuda:0 (2.1/15.77 GiB) on startup is less"],
            1,
            "Another process holds GPU memory: lower GPU_MEMORY_UTILIZATION or free the GPU. vLLM "
            "said: ValueError: Free memory on device cuda:0 (2.1/15.77 GiB) on startup is less",
            id="gpu-in-use",
        ),
        pytest.param(
            WRAPPED,
            [
                CORE + "safetensors_rust.SafetensorError: Error while deserializing header: "
                "MetadataIncompleteBuffer"
            ],
            1,
            "A weight file is damaged: delete it from the cache, and the next start downloads it "
            "again. vLLM said: safetensors_rust.SafetensorError: Error while deserializing header: "
            "MetadataIncompleteBuffer",
            id="damaged-file",
        ),
        pytest.param(
            ("SystemExit", "vLLM refused its arguments (2)"),
            [
                "usage: vllm serve [model_tag] [options]",
                "vllm serve: error: argument --dtype: invalid choice: 'float17'",
            ],
            2,
            "vLLM did not start: argument --dtype: invalid choice: 'float17'",
            id="bad-argument",
        ),
        pytest.param(
            ("ValidationError", TOO_LONG),
            [],
            1,
            "The model does not support a context of this length: lower MAX_MODEL_LEN, or unset "
            "it. vLLM said: ValidationError: User-specified max_model_len (9) is greater than the "
            "derived max_model_len (8).",
            id="pydantic-finding-without-its-input",
        ),
        pytest.param(
            ("ValidationError", "Unterminated string starting at: line 1 column 2 (char 1)"),
            [],
            1,
            "One of the model's JSON files, or the head of a weight file, is damaged: delete it "
            "from the cache to download it again. vLLM said: ValidationError: "
            "Unterminated string starting at: line 1 column 2 (char 1)",
            id="damaged-head",
        ),
        pytest.param(
            ("ValidationError", ONE_FIELD),
            [],
            1,
            "vLLM did not start: ValidationError: max_num_seqs: Input should be greater than or "
            "equal to 1",
            id="pydantic-finding-with-its-field",
        ),
        pytest.param(
            None,
            ["INFO 11-23 10:00:00 loading"],
            -9,
            "The system killed vLLM, most often because the container has too little memory (RAM): "
            "choose a machine with more, or a smaller model. vLLM said: the process ended with "
            "SIGKILL",
            id="killed",
        ),
        pytest.param(
            ("RuntimeError", WRAPPED[1].replace("1}", "-9}")),
            [],
            1,
            "The system killed vLLM, most often because the container has too little memory (RAM): "
            "choose a machine with more, or a smaller model. vLLM said: RuntimeError: "
            + WRAPPED[1].replace("1}", "-9}"),
            id="engine-core-killed",
        ),
        pytest.param(
            ("OSError", "[Errno 122] Disk quota exceeded"),
            ["WARNING 404 Client Error: chat_template.jinja is optional"],
            1,
            "The disk is full: give the endpoint a larger container disk or network volume. vLLM "
            "said: OSError: [Errno 122] Disk quota exceeded",
            id="cause-before-earlier-noise",
        ),
        pytest.param(
            WRAPPED, [], 1, "vLLM did not start: RuntimeError: " + WRAPPED[1], id="wrapper-only"
        ),
        pytest.param(
            None, [], -11, "vLLM did not start: the process ended with SIGSEGV", id="crash"
        ),
        pytest.param(
            None, [], 3, "vLLM did not start: the process ended with status 3", id="no-output"
        ),
        pytest.param(
            ("KeyError", ""), [], 1, "vLLM did not start: KeyError: no message", id="no-message"
        ),
    ],
)
def test_explain_startup_failure_returns_cause_and_remedy(reported, output, status, sentence):
    assert explain_startup_failure(reported, output, status) == sentence


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "status 0"), (1, "status 1"), (-9, "SIGKILL"), (-15, "SIGTERM"), (-40, "signal 40")],
)
def test_describe_exit_names_statuses_and_signals(status, words):
    assert describe_exit(status) == words


@pytest.mark.parametrize("name", RECORDED)
def test_explain_startup_failure_recorded_output_gets_a_remedy(name):
    case = RECORDED[name]
    sentence = explain_startup_failure(tuple(case["reported"]), case["output"], 1)
    remedy, _, cause = sentence.partition(". vLLM said: ")
    assert remedy.startswith(case["starts"])
    assert 0 < len(cause) <= CAUSE_LIMIT
    assert "Engine core initialization failed" not in cause
