"""The code blocks of the README, for tests that run them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"

LOCAL_URL = "http://127.0.0.1:8000/v2/local"
"""Where the README's requests go: `make dev` as it starts by default."""

RUNPOD_URL = "https://api.runpod.ai/v2/ENDPOINT_ID"
"""Where the requests of the page on deployment go."""

RUNPOD_MODEL = "Qwen/Qwen3-8B"

DEMO_MODEL = "SmolLM2-135M-Instruct"

FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: The word after the fence; empty where none is given.
        text: The lines inside.
        line: Number of its first line in the file.
    """

    language: str
    text: str
    line: int

    @property
    def is_request(self) -> bool:
        """Whether it asks a running endpoint; the end-to-end tests run these."""
        return LOCAL_URL in self.text or RUNPOD_URL in self.text

    def aim(self, url: str, model: str) -> str:
        """Return the text with another endpoint and another model in it."""
        text = self.text
        for place in (LOCAL_URL, RUNPOD_URL):
            text = text.replace(place, url)
        return text.replace(DEMO_MODEL, model).replace(RUNPOD_MODEL, model)


def read_blocks(path: Path = README) -> list[Block]:
    """Return all fenced blocks of a Markdown file, in order."""
    markdown = path.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            textwrap.dedent(found["text"]),
            markdown.count("\n", 0, found.start("text")) + 1,
        )
        for found in FENCE.finditer(markdown)
    ]
