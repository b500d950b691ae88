import inspect
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from worker_tools.cli import dev
from worker_tools.dev.limits import Limits, describe_limits

PAGE = Path(__file__).parents[3] / "docs" / "local-endpoint.md"


def test_docs_hold_the_table_of_limits():
    assert describe_limits() in PAGE.read_text(encoding="utf-8"), (
        f"put this table into {PAGE.name}:\n{describe_limits()}"
    )


def test_docs_list_exactly_the_options_of_the_command():
    listed = set(re.findall(r"`--([a-z-]+)`", PAGE.read_text(encoding="utf-8")))
    assert listed == {name.replace("_", "-") for name in inspect.signature(dev).parameters}


def test_every_limit_says_what_it_is_and_where_it_comes_from():
    for name, field in Limits.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name
        assert isinstance(field.json_schema_extra, dict), name


@pytest.mark.parametrize(
    "values", [{"take_hold_s": 0}, {"chunk_bytes": 3}, {"no_such_limit": 1}], ids=str
)
def test_limits_refuse_nonsense(values):
    with pytest.raises(ValidationError):
        Limits(**values)
