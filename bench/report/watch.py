"""`bench report --watch`: the report of a running sweep, kept fresh without disturbing its measurements.

While a measurement has this host to itself nothing is read, drawn or written. While a report is made,
the host is held as builds hold it, so that no measurement starts meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.report.live import refreshing, steadied
from bench.report.pictures.drawing import Files
from bench.report.write import Choice, write_file, write_report
from bench.store.store import Store

#: name -> modification time (ns) of everything that a report is made from
Signature = dict[str, int]


@dataclass(frozen=True)
class Pace:
    """Seconds.

    Attributes:
        look: between looks at the records; measuring: while this host is measured on.
        rest: a report is not made again before so many times the seconds that the last one took.
        idle: without a change and without anybody at work, the sweep is over.
        reload, reload_measuring: between reloads of the open page.
    """

    look: float = 2.0
    measuring: float = 5.0
    rest: float = 9.0
    idle: float = 60.0
    reload: int = 5
    reload_measuring: int = 60


class Watch:
    """One report that is kept fresh. `step` by `step`, for tests; `run` for all else."""

    def __init__(
        self,
        results: str | Path,
        sweep: str,
        out: str | Path | None = None,
        *,
        choice: Choice | None = None,
        pace: Pace = Pace(),
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.results, self.sweep, self.pace = Path(results), sweep, pace
        self.choice = choice or Choice()
        self.folder = Path(out) if out is not None else self.results / "reports" / sweep
        self.store = Store(self.results)
        self.drawn: dict[str, Files] = {}
        self.written = 0
        self._now, self._sleep, self._tell = now, sleep, tell
        self._seen: Signature | None = None
        self._busy = now()
        self._not_before = -float("inf")
        self._paused = False

    def run(self) -> None:
        """Until the sweep is over, or Ctrl-C; either way the last page no longer reloads itself.

        Raises:
            KeyboardInterrupt: after the last page.
            StoreError: a report cannot be written.
        """
        try:
            while (seconds := self.step()) is not None:
                self._sleep(seconds)
        finally:
            self.finish()

    def step(self) -> float | None:
        """One look; seconds until the next one, or None where the sweep is over."""
        with self._host() as free:
            if not free:
                self._busy = self._now()
                self._pause()
                return self.pace.measuring
            signature = self.signature()
            if self.ready(signature) and signature != self._seen:
                self._busy = self._now()
                if self._busy >= self._not_before:
                    self._write(signature)
            elif self._paused:
                self._reload(self.pace.reload, "Live.")
        self._paused = False
        if self._at_work():
            self._busy = self._now()
        return None if self._now() - self._busy > self.pace.idle else self.pace.look

    def finish(self) -> None:
        """The last state of the records, without reloads; during a measurement the page as it is."""
        with self._host() as free:
            signature = self.signature() if free else None
            if signature is not None and self.ready(signature) and signature != self._seen:
                self._write(signature)
            page = self.folder / "report.html"
            if page.exists():
                before = page.read_bytes()
                if (after := steadied(before)) != before:
                    write_file(page, after)

    def ready(self, signature: Signature) -> bool:
        """Whether the sweep has been planned, so that there is something to report."""
        return f"sweeps/{self.sweep}.json" in signature

    def signature(self) -> Signature:
        """Folders change when a record appears in them or takes the place of another; their files
        need not be looked at."""
        found: Signature = {}
        manifest = self.results / "sweeps" / f"{self.sweep}.json"
        with contextlib.suppress(OSError):
            found[f"sweeps/{manifest.name}"] = manifest.stat().st_mtime_ns
        for folder in (self.results / "records").glob("*/*/"):
            with contextlib.suppress(OSError):
                found[f"{folder.parent.name}/{folder.name}"] = folder.stat().st_mtime_ns
        return found

    def _write(self, signature: Signature) -> None:
        begun = self._now()
        write_report(
            *(self.results, self.sweep, self.folder),
            choice=self.choice,
            drawn=self.drawn,
            finishing=lambda page: refreshing(page, self.pace.reload, "Live."),
        )
        took = self._now() - begun
        # Records that came meanwhile are seen at the next look: the signature is from before.
        self._seen = signature
        self.written += 1
        self._not_before = self._now() + self.pace.rest * took
        self._tell(f"written: {self.folder / 'report.html'} ({took:.1f} s)")

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self._reload(self.pace.reload_measuring, "Live; paused while this machine is measured on.")

    def _reload(self, seconds: int, words: str) -> None:
        page = self.folder / "report.html"
        if self.written and page.exists():
            write_file(page, refreshing(page.read_bytes(), seconds, words))

    @contextlib.contextmanager
    def _host(self) -> Iterator[bool]:
        """Holds this host as a build does; False while a measurement has it."""
        with contextlib.ExitStack() as stack:
            try:
                free = stack.enter_context(self.store.claims.host(exclusive=False))
            except OSError:  # a folder that cannot be written: nothing runs in it either
                free = True
            yield free

    def _at_work(self) -> bool:
        try:
            return self.store.claims.living()
        except OSError:
            return False


def be_nice() -> None:
    """Whatever else runs comes first."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)
