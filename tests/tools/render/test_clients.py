"""The list of clients: from tests, groups and locks."""

import re
import tomllib

import pytest

from worker_tools.render.clients import PAGE, clients_page, list_clients
from worker_tools.render.outputs import ROOT

NO_CLIENTS = {"torch"}
"""Packages that stand in a group only because a client needs them."""


def test_every_client_of_a_group_has_tests():
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    named = {
        re.split(r"[^\w-]", entry)[0]
        for group in ("clients", "clients-earlier")
        for entry in groups[group]
        if isinstance(entry, str)
    }
    assert {client.package for client in list_clients(ROOT)} == named - NO_CLIENTS


def test_every_client_has_a_version_and_a_summary():
    for client in list_clients(ROOT):
        lock = (ROOT / "requirements" / f"{client.group}.lock").read_text()
        assert f"\n{client.package}=={client.version}\n" in lock
        assert re.fullmatch(r"[^\n]+\.", client.summary)


def test_page_shows_version_and_summary():
    page = (ROOT / PAGE).read_text()
    for client in list_clients(ROOT):
        row = next(line for line in page.splitlines() if f"[`{client.package}`]" in line)
        assert f"| {client.version} | {client.summary}" in row


@pytest.fixture
def project(tmp_path):
    (tmp_path / "requirements").mkdir()
    (tmp_path / "tests/clients").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[dependency-groups]\nclients = ["a-b[c]>=1", "d"]\n')
    (tmp_path / "requirements/clients.lock").write_text("# x\na-b==1.2\nd==3\n")
    (tmp_path / "tests/clients/test_a_b.py").write_text('"""Plain."""\n')
    return tmp_path


def test_clients_are_the_modules_with_tests(project):
    [client] = list_clients(project)
    assert (client.package, client.version, client.summary) == ("a-b", "1.2", "Plain.")
    assert "| 1.2 | Plain. |" in clients_page(project)


def test_client_of_no_group_is_an_error(project):
    (project / "tests/clients/test_e.py").write_text('"""Plain."""\n')
    with pytest.raises(KeyError, match="e"):
        list_clients(project)
