"""Faults that the emulated board can have, so that it can be tested that the agent sees them.

`EMULATED_FAULTS` is a list, comma apart, of `name`, `name=value`, or either with `@item` to have it only
while that item's overlay is loaded. Names: see `KNOWN`.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from typing import Any

VARIABLE = "EMULATED_FAULTS"
KNOWN = {
    "missing_flush": "a flush does nothing",
    "missing_invalidate": "an invalidate does nothing",
    "short_receive": "the last beat never comes",
    "stuck_stream": "the kernel never answers",
    "dma_error": "internal, slave or decode: the DMA reports it",
    "wrong_address": "buffers say a physical address that is not theirs",
    "clock": "the PLL runs at that many MHz",
    "other_overlay": "the fabric holds another model",
    "fast": "the kernel ends at once",
    "drop": "the board goes down at that transfer",
    "slow": "each transfer takes that many seconds of real time",
    "full_disk": "the disk is full at the n-th file",
}


class Faults:
    def __init__(self, text: str = "") -> None:
        self._set: dict[str, tuple[str | None, str | None]] = {}
        #: id of the item whose overlay is loaded
        self.item: str | None = None
        for entry in filter(None, (part.strip() for part in text.split(","))):
            fault, _, item = entry.partition("@")
            name, _, value = fault.partition("=")
            if name not in KNOWN:
                raise ValueError(f"{VARIABLE}: no fault {name!r}; known: {', '.join(KNOWN)}")
            self._set[name] = (value or None, item or None)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Faults:
        return cls(environment.get(VARIABLE, ""))

    def active(self, name: str) -> bool:
        found = self._set.get(name)
        return found is not None and found[1] in (None, self.item)

    def value(self, name: str) -> str | None:
        """The fault's value, `""` if it has none; None: it is not active."""
        return (self._set[name][0] or "") if self.active(name) else None

    def number(self, name: str) -> float | None:
        value = self.value(name)
        return None if value is None else float(value or 1)


def fill_disk(after: int) -> None:
    """From the n-th file on, writing ends as on a full disk."""
    real, left = os.fsync, [after]

    def fsync(file: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    os.fsync = fsync  # type: ignore[assignment]


def go_down() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
