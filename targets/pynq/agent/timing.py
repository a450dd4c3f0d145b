"""Times of an overlay whose outputs are right: single calls, batches, windows of a fixed time."""

from __future__ import annotations

import gc
import time
from typing import Any, Callable

import numpy as np

from .drivers import Board, Driver
from .measurement import Measurement
from .registers import count_lean
from .results import TIMES

PHASES = ("encode", "copy_in", "execute", "copy_out", "decode", "end_to_end")


class Lean:
    """The timed path: what a program would do that knows its overlay.

    Two register writes start a batch. The status is not asked before the time at which the same batch was
    found done in the warm-up calls (which ask without a pause), so that one read is mostly enough.
    """

    def __init__(self, driver: Driver, frames: int, timeout: float) -> None:
        self.driver, self.frames, self.timeout = driver, frames, timeout
        self.hold = 0
        driver.arm(frames)

    def call(self, values: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int, int, int, int]]:
        """Outputs, and the clock before and after each phase."""
        driver, frames = self.driver, self.frames
        board, now = driver.board, driver.board.now_ns
        source, target = driver.views(frames)
        room, result = driver.source[:frames], driver.target[:frames]
        t0 = now()
        raw = driver.codec_in.encode(values)
        board.worked(values.nbytes if raw is not values else 0)
        t1 = now()
        np.copyto(room, raw)
        board.worked(raw.nbytes)
        source.flush()
        t2 = now()
        driver.fire(frames)
        if self.hold:
            until = t2 + self.hold
            while now() < until:
                pass
        driver.wait(self.timeout)
        t3 = now()
        target.invalidate()
        copied = result.copy()
        board.worked(copied.nbytes)
        t4 = now()
        found = driver.codec_out.decode(copied)
        board.worked(copied.nbytes if found is not copied else 0)
        t5 = now()
        return found, (t0, t1, t2, t3, t4, t5)

    def warm_up(self, values: np.ndarray, calls: int) -> int:
        """Shortest execution in ns, asked for without a pause; sets `hold` to just before it."""
        self.hold = 0
        shortest = min(t[3] - t[2] for t in (self.call(values)[1] for _ in range(max(1, calls))))
        begin = self.driver.board.now_ns()
        for _ in range(8):
            int(self.driver.registers[1])  # a register that reading does not change
        each = (self.driver.board.now_ns() - begin) // 8
        self.hold = max(0, shortest - each)
        return shortest


def straight_line(x: np.ndarray, y: np.ndarray) -> dict[str, float] | None:
    """Least squares of y = a + b x; None where there is nothing to fit."""
    if len(np.unique(x)) < 2:
        return None
    b, a = np.polyfit(x, y, 1)
    left = ((y - a - b * x) ** 2).sum()
    whole = ((y - y.mean()) ** 2).sum()
    return {"a_s": a, "b_s": b, "r2": 1.0 - left / whole if whole > 0 else 1.0}


class OverlayTiming:
    """Everything with a time, of an overlay whose outputs are right.

    Args:
        x: inputs (n, size); expected: the outputs (n, m) that it gave before, which it must give again.
        mhz: the fabric clock.
    """

    def __init__(
        self, of: Measurement, driver: Driver, x: np.ndarray, expected: np.ndarray, mhz: float
    ) -> None:
        self.of, self.driver, self.x, self.expected, self.mhz = of, driver, x, expected, mhz
        self.protocol = of.job.protocol
        self.interval = float((of.item.get("cycles") or {}).get("interval") or 0)
        #: seconds that a frame takes at least; 0 where the job does not say
        self.bound = self.interval / (mhz * 1e6)

    def run(self) -> None:
        """Fill in the item's phases, throughput, fits, windows and energy, or refuse them with the reason."""
        try:
            self._single()
            self._batches()
            self._windows()
        except _Impossible:
            self.of.out.refuse(TIMES, self.of.out.failed_checks()[-1])
            return
        if self.bound:
            detail = f"no batch was done before {self.interval:g} cycles a frame at {self.mhz:g} MHz"
            self.of.out.check("cycles_bound", True, detail)
        else:
            self.of.out.check("cycles_bound", None, "the job does not say how many cycles a frame takes")

    def _single(self) -> None:
        gc.collect()
        lean = Lean(self.driver, 1, self.protocol.timeout)
        self._check_possible(1, lean.warm_up(self.x[:1], self.protocol.warmup_calls))
        clocks = self._timed(lean, self.protocol.calls)
        self.of.phases(PHASES, clocks)
        self.of.value["register_accesses"] = {"lean": count_lean(self.driver, lean, self.x), "stock": None}
        self._check_possible(1, int((clocks[:, 3] - clocks[:, 2]).min()))

    def _batches(self) -> None:
        value, rows = self.of.value, self.of.value["throughput"]
        for frames in self.protocol.batches:
            most = min(self.driver.largest, self.driver.most, len(self.x))
            if frames > most:
                name = f"throughput_batch_{frames}"
                self.of.out.refuse((name,), f"{frames} frames do not fit (at most {most})")
                del value[name]
                continue
            lean = Lean(self.driver, frames, self.protocol.timeout + 10 * frames * self.bound)
            self._check_possible(frames, lean.warm_up(self.x[:frames], 3))
            clocks = self._timed(lean, self.protocol.repeats)
            whole = (clocks[:, 5] - clocks[:, 0]) * 1e-9
            execute = (clocks[:, 3] - clocks[:, 2]) * 1e-9
            rows.append({"batch": frames, "seconds": whole.tolist(), "execute_seconds": execute.tolist()})
        for name, key in (("fit", "seconds"), ("fit_execute", "execute_seconds")):
            points = [(row["batch"], second) for row in rows for second in row[key]]
            if points:
                value[name] = straight_line(*(np.array(column, np.float64) for column in zip(*points)))

    def _windows(self) -> None:
        lean = Lean(self.driver, 1, self.protocol.timeout)

        def call(index: int) -> Any:
            return lean.call(self.x[index : index + 1])

        seconds = self.protocol.window_seconds
        if self.protocol.preset == "mlperf":
            lean.warm_up(self.x[:1], 10)
            # the emulated board's seconds are long: a thousandth of them shows as much
            span = seconds * (0.001 if self.of.board.emulated else 1.0)
            for _ in range(self.protocol.windows):
                self.of.value["windows"].append(window(self.of.board, call, len(self.x), span))
        energy = self.of.energy(0.2 if self.of.board.emulated else seconds)
        if energy is not None:
            lean.warm_up(self.x[:1], 10)
            self.of.value["energy"] = energy.measure(call, len(self.x))

    def _check_possible(self, frames: int, shortest_ns: int) -> None:
        """Raises _Impossible where a batch was done before the kernel can have been."""
        shortest, least = shortest_ns * 1e-9, frames * self.bound
        if shortest < least:
            self._fail(
                "cycles_bound",
                f"{frames} frames took {shortest * 1e6:.3g} us; {self.interval:g} cycles each at "
                f"{self.mhz:g} MHz need {least * 1e6:.3g} us: it was not waited for the kernel",
            )

    def _timed(self, lean: Lean, calls: int) -> np.ndarray:
        """(calls, 6) clock readings in ns. Raises _Impossible where an output was not the expected one."""
        frames = lean.frames
        starts = [(index * frames) % (len(self.x) - frames + 1) for index in range(calls)]
        clocks = np.empty((calls, 6), np.int64)
        outputs = []
        gc.disable()
        try:
            for index, start in enumerate(starts):
                found, clocks[index] = lean.call(self.x[start : start + frames])
                outputs.append(found)
        finally:
            gc.enable()
        pairs = zip(starts, outputs)
        wrong = sum(int((found != self.expected[at : at + frames]).any()) for at, found in pairs)
        came = lean.driver.received()
        if came is not None and came != frames * lean.driver.frame_out:
            wrong += 1
        if wrong:
            self._fail("outputs_timed", f"{wrong} of {calls} timed calls gave other outputs")
        return clocks

    def _fail(self, name: str, detail: str) -> None:
        self.of.out.check(name, False, detail)
        raise _Impossible


class _Impossible(Exception):
    """Times that cannot be true; the check that says why is noted."""


def window(board: Board, call: Callable[[int], Any], total: int, seconds: float) -> dict[str, Any]:
    """Calls for some seconds."""
    since, begin, done = time.time(), board.now_ns(), 0
    until = begin + int(seconds * 1e9)
    while True:
        call(done % total)
        done += 1
        now = board.now_ns()
        if now >= until:
            break
    took = (now - begin) * 1e-9
    return {
        "seconds": took,
        "inferences": done,
        "per_second": done / took,
        "start_unix": since,
        "end_unix": time.time(),
    }
