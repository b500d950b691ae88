from __future__ import annotations

from benchmarks.load import Burst, build_input, build_prompts
from benchmarks.plan import plan_bursts, without_transport


def test_plan_measures_only_streamed_chats_at_other_round_trips():
    bursts = plan_bursts([1, 8], [0, 20], 64, base_rtt_ms=20, cross=False)

    assert bursts[:2] == [Burst(1, 64, 20), Burst(8, 64, 20)]
    assert {(b.stream, b.shape) for b in bursts if b.rtt_ms == 20} == {
        (True, "chat"),
        (True, "completion"),
        (False, "chat"),
        (False, "completion"),
    }
    assert {(b.stream, b.shape) for b in bursts if b.rtt_ms == 0} == {(True, "chat")}


def test_plan_cross_measures_everything_once():
    bursts = plan_bursts([1, 8, 32], [0, 20], 64, base_rtt_ms=20, cross=True)

    assert len(bursts) == len(set(bursts)) == 3 * 2 * 2 * 2


def test_plan_of_128_requests_has_shorter_whole_answers_too():
    bursts = plan_bursts([128], [20], 64, base_rtt_ms=20, cross=False)

    assert [b for b in bursts if b.tokens != 64] == [Burst(128, 8, 20, stream=False)]


def test_without_transport_differs_in_load_and_streaming_only():
    bursts = plan_bursts([8], [0, 20, 50], 64, base_rtt_ms=20, cross=True)

    assert {without_transport(burst) for burst in bursts} == {
        Burst(8, 64, stream=True),
        Burst(8, 64, stream=False),
    }


def test_build_prompts_never_repeats_a_beginning():
    prompts = build_prompts(Burst(3, 8)) + build_prompts(Burst(3, 8))

    assert len({prompt.split()[0] for prompt in prompts}) == 6


def test_build_input_asks_for_exactly_the_tokens():
    chat = build_input(Burst(1, 8), "Hello")
    whole = build_input(Burst(1, 8, stream=False, shape="completion"), "Hello")

    assert chat["openai_route"] == "/v1/chat/completions"
    assert chat["openai_input"]["max_tokens"] == 8
    assert chat["openai_input"]["stream_options"] == {"include_usage": True}
    assert whole["openai_route"] == "/v1/completions"
    assert whole["openai_input"]["prompt"] == "Hello"
    assert "stream_options" not in whole["openai_input"]
