"""The result file as it comes about: items, samples, checks, and numbers that are refused."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from .job import SCHEMA, Job
from .lock import now_utc


class Results:
    """The folder `result/`: result.json and samples/, each file replaced as a whole."""

    def __init__(self, folder: Path, job: Job) -> None:
        self.folder = folder
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        self.value: dict[str, Any] = {}
        try:
            found = json.loads((folder / "result.json").read_text())
            if found["job"] == job.id and found["schema"] == SCHEMA and isinstance(found["items"], dict):
                self.value = found
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if not self.value:
            self.value = {"schema": SCHEMA, "job": job.id, "started": now_utc(), "items": {}, "attempts": {}}
        self.value["finished"] = None
        self._number = 0

    @property
    def items(self) -> dict[str, Any]:
        found: dict[str, Any] = self.value["items"]
        return found

    def begin(self, item: str, number: int) -> int:
        """Note that an item is being measured; returns how often it has been begun before."""
        before = int(self.value["attempts"].get(item, 0))
        self.value["attempts"][item] = before + 1
        self._prefix, self._number = number, 0
        self.write()
        return before

    def end(self, item: str, result: dict[str, Any]) -> None:
        self.items[item] = result
        self.value["attempts"].pop(item, None)
        self.write()

    def sample(self, name: str, values: np.ndarray) -> str:
        """Write an array; returns its path in the archive."""
        self._number += 1
        path = f"samples/{self._prefix:04d}-{self._number:02d}-{name}.npy"
        temporary = self.folder / (path + ".new")
        with temporary.open("wb") as out:
            np.save(out, np.ascontiguousarray(values), allow_pickle=False)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.folder / path)
        return path

    def write(self) -> None:
        temporary = self.folder / "result.json.new"
        with temporary.open("w") as out:
            json.dump(plain(self.value), out, indent=1, allow_nan=False)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(self.folder / "result.json")

    def pack(self, out: Path) -> None:
        """The archive, with those samples that are spoken of."""
        spoken = set(re.findall(r'"(samples/[\w.-]+\.npy)"', (self.folder / "result.json").read_text()))
        temporary = out.with_name(out.name + ".new")
        with tarfile.open(str(temporary), "w:gz", compresslevel=6) as tar:
            for name in ["result.json", *sorted(spoken)]:
                tar.add(str(self.folder / name), "result/" + name, filter=_anonymous)
        with temporary.open("rb") as done:
            os.fsync(done.fileno())
        temporary.replace(out)
        with contextlib.suppress(KeyError, ValueError, OSError):  # under sudo: the user's who asked
            os.chown(str(out), int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"]))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mode = 0o644
    return member


def plain(value: Any) -> Any:
    """JSON of it: no numpy types, no NaN."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


class Outcome:
    """The result of one item, as it comes about."""

    def __init__(self) -> None:
        self.value: dict[str, Any] = {
            "status": "failed",
            "reason": None,
            "fabric_clock_mhz": None,
            "bitstream_loaded": False,
            "phases": {},
            "register_accesses": None,
            "throughput": [],
            "fit": None,
            "fit_execute": None,
            "loopback": None,
            "windows": [],
            "accuracy": None,
            "agreement": None,
            "energy": None,
            "sanity": [],
            "refused": [],
        }

    def check(self, name: str, passed: bool | None, detail: str) -> bool:
        """Note a check; None: it could not be made."""
        self.value["sanity"].append({"name": name, "passed": passed, "detail": detail})
        return passed is not False

    def refuse(self, names: tuple[str, ...], why: str) -> None:
        """These numbers are not given."""
        for name in names:
            if name not in [entry["name"] for entry in self.value["refused"]]:
                self.value["refused"].append({"name": name, "reason": why})
            if name == "phases":
                self.value["phases"] = {key: v for key, v in self.value["phases"].items() if key == "load"}
            elif name in ("throughput", "windows"):
                self.value[name] = []
            else:
                self.value[name] = None

    def failed_checks(self) -> list[str]:
        return [entry["detail"] for entry in self.value["sanity"] if entry["passed"] is False]


TIMES = ("phases", "throughput", "fit", "fit_execute", "windows", "energy")
