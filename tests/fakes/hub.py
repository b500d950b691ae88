"""A model hub on loopback: the endpoints that Hugging Face's own client uses to download."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.fakes.loopback_server import LoopbackServer

COMMIT = "1234567890abcdef1234567890abcdef12345678"
LARGE = (".safetensors", ".bin", ".pt", ".gguf", ".onnx")
"""Files that a real hub keeps as large ones, with a SHA-256 instead of git's name."""


@dataclass
class Repository:
    """Files, and who may see them."""

    files: dict[str, bytes]
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)
    token: str | None = None
    gated: bool = False
    outage: int | None = None
    """Status of every answer while the hub cannot serve it."""
    held: threading.Event | None = None
    """Where there is one, the answers about its files wait for it."""


@dataclass
class Hub:
    """The files of the hub and the requests to it.

    Attributes:
        repositories: By id.
        broken: Bytes after which the connection breaks, by file name; each breaks once, in a reply
            that is longer.
        damaged: Files that arrive with another first byte.
        asked: Method and path of every request.
        sent: Bytes that were sent of each file.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    url: str = ""

    def __enter__(self) -> Hub:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = LoopbackServer(Handler)
        self.url = self._server.url
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.close()

    def downloads(self) -> list[str]:
        """Return the names of the files that were sent, in order."""
        return [
            line.rsplit("/", 1)[1]
            for line in self.asked
            if line.startswith("GET /") and "/resolve/" in line
        ]


def repository_of(folder: Path, **extra: bytes) -> Repository:
    """Return a repository with the files of a folder."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return Repository({**files, **extra})


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_arguments: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        else:
            self._file(path.removeprefix("/"))

    def _find(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._refuse(404, "RepoNotFound")
            return None
        if repository.held is not None:
            repository.held.wait()
        if repository.outage is not None:
            self._refuse(repository.outage, "")
            return None
        if repository.token is not None:
            sent = self.headers.get("Authorization")
            if sent != f"Bearer {repository.token}":
                self._refuse(401, "GatedRepo" if repository.gated else "RepoNotFound")
                return None
        return repository

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _api(self, rest: str) -> None:
        if "/revision/" in rest:
            name, _, revision = rest.partition("/revision/")
        elif "/tree/" in rest:
            name, _, revision = rest.partition("/tree/")
        else:
            name, revision = rest, "main"
        repository = self._find(name)
        if repository is None:
            return
        if revision not in (*repository.branches, repository.commit):
            self._refuse(404, "RevisionNotFound")
        elif "/tree/" in rest:
            self._json([_entry(name, data) for name, data in repository.files.items()])
        else:
            siblings = [{"rfilename": name} for name in repository.files]
            self._json({"id": name, "sha": repository.commit, "siblings": siblings})

    def _file(self, rest: str) -> None:
        name, _, tail = rest.partition("/resolve/")
        revision, _, file = tail.partition("/")
        repository = self._find(name)
        if repository is None:
            return
        if revision not in (*repository.branches, repository.commit):
            self._refuse(404, "RevisionNotFound")
            return
        if file not in repository.files:
            self._refuse(404, "EntryNotFound")
            return
        data = repository.files[file]
        entry = _entry(file, data)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit}
        status = 200
        if (span := self.headers.get("Range")) and self.command == "GET":
            first, _, last = span.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        if file in self.hub.damaged:
            data = b"?" + data[1:]
        self._send(status, data, headers, file)

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, body: bytes, headers: dict[str, str], file: str | None = None
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if len(body) > self.hub.broken.get(file or "", len(body)):
            body = body[: self.hub.broken.pop(file or "")]
            self.close_connection = True
        if file is not None:
            self.hub.sent[file] += len(body)
        self.wfile.write(body)


def _entry(name: str, data: bytes) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": blob}
    if name.endswith(LARGE):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
    return entry
