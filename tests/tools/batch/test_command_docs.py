"""docs/batch.md: its commands run, and its table is that of the options."""

import asyncio
import os
import sys
from pathlib import Path

from tests.support.markdown import read_blocks
from worker_tools.batch.options import BatchOptions
from worker_tools.deploy.options import option_texts

PAGE = Path(__file__).parents[3] / "docs" / "batch.md"


def describe_options() -> str:
    rows = ["| Option | Default | Meaning |", "|---|---|---|"]
    texts = option_texts(BatchOptions)
    rows += [f"| `{each.flag}` | {each.default} | {each.summary} |" for each in texts]
    return "\n".join(rows)


def test_page_has_the_table_of_options():
    assert describe_options() in PAGE.read_text(encoding="utf-8"), describe_options()


async def test_commands_of_the_page_run(tmp_path, endpoint, line_worker):
    blocks = read_blocks(PAGE)
    [lines] = [block.text for block in blocks if block.language == "jsonl"]
    (tmp_path / "requests.jsonl").write_text(lines)
    environ = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RUNPOD_ENDPOINT_BASE_URL": endpoint.url.rpartition("/")[0],
        "HOME": str(tmp_path),
    }
    commands = [block.text for block in blocks if block.language == "sh"]
    assert len(commands) == 4
    for command in commands:
        text = command.replace("ENDPOINT_ID", "local")
        text = text.replace("http://127.0.0.1:8000/v2/local", endpoint.url)
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euc", text),
            cwd=tmp_path,
            env=environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()
        expected = "all valid" if "--check" in command else "2 answered, 0 failed"
        assert expected in out.decode()
    assert set(line_worker.processed.values()) == {1}
