"""Run the command line as `python -m worker`."""

from worker.cli import app

app()
