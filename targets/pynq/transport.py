"""Jobs to boards and results back, through `targets.pynq.shell`.

A job lives in a folder of its own on the board, named by its id. The agent runs there on its own: when the
connection is lost it goes on, and whoever comes back (the same command again) waits for it, or starts it
again if the board was rebooted; the agent goes on with what is missing. What was finished is fetched even
when the rest could not be.
"""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

from bench.errors import ArtifactError, ConfigError
from targets.pynq import scripts
from targets.pynq.agent_file import NAME, agent_path
from targets.pynq.environment import board_python
from targets.pynq.errors import (
    AgentFailed,
    BoardBusy,
    BoardError,
    BoardLost,
    BoardUnreachable,
    script_error,
)
from targets.pynq.exchange.archive import MAX_ARCHIVE
from targets.pynq.exchange.jobs import JobFile
from targets.pynq.exchange.results import Result, read_result
from targets.pynq.inventory import Board
from targets.pynq.printable import one_line, printable
from targets.pynq.shell import Done, Shell

HERE = Path(__file__).resolve().parent
EMULATOR = HERE / "emulated"
#: seconds for a short script, for sending or fetching files, between two looks at a running agent
SHORT, LONG, LOOK = 60.0, 1800.0, 60.0
#: seconds for which a lost board is called again; how often the agent is started in one go
PATIENCE, STARTS = 300.0, 3
#: free bytes that a job needs beside itself, and how many times its own size (unpacked, results)
SPARE, TIMES = 128 << 20, 4
#: exit codes of the agent
OK, SOME_FAILED, BAD_JOB, LOCKED = 0, 1, 2, 3
#: codes above it: a signal ended it
KILLED = 128

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """What came back from a board. `code`: the agent's; None: it was ended when its time was over."""

    result: Result
    code: int | None


class Remote:
    """One board, as jobs see it.

    Args:
        say: takes lines of progress.
    """

    def __init__(
        self,
        board: Board,
        *,
        agent: Path | None = None,
        emulator: Path = EMULATOR,
        patience: float = PATIENCE,
        look: float = LOOK,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if board.offline:
            raise BoardError(
                "it has no network",
                where=f"board {board.name}",
                mend="Carry jobs there: bench board pack, then bench board import what comes back.",
            )
        self.board, self.shell = board, Shell(board)
        self._answered = False
        self.agent, self.emulator = agent or agent_path(), emulator
        self.patience, self.look, self.say = patience, look, say
        self.python = board_python() if board.host is None else board.python
        self.how = "local" if board.host is None else "sudo" if board.sudo else "no"
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-bench"
        self.folder = str(cache / "emulated") if board.host is None else board.folder

    # ------------------------------------------------------------------ checks

    def facts(self) -> dict[str, Any]:
        """What the agent finds on the board. Raises BoardError."""
        folder = f"{self.folder}/check"
        self._put(folder, [(NAME, self.agent)], 0)
        done = self.shell.run(scripts.CHECK, folder, self.how, self.python, seconds=SHORT)
        self._expect(done, "the agent does not start")
        try:
            found = json.loads(done.out)
            if not isinstance(found, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            raise AgentFailed(
                f"the agent's answer cannot be read ({error})",
                where=self._where,
                mend=f"It said: {one_line(done.out, 200)}",
            ) from error
        return found

    @property
    def _where(self) -> str:
        return f"board {self.board.name}"

    def _expect(self, done: Done, what: str) -> None:
        """Raises BoardError if a script did not end well."""
        if done.code != 0:
            raise script_error(self.board, done.code, done.err, what)

    # ------------------------------------------------------------------ jobs

    def run(self, job: JobFile, out: Path, *, seconds: float, keep: bool = False) -> Outcome:
        """Run a job, or go on with it, and fetch its result to `out`.

        Args:
            seconds: after which the agent is ended; what it has finished is fetched.
            keep: leave the job's folder on the board when all went well.

        Raises:
            ConfigError: the job is for another board. BoardLost, BoardBusy, BoardError: see there.
            ArtifactError: what came back is not a result of this job.
        """
        self._fits(job)
        folder, deadline = f"{self.folder}/jobs/{job.job.job}", time.monotonic() + seconds
        options = ["--emulator", "emulator"] if job.job.emulated else []
        starts = 0
        while True:
            word, code = self._patiently(lambda: self._state(folder, job))
            killed = word == "failed" and code > KILLED and starts < STARTS
            if word == "ended" or (word == "failed" and starts and not killed):
                break
            if word != "running":
                if starts >= STARTS:
                    raise self._gave_up(folder, job, out, f"the agent went down {starts} times")
                self._patiently(partial(self._send, folder, job, whole=word == "none"))
                self.say(f"{self.board.name}: {'started again' if starts else 'started'}")
                arguments = (scripts.START, folder, job.sha256, self.how, self.python, *options)
                done = self._patiently(partial(self.shell.run, *arguments, seconds=SHORT))
                if done.code != scripts.RUNNING:
                    self._expect(done, "the agent cannot be started")
                starts += 1
            elif not starts:
                self.say(f"{self.board.name}: it is running already; waiting")
            if not self._waited(folder, deadline):
                self.say(f"{self.board.name}: its time is over")
                self._patiently(partial(self.shell.run, scripts.STOP, folder, self.how, seconds=SHORT))
                return Outcome(self._patiently(lambda: self._fetch(folder, job, out)), None)
        if word == "failed":
            raise self._failed(folder, job, out, code)
        result = self._patiently(lambda: self._fetch(folder, job, out))
        if not keep and not result.missing:
            with contextlib.suppress(BoardError):  # the result is here
                self.shell.run(scripts.REMOVE, folder, self.how, seconds=SHORT)
        return Outcome(result, code)

    def _fits(self, job: JobFile) -> None:
        if job.job.emulated != self.board.emulated:
            kinds = {True: "emulated", False: "a real one"}
            raise ConfigError(
                f"the job is for {kinds[job.job.emulated]} board, {self.board.name} is "
                f"{kinds[self.board.emulated]}",
                where=str(job.path),
                mend="Give it to a board of its kind: bench board ls.",
            )
        if not self.board.emulated and job.job.board != self.board.board:
            raise ConfigError(
                f"the job is for {job.job.board}, {self.board.name} is a {self.board.board}",
                where=str(job.path),
                mend="Give it to a board of its kind, or pack it for this one.",
            )

    def _patiently(self, action: Callable[[], T]) -> T:
        """Do it again while a board that has answered before is lost (or reboots), for some time."""
        until, pause = time.monotonic() + self.patience, 0.5
        while True:
            try:
                return action()
            except (BoardLost, BoardUnreachable) as error:
                if not self._answered or time.monotonic() + pause > until:
                    raise
                self.say(f"{self.board.name}: {error.what}; calling again")
                time.sleep(pause)
                pause = min(2 * pause, 20.0)

    def _state(self, folder: str, job: JobFile) -> tuple[str, int]:
        done = self.shell.run(scripts.STATE, folder, job.sha256, seconds=SHORT)
        self._expect(done, "its state cannot be asked for")
        self._answered = True
        words = done.out.split()
        if not words or words[0] not in ("none", "there", "running", "ended", "failed"):
            raise BoardError(f"it answers {one_line(done.out, 80)!r}", where=self._where)
        return words[0], int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0

    def _send(self, folder: str, job: JobFile, *, whole: bool) -> None:
        files = [(NAME, self.agent)]
        if job.job.emulated:
            files += [
                (f"emulator/emulated/{path.relative_to(self.emulator).as_posix()}", path)
                for path in sorted(self.emulator.rglob("*.py"))
            ]
        size = 0
        if whole:
            files.append(("job.tar.gz", job.path))
            size = TIMES * job.path.stat().st_size + SPARE
            self.say(f"{self.board.name}: sending {job.path.stat().st_size / 1e6:.1f} MB")
        self._put(folder, files, size)

    def _put(self, folder: str, files: Iterable[tuple[str, Path]], size: int) -> None:
        with tempfile.TemporaryFile() as stream:
            _tar(stream, files)
            stream.seek(0)
            done = self.shell.run(scripts.PUT, folder, str(size), seconds=LONG, stdin=stream)
        self._expect(done, "files cannot be sent")

    def _waited(self, folder: str, deadline: float) -> bool:
        """Whether it ended in time. On this machine, whoever interrupts us means the agent too."""
        try:
            return self._patiently(lambda: self._wait(folder, deadline))
        except KeyboardInterrupt:
            if self.board.host is None:
                self.shell.run(scripts.STOP, folder, self.how, seconds=SHORT)
            raise

    def _wait(self, folder: str, deadline: float) -> bool:
        """Whether the agent ended before its time was over."""
        while (left := deadline - time.monotonic()) > 0:
            look = max(1, round(min(self.look, left)))
            done = self.shell.run(scripts.WAIT, folder, str(look), seconds=look + SHORT)
            if done.code != scripts.WAITING:
                self._expect(done, "it cannot be waited for")
                return True
            if line := one_line(done.out, 160):
                self.say(f"{self.board.name}: {line}")
        return False

    def _fetch(self, folder: str, job: JobFile, out: Path) -> Result:
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        os.close(handle)
        temporary = Path(name)
        try:
            done = self.shell.run(scripts.FETCH, folder, seconds=LONG, into=temporary, most=MAX_ARCHIVE)
            if done.code == scripts.OTHER:
                raise BoardError("it has no result yet", where=self._where, mend="Run it again.")
            self._expect(done, "the result cannot be fetched")
            found = read_result(temporary, job)
            temporary.replace(out)
        except ArtifactError as error:
            raise ArtifactError(error.what, where=f"result of {self._where}", mend=error.mend) from error
        finally:
            temporary.unlink(missing_ok=True)
        return Result(out, found.file, found.samples, found.missing)

    def _log(self, folder: str) -> str:
        return printable(self.shell.run(scripts.LOG, folder, seconds=SHORT).out).strip()

    def _failed(self, folder: str, job: JobFile, out: Path, code: int) -> BoardError:
        log = self._log(folder)
        last = one_line(log.splitlines()[-1] if log else "", 300).removeprefix("agent: ")
        if code == LOCKED:
            return BoardBusy(last, where=self._where, mend="Wait for it, or ask whose job it is to end it.")
        if code == BAD_JOB:
            return BoardError(f"the agent does not take the job: {last}", where=self._where)
        return self._gave_up(folder, job, out, f"the agent ended with exit code {code}: {last}")

    def _gave_up(self, folder: str, job: JobFile, out: Path, what: str) -> BoardError:
        """The error, after what was finished has been fetched."""
        kept = "nothing was finished"
        try:
            result = self._fetch(folder, job, out)
            kept = f"{len(result.file.items)} of {len(job.job.items)} items were finished: {out}"
        except (BoardError, ArtifactError):
            pass
        if "No space left" in what or "disk is full" in what:
            kept += "; free some space there and run it again"
        return BoardError(what, where=self._where, mend=f"{kept[0].upper()}{kept[1:]}.")


def _tar(stream: IO[bytes], files: Iterable[tuple[str, Path]]) -> None:
    """Files under these names, nobody's, without dates."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, path in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = path.stat().st_size, 0o644
            with path.open("rb") as source:
                tar.addfile(info, source)
