"""What a kernel computes: the compiled C simulation of the design in a child process, or a function.

The program (see format `csim`) takes float32 frames on standard input and gives float64 frames on standard
output. It stays open between calls where its output can be unbuffered (`stdbuf`, of GNU coreutils).
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

#: float32 (n, inputs) in, float64 (n, outputs) out
Function = Callable[[np.ndarray], np.ndarray]
PROGRAM = "simulator"
#: bytes in flight towards a pipe, which holds 64 KiB
_CHUNK = 32_768
_TYPE = re.compile(r"(u?)(?:ap_)?u?fixed<\s*(\d+)\s*,\s*(-?\d+)")


class KernelError(RuntimeError):
    """The program behind the kernel failed."""


class Program:
    """The compiled C simulation in `folder`."""

    def __init__(self, folder: Path, inputs: int, outputs: int) -> None:
        self._folder, self._inputs, self._outputs = folder, inputs, outputs
        self._child: subprocess.Popen[bytes] | None = None
        self._stdbuf = shutil.which("stdbuf")

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        data = np.ascontiguousarray(frames, np.float32)
        if self._stdbuf is None:
            done = subprocess.run(
                [str(self._folder / "simulator")], cwd=self._folder, input=data.tobytes(), capture_output=True
            )
            if done.returncode != 0 or len(done.stdout) != len(data) * self._outputs * 8:
                raise KernelError(f"the C simulation ended with code {done.returncode}")
            return np.frombuffer(done.stdout, np.float64).reshape(len(data), self._outputs)
        step = max(1, _CHUNK // (8 * self._outputs), 1)
        step = max(1, min(step, _CHUNK // (4 * self._inputs)))
        parts = [self._some(data[start : start + step]) for start in range(0, len(data), step)]
        return np.concatenate(parts)

    def _some(self, data: np.ndarray) -> np.ndarray:
        child = self._open()
        assert child.stdin is not None and child.stdout is not None
        try:
            child.stdin.write(data.tobytes())
            child.stdin.flush()
        except BrokenPipeError:
            pass  # its end shows below
        wanted = len(data) * self._outputs * 8
        found = child.stdout.read(wanted)
        if len(found) != wanted:
            code = child.wait()
            self.close()
            raise KernelError(f"the C simulation ended with code {code}")
        return np.frombuffer(found, np.float64).reshape(len(data), self._outputs)

    def _open(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            self._child = subprocess.Popen(
                [str(self._stdbuf), "-o0", str(self._folder / "simulator")],
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._child

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None and child.stdin is not None and child.stdout is not None:
            with contextlib.suppress(BrokenPipeError):
                child.stdin.close()
            child.stdout.close()
            child.wait(timeout=10)


class Wire:
    """How values travel: as float32, or as the integer behind a fixed-point type."""

    def __init__(self, dtype: str, fixed: str | None) -> None:
        self.dtype = np.dtype(dtype)
        self._scale, self._view = 1.0, self.dtype
        if fixed is not None:
            match = _TYPE.match(fixed)
            if match is None:
                raise ValueError(f"not a fixed-point type: {fixed!r}")
            self._scale = 2.0 ** (int(match[2]) - int(match[3]))
            if "ufixed" in fixed:
                self._view = np.dtype(f"u{self.dtype.name}")

    def values(self, data: bytes, size: int) -> np.ndarray:
        """Frames of `size` values."""
        raw = np.frombuffer(data, self._view).reshape(-1, size)
        return np.asarray(raw / self._scale, np.float32) if self.dtype.kind == "i" else raw

    def data(self, values: np.ndarray) -> bytes:
        if self.dtype.kind != "i":
            return values.astype(self.dtype).tobytes()
        return np.rint(values * self._scale).astype(np.int64).astype(self.dtype).tobytes()


def compute(function: Function, interface: dict[str, Any]) -> Callable[[bytes], bytes]:
    """The kernel on bytes, as the interface of an item lays them out."""
    source = Wire(interface["input_dtype"], interface.get("input_type"))
    target = Wire(interface["output_dtype"], interface.get("output_type"))
    inputs = int(interface["inputs"])
    return lambda data: target.data(function(source.values(data, inputs)))


def unpack(job: Path, files: dict[str, str], into: Path, program: str = PROGRAM) -> Path:
    """Lay the files of an item's kernel out by name; returns the folder of the program."""
    folder = into / "kernel"
    for name, digest in files.items():
        if not name.startswith("kernel/"):
            continue
        target = folder / name.removeprefix("kernel/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(job / "files" / digest, target)
    path = folder / program
    if not path.is_file():
        raise KernelError(f"the item holds no kernel/{program}")
    path.chmod(0o755)
    return folder
