"""Jobs for the tests of the agent: written as the contract has them, without the package's own writer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.pynq.agent import main
from targets.pynq.agent_file import agent_path
from targets.pynq.emulated import hwh

ROOT = Path(__file__).resolve().parents[2]
PYNQ = ROOT / "targets" / "pynq"
INPUTS, OUTPUTS, FRAMES = 12, 3, 150

#: a program as hls4ml's C simulation: float32 frames in, float64 frames out; outputs on a grid of 1/64
PROGRAM = f"""#!{sys.executable}
import struct, sys
inputs, outputs, factor = {INPUTS}, {OUTPUTS}, float(open("weights/w.txt").read())
while True:
    data = sys.stdin.buffer.read(4 * inputs)
    if len(data) < 4 * inputs:
        break
    x = struct.unpack("<%df" % inputs, data)
    y = [round(factor * 64 * sum(x[k::outputs])) / 64 for k in range(outputs)]
    sys.stdout.buffer.write(struct.pack("<%dd" % outputs, *y))
    sys.stdout.buffer.flush()
"""


def network(x: np.ndarray, factor: float) -> np.ndarray:
    """What the program computes."""
    flat = x.reshape(len(x), -1).astype(np.float64)
    return np.stack([np.rint(factor * 64 * flat[:, k::OUTPUTS].sum(axis=1)) / 64 for k in range(OUTPUTS)], 1)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass
class Maker:
    """Writes a job into `folder`/job."""

    folder: Path
    items: list[dict[str, Any]] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    protocol: dict[str, Any] = field(
        default_factory=lambda: {
            "preset": "quick",
            "warmup_calls": 5,
            "calls": 20,
            "batches": [1, 4, 16],
            "windows": 2,
            "window_seconds": 1.0,
            "timeout_seconds": 1.0,
        }
    )
    emulated: bool = True
    #: smallest input, in sixteenths
    low: int = -64

    @property
    def job(self) -> Path:
        return self.folder / "job"

    def array(self, name: str, values: np.ndarray) -> str:
        path = self.job / "data" / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values, allow_pickle=False)
        self.data[name] = {
            "file": f"data/{name}.npy",
            "sha256": sha(path),
            "dtype": str(values.dtype),
            "shape": list(values.shape),
        }
        return name

    def file(self, path: Path) -> str:
        digest = sha(path)
        target = self.job / "files" / digest
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        return digest

    def overlay(
        self, name: str = "tiny/qat8/seed0", factor: float = 0.5, style: str = "axis_dma", *,
        fixed: tuple[str, str] | None = None, dtypes: tuple[str, str] = ("float32", "float32"),
        soc: hwh.Soc = hwh.ZYNQ, length_width: int = 26, **changes: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """An item whose kernel is the program above."""
        place = self.folder / "made" / str(len(self.items))
        (place / "weights").mkdir(parents=True)
        (place / "weights" / "w.txt").write_text(str(factor))
        (place / "simulator").write_text(PROGRAM)
        (place / "simulator.json").write_text(
            json.dumps({"inputs": INPUTS, "outputs": OUTPUTS, "layers": []})
        )
        dma, kernel = "hier_0/axi_dma_0", "hier_0/kernel_0" if style == "axis_dma" else "kernel_0"
        bit, handoff = hwh.write_overlay(
            place, style=style, dma=dma, kernel=kernel, soc=soc, length_width=length_width, what=name
        )
        x = self._inputs()
        expected = self.array(f"expected{len(self.items)}", network(x, factor))
        item = {
            "id": name,
            "kind": "overlay",
            "files": {
                "overlay.bit": self.file(bit),
                "overlay.hwh": self.file(handoff),
                "kernel/simulator": self.file(place / "simulator"),
                "kernel/simulator.json": self.file(place / "simulator.json"),
                "kernel/weights/w.txt": self.file(place / "weights" / "w.txt"),
            },
            "data": "x",
            "interface": {
                "style": style, "dma": dma, "kernel": kernel, "inputs": INPUTS, "outputs": OUTPUTS,
                "input_dtype": dtypes[0], "output_dtype": dtypes[1],
                "input_type": fixed[0] if fixed else None, "output_type": fixed[1] if fixed else None,
            },
            "expected": expected,
            "clock_mhz": 100.0,
            "cycles": {"latency": 300, "interval": 200, "source": "csynth"},
            "sanity": {
                "clock_estimate_ns": 6.9, "clock_target_ns": 10.0, "wns_ns": 0.5,
                "part": "xc7z020" if soc is hwh.ZYNQ else "xczu9eg",
            },
            "exact": True,
        }  # fmt: skip
        item.update(changes)
        self.items.append(item)
        return item

    def _inputs(self) -> np.ndarray:
        path = self.job / "data" / "x.npy"
        if "x" not in self.data:
            # on a grid of 1/16, inside fixed<8,4>
            x = np.random.default_rng(3).integers(self.low, 64, (FRAMES, 4, 3)).astype(np.float32) / 16
            self.array("x", x)
            labels = network(x, 1.0).argmax(axis=1)
            labels[:7] = (labels[:7] + 1) % OUTPUTS
            np.save(self.job / "data" / "x_labels.npy", labels, allow_pickle=False)
            self.labels["x"] = "data/x_labels.npy"
        return np.load(path, allow_pickle=False)

    def write(self) -> Path:
        """The folder, with job.json."""
        value: dict[str, Any] = {
            "schema": 1, "created": "2026-01-01T00:00:00+00:00", "board": "emulated",
            "emulated": self.emulated, "protocol": self.protocol, "items": self.items, "data": self.data,
            "labels": self.labels,
        }  # fmt: skip
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
        value["job"] = hashlib.sha256(text.encode()).hexdigest()
        self.job.mkdir(parents=True, exist_ok=True)
        (self.job / "job.json").write_text(json.dumps(value))
        return self.job

    def pack(self) -> Path:
        self.write()
        path = self.folder / "job.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(self.job, "job")
        return path


@dataclass
class Run:
    code: int
    said: str
    folder: Path

    @property
    def result(self) -> dict[str, Any]:
        path = self.folder / "work" / "result" / "result.json"
        return dict(json.loads(path.read_text()))

    def item(self, name: str = "tiny/qat8/seed0") -> dict[str, Any]:
        return dict(self.result["items"][name])

    def sample(self, path: str) -> np.ndarray:
        return np.load(self.folder / "work" / "result" / path, allow_pickle=False)


def command(job: Path, folder: Path, *more: str, emulator: bool = True) -> list[str]:
    found = [
        sys.executable,
        "-W",
        "ignore",
        str(agent_path()),
        str(job),
        "--out",
        str(folder / "result.tar.gz"),
    ]
    found += ["--work", str(folder / "work"), *more]
    return found + (["--emulator", str(PYNQ)] if emulator else [])


def run(
    job: Path, folder: Path, *more: str, faults: str = "", emulator: bool = True, own_process: bool = False
) -> Run:
    """The agent: in this process, which is quick, or in one of its own, as on a board."""
    environment = {**os.environ, "EMULATED_FAULTS": faults}
    line = command(job, folder, *more, emulator=emulator)
    if own_process:
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, env=environment, check=False)
        return Run(done.returncode, done.stdout + done.stderr, folder)
    said = io.StringIO()
    fsync = os.fsync
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMULATED_FAULTS", faults)
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                code = main.main(line[line.index(str(agent_path())) + 1 :])
            finally:
                os.fsync = fsync
    return Run(code, said.getvalue(), folder)


def hwmon(root: Path, chips: dict[str, dict[str, str]]) -> Path:
    """A folder as /sys/class/hwmon: files by the name of their chip."""
    for index, (name, files) in enumerate(chips.items()):
        folder = root / f"hwmon{index}"
        folder.mkdir(parents=True)
        for file, text in {"name": name, **files}.items():
            (folder / file).write_text(text + "\n")
    return root
