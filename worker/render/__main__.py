"""`python -m worker.render [--check | --dry-run]`."""

import sys

from worker.render.command import run_render

if __name__ == "__main__":
    modes = {"--check": "check", "--dry-run": "dry-run"}
    chosen = [modes[argument] for argument in sys.argv[1:] if argument in modes]
    raise SystemExit(run_render(chosen[0] if chosen else "write"))
