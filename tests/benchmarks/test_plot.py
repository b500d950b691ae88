from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.plot import Axis, Panel, decades, draw

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("least", "most", "expected"),
    [
        pytest.param(1, 100, [1, 2, 5, 10, 20, 50, 100], id="marks-themselves"),
        pytest.param(3, 30, [2, 5, 10, 20, 50], id="around"),
        pytest.param(0.04, 0.3, [0.02, 0.05, 0.1, 0.2, 0.5], id="below-one"),
        pytest.param(7, 7, [5, 10], id="one-value"),
        pytest.param(5, 5, [5, 10], id="one-value-on-a-mark"),
    ],
)
def test_decades_enclose_the_values(least, most, expected):
    assert decades(least, most) == pytest.approx(expected)


def test_axis_place_is_logarithmic():
    axis = Axis(1, 100, 0, 200)

    assert [axis.place(value) for value in (1, 10, 100)] == pytest.approx([0, 100, 200])


def test_axis_place_with_one_value_is_its_start():
    assert Axis(8, 8, 10, 200).place(8) == 10


def test_draw_makes_a_line_per_system_in_each_panel():
    panels = [
        Panel("wall, s", {"engine": [(1, 0.2), (8, 0.4)], "worker": [(1, 0.3), (8, 0.5)]}),
        Panel("kB <per stream>", {"worker": [(1, 7.0), (8, 7.0)]}),
        Panel("nothing", {}),
    ]

    root = ElementTree.fromstring(draw(panels))

    lines = root.findall(f".//{SVG}g/{SVG}polyline")
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert len(lines) == 3
    assert {"engine", "worker", "kB <per stream>", "nothing"} <= set(texts)


def test_names_in_the_legend_do_not_run_into_each_other():
    names = ["engine", "worker", "a name that is longer", "worker-vllm"]
    root = ElementTree.fromstring(draw([Panel("s", {name: [(1, 1.0)] for name in names})]))

    marks = [line for line in root.iter(f"{SVG}polyline") if line in list(root)]
    texts = [text for text in root.iter(f"{SVG}text") if text in list(root)]

    assert [text.text for text in texts] == names
    for text, following in zip(texts, marks[1:], strict=False):
        end = float(text.attrib["x"]) + 6 * len(text.text or "")
        assert end < float(following.attrib["points"].split(",")[0])
