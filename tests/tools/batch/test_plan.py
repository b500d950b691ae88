from worker_tools.batch.input_file import Line
from worker_tools.batch.plan import OVERHEAD_BYTES, build_call, split_calls, split_parts


def lines_of(*sizes):
    return tuple(Line(n, f"r-{n}", 0, size) for n, size in enumerate(sizes))


def test_split_parts_covers_all_lines():
    assert split_parts(11, 5) == [(0, 5), (5, 5), (10, 1)]
    assert split_parts(5, 5) == [(0, 5)]


def test_split_calls_stay_within_the_limit_as_built():
    lines = lines_of(*([40, 10, 300, 5, 5] * 20))
    limit = 400
    calls = list(split_calls(lines, limit))
    assert [first for first, _ in calls] == [0, *(first + count for first, count in calls[:-1])]
    assert sum(count for _, count in calls) == len(lines)
    bodies = [
        build_call(b"x" * line.size for line in lines[first : first + count])
        for first, count in calls
    ]
    assert all(len(body) <= limit for body in bodies)
    # No call could hold the next one's first line, too.
    for (first, count), body in zip(calls[:-1], bodies[:-1], strict=True):
        assert len(body) + lines[first + count].size + 12 > limit


def test_split_calls_sends_a_line_of_the_largest_size_alone():
    limit = 1000
    calls = list(split_calls(lines_of(5, limit - OVERHEAD_BYTES, 5), limit))
    assert calls == [(0, 1), (1, 1), (2, 1)]
    assert len(build_call([b"x" * (limit - OVERHEAD_BYTES)])) == limit


def test_build_call_is_the_body_of_an_append():
    assert build_call([b'{"a":1}', b"2"]) == b'{"requests":[{"input":{"a":1}},{"input":2}]}'
