"""The page and its files: headers, and rules that keep text of others out of HTML."""

import re

import pytest

from worker_tools.dev.web import static_files

MODULES = sorted(path for path in static_files.FOLDER.glob("*.js"))
MOST_LINES = 400


async def fetch(page, path, **options):
    async with page.api.session.get(page.origin + path, **options) as answer:
        return answer, await answer.text()


async def test_page_and_files_have_a_strict_policy(page):
    _, text = await fetch(page, "/")
    paths = re.findall(r'(?:href|src)="(/[^"]*)"', text)
    assert len(paths) >= 5
    for path in ["/", *paths]:
        answer, _ = await fetch(page, path)
        assert answer.status == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.content_type != "application/octet-stream"


async def test_page_names_only_its_own_files(page):
    _, text = await fetch(page, "/")
    assert "<script>" not in text
    assert "style=" not in text
    assert re.search(r"https?://", text) is None


async def test_every_import_of_a_module_is_served(page):
    for module in MODULES:
        for name in re.findall(r'from "\./([^"]+)"', module.read_text()):
            answer, _ = await fetch(page, f"/console/{name}")
            assert answer.status == 200, (module, name)


async def test_unchanged_file_is_not_sent_again(page):
    answer, _ = await fetch(page, "/console/app.js")
    headers = {"If-None-Match": answer.headers["ETag"]}
    again, text = await fetch(page, "/console/app.js", headers=headers)
    assert (again.status, text) == (304, "")


@pytest.mark.parametrize("path", ["/console/../feed.py", "/console/%2e%2e/feed.py", "/console/x"])
async def test_other_files_are_not_served(page, path):
    answer, _ = await fetch(page, path)
    assert answer.status == 404


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_module_never_parses_html_or_text_as_code(module):
    text = module.read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function",
        text,
    )
    assert text.count("\n") <= MOST_LINES
