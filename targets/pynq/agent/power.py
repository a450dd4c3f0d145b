"""Power rails of the board, by the kernel's hwmon, and the energy of an inference."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .job import ItemError, read_text

HWMON = "/sys/class/hwmon"


class Energy:
    """Power rails of hwmon, read directly.

    Args:
        root: /sys/class/hwmon.
        idle, busy: seconds of the two windows.
    """

    INTERVAL = 0.02

    def __init__(self, root: Path, idle: float, busy: float) -> None:
        self.rails = find_rails(root)
        self.idle, self.busy = idle, busy

    def measure(self, call: Callable[[int], Any], total: int) -> dict[str, Any] | None:
        """An idle window, then one of calls without a pause; None: there is no rail."""
        if not self.rails:
            return None
        quiet = self._window(lambda: time.sleep(self.idle))
        done = [0]

        def work() -> None:
            until = time.monotonic() + self.busy
            while time.monotonic() < until:
                call(done[0] % total)
                done[0] += 1

        loud = self._window(work)
        whole = total_rails(sorted(self.rails))
        joule = sum(loud["joule"][name] for name in whole)
        idle_w = sum(quiet["watt"][name] for name in whole)
        net = joule - idle_w * loud["seconds"]
        return {
            "rails": {
                name: {"watt": loud["watt"][name], "idle_watt": quiet["watt"][name]} for name in self.rails
            },
            "total_of": whole,
            "rate_hz": loud["rate_hz"],
            "samples": loud["samples"],
            "idle": {"seconds": quiet["seconds"], "watt": idle_w, "rate_hz": quiet["rate_hz"]},
            "seconds": loud["seconds"],
            "inferences": done[0],
            "total_j": joule,
            "total_j_per_inference": joule / max(1, done[0]),
            "net_j": net,
            "net_j_per_inference": net / max(1, done[0]),
        }

    def _window(self, work: Callable[[], Any]) -> dict[str, Any]:
        """Runs `work` while another thread reads the rails."""
        rows: list[tuple[float, dict[str, float]]] = []
        ended = threading.Event()
        failed: list[BaseException] = []

        def sample() -> None:
            try:
                while True:
                    rows.append((time.monotonic(), {name: read() for name, read in self.rails.items()}))
                    if ended.wait(self.INTERVAL):
                        break
                rows.append((time.monotonic(), {name: read() for name, read in self.rails.items()}))
            except (OSError, ValueError) as error:
                failed.append(error)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()
        try:
            work()
        finally:
            ended.set()
            thread.join(10.0)
        if failed or len(rows) < 2:
            raise ItemError(f"a power rail cannot be read: {(failed or 'no answer')}")
        times = np.array([moment for moment, _ in rows])
        seconds = float(times[-1] - times[0])
        joule = {}
        for name in self.rails:
            watts = np.array([row[name] for _, row in rows])
            joule[name] = float(((watts[1:] + watts[:-1]) / 2 * np.diff(times)).sum())
        return {
            "seconds": seconds,
            "joule": joule,
            "watt": {name: e / seconds for name, e in joule.items()},
            "rate_hz": (len(rows) - 1) / seconds,
            "samples": len(rows),
        }


def find_rails(root: Path) -> dict[str, Callable[[], float]]:
    """Rails by name, each with a function that gives watts: a power sensor, or a voltage times a current."""
    found: dict[str, Callable[[], float]] = {}
    for chip in sorted(root.glob("hwmon*")) if root.is_dir() else []:
        name = read_text(chip / "name") or chip.name
        for path in sorted(chip.glob("power*_input")):
            label = read_text(chip / path.name.replace("_input", "_label")) or path.name[: -len("_input")]
            found[_unused(f"{name}/{label}", found)] = _reader((path, 1e-6))
        if any(chip.glob("power*_input")):
            continue
        volts = {_rail_of(path): path for path in sorted(chip.glob("in*_input"))}
        for path in sorted(chip.glob("curr*_input")):
            rail = _rail_of(path)
            if rail in volts:
                found[_unused(f"{name}/{rail}", found)] = _reader((volts[rail], 1e-3), (path, 1e-3))
    return found


def _rail_of(path: Path) -> str:
    """`vout1` and `iout1` are of one rail, so are in1 and curr1."""
    label = read_text(path.with_name(path.name.replace("_input", "_label")))
    if label:
        return re.sub(r"^[vi](?=in|out)", "", label.lower())
    return re.sub(r"\D", "", path.name)


def _reader(*factors: tuple[Path, float]) -> Callable[[], float]:
    def read() -> float:
        value = 1.0
        for path, unit in factors:
            value *= float(path.read_text()) * unit
        return value

    return read


def _unused(name: str, taken: dict[str, Any]) -> str:
    number = 2
    whole = name
    while whole in taken:
        whole, number = f"{name} ({number})", number + 1
    return whole


def total_rails(names: list[str]) -> list[str]:
    """The rails whose sum is the whole: the board's input if it is among them, else all of them."""
    inputs = [name for name in names if re.search(r"12v|(^|/)in$|total|ina260|som", name.lower())]
    return inputs[:1] or names
