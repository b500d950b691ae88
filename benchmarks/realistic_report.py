"""The report on a realistic model: table, targets, and variation between rounds."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.client import Load
from benchmarks.realistic import PARTNERS, Comparison
from benchmarks.report import describe_facts, describe_target_results, make_table
from benchmarks.served import CONTROL, HTTP, QUEUE, SERVE
from benchmarks.targets import TargetResult
from worker.settings.groups import StreamingSettings

MAX_DELAY_MS: float = StreamingSettings.model_fields["max_delay_ms"].default

COLUMNS = {
    "TTFT p50 / p99 ms": ("ttft", 0),
    "TPOT p50 / p99 ms": ("tpot", 1),
    "ITL p50 / p99 ms": ("itl", 1),
}

LEGEND = """\
Medians of the rounds, as vLLM's own `vllm bench serve` measures them: {prompt} random tokens in,
{tokens} out, all streamed. *TTFT*: time to the first token. *TPOT*: time per token after it, of a
whole answer. *ITL*: time between two events; in queue mode several come with one chunk, and no time
passes between those. Each system takes turns with `vllm serve`, which has the same options, prompts
and arrivals, and its own default of one API server. *engine*: vLLM without any server, in the
client's process. All share one compile cache. The queue is a local endpoint with a round trip of
{rtt_ms:g} ms."""

CONTROL_LEGEND = f"""
*{CONTROL}*: a second `vllm serve`. What it differs by from the first is noise."""

NOISE = """\
How far the rounds of `vllm serve` itself are apart, in the median of all loads (each round has its
own prompts and arrivals): {noise}."""


def describe_comparison(comparison: Comparison) -> str:
    """Return the whole section as Markdown."""
    loads = list(dict.fromkeys(timing.load for timing in comparison.timings))
    controlled = any(timing.system == CONTROL for timing in comparison.timings)
    legend = LEGEND + CONTROL_LEGEND * controlled
    lengths = {"prompt": loads[0].prompt_tokens, "tokens": loads[0].tokens} if loads else {}
    head = ("load", "system", "rounds", "tokens/s", *COLUMNS, "end to end p99 ms")
    parts = [
        describe_facts(comparison.facts),
        make_table(head, _make_rows(comparison, loads)),
        legend.format(rtt_ms=comparison.rtt_ms, **lengths) if loads else "",
        describe_target_results(check_comparison(comparison, loads)),
        *_describe_noise(comparison, loads),
        *(
            ["\n".join(f"- not measured: {why}" for why in comparison.failures)]
            * bool(comparison.failures)
        ),
    ]
    return "\n\n".join(part for part in parts if part)


def check_comparison(comparison: Comparison, loads: list[Load]) -> Iterator[TargetResult]:
    """Yield every target with its figures."""
    for load in loads:
        ours, serve = (comparison.median(system, HTTP, load) for system in (HTTP, SERVE))
        if ours and serve:
            for name, figure, ratio, more_ms in (
                ("ITL p50", "itl_p50_ms", 1.05, 0.0),
                ("ITL p99", "itl_p99_ms", 1.05, 0.0),
                ("TPOT p50", "tpot_p50_ms", 1.01, 0.0),
                ("TTFT p50", "ttft_p50_ms", 1.0, 3.0),
            ):
                limit = (
                    f"{ratio:g} times that of `{SERVE}`" if ratio > 1 else f"that + {more_ms:g} ms"
                )
                target = f"{HTTP}: {name}, {load}, at most {limit}"
                yield TargetResult(target, ours[figure], ratio * serve[figure] + more_ms, "ms")
    for load in loads:
        ours, serve = (comparison.median(system, QUEUE, load) for system in (QUEUE, SERVE))
        if ours and serve:
            limit_ms = 1.01 * serve["tpot_p50_ms"] + comparison.rtt_ms / (load.tokens - 1)
            target = f"{QUEUE}: TPOT p50, {load}, at most 1.01 times that and one round trip in all"
            yield TargetResult(target, ours["tpot_p50_ms"], limit_ms, "ms")
            target = f"{QUEUE}: ITL p99, {load}, at most twice STREAM_MAX_DELAY_MS"
            yield TargetResult(target, ours["itl_p99_ms"], 2 * MAX_DELAY_MS, "ms")


def _make_rows(comparison: Comparison, loads: list[Load]) -> Iterator[tuple[str, ...]]:
    for load in loads:
        for pair in PARTNERS.values():
            for system in (SERVE, pair):
                if found := comparison.median(system, pair, load):
                    yield (
                        str(load),
                        f"`{SERVE}`" if system == SERVE else system,
                        str(len(comparison.rounds(system, pair, load))),
                        f"{found['tokens_per_s']:,.0f}",
                        *(
                            f"{found[f'{key}_p50_ms']:,.{n}f} / {found[f'{key}_p99_ms']:,.{n}f}"
                            for key, n in COLUMNS.values()
                        ),
                        f"{found['end_p99_ms']:,.0f}",
                    )


def _describe_noise(comparison: Comparison, loads: list[Load]) -> list[str]:
    """Return by how much the rounds of `vllm serve` differ, if a load has several."""
    spread: dict[str, list[float]] = {}
    for load in loads:
        found = [one for pair in PARTNERS.values() for one in comparison.rounds(SERVE, pair, load)]
        for name in ("ttft_p50_ms", "tpot_p50_ms", "itl_p50_ms", "itl_p99_ms"):
            values = [one[name] for one in found]
            if len(values) > 1:
                spread.setdefault(name, []).append(max(values) / min(values) - 1)
    if not spread:
        return []
    middle = {name: sorted(shares)[len(shares) // 2] for name, shares in spread.items()}
    texts = [f"{name[:-3].replace('_', ' ').upper()} {v:.0%}" for name, v in middle.items()]
    return [NOISE.format(noise=", ".join(texts).replace(" P", " p"))]
