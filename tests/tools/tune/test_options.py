"""docs/tune.md has the options as they are declared."""

from pathlib import Path

import pytest

from worker_tools.deploy.options import option_texts
from worker_tools.tune.options import BenchOptions, TuneOptions, WorkloadOptions

PAGE = Path(__file__).parents[3] / "docs" / "tune.md"
COMMON = {each.flag for each in option_texts(WorkloadOptions)}


@pytest.mark.parametrize("options", [WorkloadOptions, BenchOptions, TuneOptions])
def test_page_has_the_table_of_options(options):
    rows = ["| Option | Default | Meaning |", "|---|---|---|"]
    for each in option_texts(options):
        if options is WorkloadOptions or each.flag not in COMMON:
            rows.append(f"| `{each.flag}` | {each.default} | {each.summary} |")
    table = "\n".join(rows)
    assert table in PAGE.read_text(encoding="utf-8"), table
