"""Running a script on a board: through the OpenSSH client, or on this machine for the emulated one.

Scripts are constant text (`targets.pynq.scripts`); what differs goes in as arguments, each quoted for the
login shell at the other end. Nothing is ever built into a script.
"""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.errors import Unavailable
from targets.pynq.errors import BoardError, BoardLost, ssh_error
from targets.pynq.inventory import Board

#: seconds until a host must have answered; until a silent connection is given up
CONNECT_SECONDS, ALIVE_SECONDS, ALIVE_COUNT = 10, 15, 4
#: seconds between two looks whether the client has ended, though nothing came from it
TICK = 1.0
#: of a script's texts
MAX_TEXT = 1 << 20
#: exit code of the ssh client itself; scripts never use it
SSH_FAILED = 255


@dataclass(frozen=True)
class Done:
    """How a script ended. `out`, `err`: its texts (of `out` nothing, where it went into a file)."""

    code: int
    out: str
    err: str


class Shell:
    """Runs scripts for one board."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def command(self, script: str, arguments: Sequence[str]) -> list[str]:
        """The argument list of the process that runs a script. Raises Unavailable: no ssh here."""
        local = ["bash", "-c", script, "edge-bench", *arguments]
        if self.board.host is None:
            return local
        ssh = shutil.which("ssh")
        if ssh is None:
            raise Unavailable(
                "the OpenSSH client is not installed",
                where=f"board {self.board.name}",
                mend="apt-get install openssh-client",
            )
        destination, port = self.board.destination
        options = ["-T", "-x", "-a", "-o", "BatchMode=yes"]
        for option in self.board.ssh_options:
            options += ["-o", option]
        # of two equal ones the first counts: ours before what a configuration says for all hosts
        options += [
            "-o", "StrictHostKeyChecking=yes", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
            "-o", f"ServerAliveInterval={ALIVE_SECONDS}", "-o", f"ServerAliveCountMax={ALIVE_COUNT}",
            "-o", "ClearAllForwardings=yes",
            "-o", "PermitLocalCommand=no", "-o", "EscapeChar=none", "-o", "LogLevel=ERROR",
        ]  # fmt: skip
        options += ["-p", port] if port is not None else []
        return [ssh, *options, "--", destination, shlex.join(local)]

    def run(
        self,
        script: str,
        *arguments: str,
        seconds: float,
        stdin: IO[bytes] | None = None,
        into: Path | None = None,
        most: int = MAX_TEXT,
    ) -> Done:
        """Run a script to its end.

        Args:
            seconds: after which it is given up. stdin: a file that it reads.
            into: file for its standard output, of at most `most` bytes.

        Raises:
            BoardLost: the connection broke, or the time is over.
            BoardError: it could not be connected (with the mend), or too much came back.
        """
        command = self.command(script, arguments)
        until = time.monotonic() + seconds
        # Not even a jump host, which takes none of our options, may ask for a password or a host key.
        environment = {**os.environ, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never"}
        with subprocess.Popen(
            command,
            stdin=stdin if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=self.board.host is not None,
        ) as process:
            assert process.stdout is not None and process.stderr is not None
            try:
                out, err = self._read(process, until, into, most)
                code = process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired as error:
                raise BoardLost(
                    f"no answer within {seconds:g} s",
                    where=f"board {self.board.name}",
                    mend="See that it is still on; the same command goes on where it was.",
                ) from error
            finally:
                process.kill()
        texts = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        if code == SSH_FAILED and self.board.host is not None:
            raise ssh_error(self.board, texts[1])
        return Done(code, *texts)

    def _read(
        self, process: subprocess.Popen[bytes], until: float, into: Path | None, most: int
    ) -> tuple[bytes, bytes]:
        """Both outputs to their end. Raises TimeoutExpired, BoardError."""
        assert process.stdout is not None and process.stderr is not None
        texts = {"out": bytearray(), "err": bytearray()}
        came = 0
        with selectors.DefaultSelector() as selector, open(into or os.devnull, "wb") as file:  # noqa: PTH123
            selector.register(process.stdout, selectors.EVENT_READ, "out")
            selector.register(process.stderr, selectors.EVENT_READ, "err")
            while selector.get_map():
                left = until - time.monotonic()
                ended = process.poll() is not None
                ready = selector.select(0 if ended else min(left, TICK)) if left > 0 else []
                if not ready and ended:  # a master connection of ssh may hold the pipes open for hours
                    break
                if left <= 0:
                    raise subprocess.TimeoutExpired(process.args, 0)
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    if not data:
                        selector.unregister(key.fileobj)
                    elif key.data == "out":
                        came += len(data)
                        if came > most:
                            raise BoardError(
                                f"it sends more than {most:,} bytes", where=f"board {self.board.name}"
                            )
                        if into is not None:
                            file.write(data)
                        else:
                            texts["out"] += data
                    elif len(texts["err"]) < MAX_TEXT:
                        texts["err"] += data
        return bytes(texts["out"]), bytes(texts["err"])
