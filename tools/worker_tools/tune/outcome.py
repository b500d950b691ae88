"""How both commands show progress, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.console import report_problems
from worker.errors import ConfigurationError, ExitCode, WorkerError
from worker.redaction import Redactor
from worker_tools.batch.command import INTERRUPTED
from worker_tools.batch.input_file import InvalidFileError
from worker_tools.runpod_api import KEY_VARIABLE
from worker_tools.tune.load import OnProgress
from worker_tools.tune.target import CLIENT_KEY

SHOWN_PROBLEMS = 20


def guard(command: str, environ: Mapping[str, str], notes: Console, run: Callable[[], int]) -> int:
    """Run a command; print what stops it, and return the exit status.

    Args:
        command: Its name.
        environ: Has the keys that no message may show.
        notes: Where to print.
        run: The command.
    """
    redact = Redactor(
        [key for name in (KEY_VARIABLE, CLIENT_KEY) if (key := environ.get(name, "").strip())]
    )

    def say(text: str) -> None:
        notes.print(f"worker {command}: {redact(text)}", markup=False, soft_wrap=True)

    try:
        return run()
    except InvalidFileError as error:
        for problem in error.problems[:SHOWN_PROBLEMS]:
            notes.print(str(problem), markup=False, soft_wrap=True)
        say(str(error))
        return ExitCode.CONFIGURATION
    except ConfigurationError as error:
        report_problems(error.problems, console=notes)
        return error.exit_code
    except WorkerError as error:
        say(str(error))
        return error.exit_code
    except OSError as error:
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return ExitCode.UNAVAILABLE
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


@contextmanager
def show_progress(notes: Console, title: str, total: int) -> Iterator[OnProgress]:
    """Show a bar for a load; yield the function that moves it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[failed]} failed"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(title, total=total, failed=0)
        yield lambda done, failed: bar.update(task, completed=done, failed=failed)
