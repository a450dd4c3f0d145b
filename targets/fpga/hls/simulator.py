"""hls4ml's C simulation as a program: compiled once, run on all cores, traced layer by layer.

A folder of format `csim` holds `simulator` (the program), `weights/` that it reads, `simulator.json`
(sizes, layers, compiler) and what the artifact before it said of the network: `model.keras`,
`fixed_point.json`, `reference.npz`.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ArtifactError, StepError, Unavailable
from targets.fpga.hls.convert import PROJECT

PROGRAM, DESCRIPTION, WEIGHTS = "simulator", "simulator.json", "weights"
SOURCE = Path(__file__).with_name("simulate.cpp")
FLAGS = ("-std=c++14", "-O1", "-fno-gnu-unique", "-w")
#: seconds
COMPILE_LIMIT, RUN_LIMIT = 1800.0, 1500.0
#: inputs that one process takes at least: starting it costs as much as some hundred inputs
_SHARE = 64
_INSERT = re.compile(
    r'pair<std::string, void \*>\("(\w+)", \(void \*\) ?malloc\(([\d*+ ]+)\* ?element_size\)'
)


def compile_project(project: Path, out: Path, *, compiler: str = "g++") -> dict[str, Any]:
    """Compile an hls4ml project (Vivado or Vitis family) into the folder `out`; returns facts.

    Raises:
        Unavailable: the compiler is not installed.
        StepError: it does not compile (with the compiler's first error), or takes too long.
        ArtifactError: it is no such project.
    """
    found = shutil.which(compiler)
    if found is None:
        raise Unavailable(f"{compiler} is not installed", mend="apt-get install g++")
    inputs, outputs = _sizes(project)
    layers = _traced(project)
    sizes = ",".join(str(size) for _, size in layers) or "0"
    version = subprocess.run([found, "-dumpfullversion"], capture_output=True, text=True, timeout=60)
    with tempfile.TemporaryDirectory(prefix="bench-csim-") as folder:
        work = Path(folder)
        command = [found, *FLAGS, "-I.", "-Ifirmware/ap_types/", f"-DBENCH_INPUTS={inputs}"]
        command += [f"-DBENCH_OUTPUTS={outputs}", f"-DBENCH_LAYER_SIZES={sizes}"]
        command += ["-x", "c++", "-", "-o", str(work / PROGRAM)]
        try:
            done = subprocess.run(
                command,
                cwd=project,
                input=SOURCE.read_text(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMPILE_LIMIT,
            )
        except subprocess.TimeoutExpired:
            raise StepError(
                f"{compiler} did not finish within {COMPILE_LIMIT:.0f} s", where="C simulation"
            ) from None
        if done.returncode != 0:
            raise StepError(_compiler_error(compiler, done), where="C simulation")
        shutil.move(work / PROGRAM, out / PROGRAM)
    (out / WEIGHTS).mkdir()
    for file in sorted((project / "firmware" / "weights").glob("*.txt")):
        shutil.copyfile(file, out / WEIGHTS / file.name)
    description = {
        "inputs": inputs,
        "outputs": outputs,
        "layers": [[name, size] for name, size in layers],
        "compiler": compiler,
        "compiler_version": version.stdout.strip(),
        "flags": list(FLAGS),
    }
    (out / DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    return {**description, "program_bytes": (out / PROGRAM).stat().st_size}


@dataclass(frozen=True)
class Simulator:
    """A compiled C simulation.

    Attributes:
        layers: (name, number of outputs) of what can be traced, in the order of the names.
    """

    folder: Path
    inputs: int
    outputs: int
    layers: tuple[tuple[str, int], ...]
    description: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Simulator:
        """Raises ArtifactError: it is no folder of format `csim`."""
        path = folder / DESCRIPTION
        try:
            value = json.loads(path.read_text())
            layers = tuple((str(name), int(size)) for name, size in value["layers"])
            simulator = cls(folder, int(value["inputs"]), int(value["outputs"]), layers, value)
            if simulator.inputs < 1 or simulator.outputs < 1 or any(size < 1 for _, size in layers):
                raise ValueError("a size below one")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"not a compiled C simulation ({error})", where=str(path)) from error
        if not (folder / PROGRAM).is_file():
            raise ArtifactError("the simulator is not there", where=str(folder / PROGRAM))
        return simulator

    def run(self, x: np.ndarray, *, jobs: int | None = None) -> np.ndarray:
        """Outputs (n, outputs), float64, of inputs (n, *shape).

        Args:
            jobs: processes; None: one for each core.

        Raises:
            StepError: inputs of a wrong size, or the simulator crashed or took too long.
        """
        flat = self._flat(x)
        cores = jobs or available_cores()
        parts = np.array_split(flat, max(1, min(cores, math.ceil(len(flat) / _SHARE))))
        with ThreadPoolExecutor(len(parts)) as pool:
            found = list(pool.map(self._run, parts))
        return np.concatenate(found)

    def trace(self, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Outputs (n, outputs) and those of each layer by name, (n, size), flat in C order."""
        width = self.outputs + sum(size for _, size in self.layers)
        rows = self._run(self._flat(x), ["trace"], width)
        found, start = {}, self.outputs
        for name, size in self.layers:
            found[name] = rows[:, start : start + size]
            start += size
        return rows[:, : self.outputs], found

    def _flat(self, x: np.ndarray) -> np.ndarray:
        values = math.prod(x.shape[1:])
        if values != self.inputs:
            raise StepError(f"inputs have {values} values, the simulation wants {self.inputs}")
        return np.ascontiguousarray(x, np.float32).reshape(len(x), values)

    def _run(self, flat: np.ndarray, arguments: Sequence[str] = (), width: int | None = None) -> np.ndarray:
        width = width or self.outputs
        try:
            done = subprocess.run(
                [str(self.folder.resolve() / PROGRAM), *arguments],
                cwd=self.folder,
                input=flat.tobytes(),
                capture_output=True,
                timeout=RUN_LIMIT,
            )
        except subprocess.TimeoutExpired:
            raise StepError(f"C simulation did not finish within {RUN_LIMIT:.0f} s") from None
        except OSError as error:
            raise StepError(f"C simulation cannot be started: {error}") from error
        if done.returncode != 0 or len(done.stdout) != len(flat) * width * 8:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise StepError(
                f"C simulation ended with code {done.returncode} after {len(done.stdout)} bytes of output "
                f"(expected {len(flat) * width * 8}){': ' + said[0][:200] if said else ''}"
            )
        return np.frombuffer(done.stdout, np.float64).reshape(len(flat), width)


def available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sizes(project: Path) -> tuple[int, int]:
    """Numbers of inputs and outputs, from the wrapper that hls4ml wrote."""
    path = project / f"{PROJECT}_bridge.cpp"
    try:
        wrapper = path.read_text().partition(f"void {PROJECT}_double(")[2]
    except OSError as error:
        raise ArtifactError("not an hls4ml project", where=str(path)) from error
    counts = re.findall(r"convert_data<[^<>]*?, ([\d*]+)>", wrapper)
    if len(counts) != 2:
        raise ArtifactError(f"{len(counts)} inputs and outputs found; one of each is known", where=str(path))
    inputs, outputs = (math.prod(int(factor) for factor in count.split("*")) for count in counts)
    return inputs, outputs


def _traced(project: Path) -> list[tuple[str, int]]:
    text = (project / f"{PROJECT}_bridge.cpp").read_text()
    return sorted(
        (name, math.prod(int(factor) for factor in re.findall(r"\d+", size)))
        for name, size in _INSERT.findall(text)
    )


def _compiler_error(compiler: str, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode < 0:
        return f"{compiler} was ended by signal {-done.returncode} (out of memory?)"
    lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    first = (lines or done.stderr.strip().splitlines() or ["no message"])[0]
    return f"{compiler} failed (code {done.returncode}): {first[:300]}"
