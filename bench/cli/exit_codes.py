"""What `bench` ends with: stable, for scripts."""

from __future__ import annotations

EXIT_OK = 0
#: something that was asked for is missing: a failed task, a gate that is not met
EXIT_FAILED = 1
#: a sweep file, an option or a folder that cannot be used
EXIT_BAD_INPUT = 2
#: Ctrl-C
EXIT_INTERRUPTED = 130
