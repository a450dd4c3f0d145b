"""What hls4ml's own ap_fixed makes of numbers, compiled with g++."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shutil import which

import numpy as np
import pytest

from targets.fpga.fixed import FixedType

needs_ap_fixed = pytest.mark.skipif(
    which("g++") is None or importlib.util.find_spec("hls4ml") is None, reason="needs g++ and hls4ml"
)
PROGRAM = """#include "ap_fixed.h"
#include <cstdio>
#include <vector>
template <class T, bool RELU> void run(const std::vector<double> &x) {
    for (double v : x) {
        double y = T(RELU && v < 0 ? 0.0 : v).to_double();
        fwrite(&y, sizeof y, 1, stdout);
    }
}
int main() {
    std::vector<double> x;
    double v;
    while (fread(&v, sizeof v, 1, stdin) == 1) x.push_back(v);
"""


def name(type_: FixedType) -> str:
    kind = f"{type_.bits},{type_.integer},AP_{type_.rounding},AP_{type_.overflow}"
    return f"ap_{'u' * (not type_.signed)}fixed<{kind}>"


def casts(kinds: Sequence[tuple[FixedType, bool]], values: np.ndarray, folder: Path) -> np.ndarray:
    """Values (kinds, values): each value, rectified if asked to, cast to a fixed-point type."""
    spec = importlib.util.find_spec("hls4ml")
    assert spec is not None and spec.submodule_search_locations
    headers = Path(spec.submodule_search_locations[0]) / "templates" / "vivado" / "ap_types"
    lines = [f"run<{name(type_)}, {str(relu).lower()}>(x);" for type_, relu in kinds]
    source, program = folder / "casts.cpp", folder / "casts"
    source.write_text(PROGRAM + "\n".join(lines) + "\n}\n")
    command = ["g++", "-std=c++14", "-O0", "-w", f"-I{headers}", str(source), "-o", str(program)]
    subprocess.run(command, check=True, timeout=300)
    done = subprocess.run([program], input=values.tobytes(), capture_output=True, check=True, timeout=60)
    return np.frombuffer(done.stdout).reshape(len(kinds), len(values))
