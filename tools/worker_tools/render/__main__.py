"""`python -m worker_tools.render [--check | --dry-run]`."""

import sys

from worker_tools.render.command import Mode, run_render

if __name__ == "__main__":
    modes: dict[str, Mode] = {"--check": "check", "--dry-run": "dry-run"}
    chosen = [modes[argument] for argument in sys.argv[1:] if argument in modes]
    raise SystemExit(run_render(chosen[0] if chosen else "write"))
