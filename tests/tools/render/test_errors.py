from worker.request import ERROR_SPECS
from worker_tools.render.errors import render_errors


def test_errors_page_has_a_heading_and_a_remedy_for_every_code():
    page = render_errors()

    for code, spec in ERROR_SPECS.items():
        assert f"### `{code.value}`\n\nStatus {spec.status}. {spec.meaning}" in page
        assert spec.remedy in page
