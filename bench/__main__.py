"""`bench` and `python -m bench`."""

from __future__ import annotations

import sys


def main() -> None:
    from bench.cli.main import run_cli

    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
