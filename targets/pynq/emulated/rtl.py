"""The simulation of a design's Verilog as a kernel: its words, and the cycles that they took.

The program is that of `targets.fpga.rtl.served`. It stays open between packets.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from pathlib import Path

import numpy as np

from .kernels import KernelError

PROGRAM = "rtl_simulation"
#: bytes of answers that are kept
KEPT = 64 << 20


class RtlProgram:
    """The compiled simulation in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: subprocess.Popen[bytes] | None = None
        # Between two packets the design is empty, so that the same packet gives the same again.
        self._known: dict[bytes, tuple[bytes, int] | None] = {}
        self._size = 0

    def packet(self, data: bytes) -> tuple[bytes, int] | None:
        """Words of a packet in; those of the packet out, and its cycles. None: no end of it ever came."""
        if data not in self._known:
            found = self._run(data)
            if self._size > KEPT:
                self._known.clear()
                self._size = 0
            self._known[data] = found
            self._size += len(data) + (len(found[0]) if found else 0)
        return self._known[data]

    def _run(self, data: bytes) -> tuple[bytes, int] | None:
        child = self._open()
        assert child.stdin is not None and child.stdout is not None
        sent = np.frombuffer(data, "<u4")
        text = f"{len(sent)}\n" + "".join(f"{word:x}\n" for word in sent)
        # The pipe holds less than a packet may have, and answers come before all of it is taken.
        feeder = threading.Thread(target=_feed, args=(child, text.encode()), daemon=True)
        feeder.start()
        words: list[int] = []
        for line in child.stdout:
            if line.startswith(b"end"):
                feeder.join()
                return np.array(words, "<u4").tobytes(), int(line[3:])
            if line.startswith(b"stuck"):
                self.close()  # what is inside would come out with the next packet
                return None
            try:
                words.append(int(line, 16))
            except ValueError:
                self.close()
                said = line.decode("ascii", "replace").strip()[:80]
                raise KernelError(f"the simulation of the RTL says {said!r}") from None
        code = child.wait()
        self.close()
        raise KernelError(f"the simulation of the RTL ended with code {code}")

    def _open(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            command = [str(self._folder / PROGRAM)]
            try:
                self._child = subprocess.Popen(
                    command, cwd=self._folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
            except OSError as error:
                raise KernelError(
                    f"the simulation of the RTL cannot be started ({error}); "
                    "one of Icarus Verilog needs it here too: apt-get install iverilog"
                ) from error
        return self._child

    def close(self) -> None:
        child, self._child = self._child, None
        if child is None or child.stdin is None or child.stdout is None:
            return
        child.kill()
        with contextlib.suppress(BrokenPipeError, OSError):
            child.stdin.close()
        child.stdout.close()
        child.wait(timeout=10)


def _feed(child: subprocess.Popen[bytes], text: bytes) -> None:
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError, ValueError):  # its end shows where answers are read
        child.stdin.write(text)
        child.stdin.flush()
