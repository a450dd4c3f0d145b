"""Stand-ins for vendor builds: the tools on PATH, and a written project that needs neither TensorFlow nor
hls4ml."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core import registry
from bench.core.cells import CellSpec, Chain, Protocol, StepSpec, Sweep
from bench.core.step import Artifact, Step, StepContext, StepOutcome, StepParams
from tests import toy

ROOT = Path(__file__).resolve().parent
TOOLS = ("vivado_hls", "vivado", "vitis-run", "vitis_hls")


def install(folder: Path, *names: str) -> Path:
    """The stand-in under these names in `folder/bin`; returns that."""
    place = folder / "bin"
    place.mkdir(parents=True, exist_ok=True)
    source = (ROOT / "vendor_tool.py").read_text().replace("/usr/bin/env python3", sys.executable)
    for name in names:
        (place / name).write_text(source)
        (place / name).chmod(0o755)
    return place


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, mode: str = "ok") -> Path:
    """Only these tools are to be found, on PATH; returns the log of their runs."""
    nowhere(monkeypatch)
    place = install(folder, *names)
    monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    monkeypatch.setenv("VENDOR_MODE", mode)
    monkeypatch.setenv("VENDOR_LOG", str(folder / "vendor.log"))
    return folder / "vendor.log"


def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No vendor tool is installed, whatever this machine has."""
    for name in ("XILINX_VIVADO", "XILINX_HLS", "XILINX_VITIS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_XILINX_ROOTS", "")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("VENDOR_REPORTS", str(ROOT / "data" / "fpga_reports"))


def project(
    folder: Path,
    *,
    backend: str = "vivadoaccelerator",
    part: str = "xc7z020clg400-1",
    n_in: int = 16,
    n_out: int = 5,
    bits: int = 6,
    strategy: str = "latency",
    reuse: int = 1,
    zeros: int = 0,
) -> Path:
    """What hls4ml writes, as far as building and checking look at it: one dense layer."""
    weights = [0.0] * zeros + [0.25] * (n_in * n_out - zeros)
    files = {
        "project.tcl": f'variable project_name\nset project_name "network"\nvariable backend\n'
        f'set backend "{backend}"\nset part "{part}"\nset clock_period 10.0\nset maximum_size 4096\n',
        "build_prj.tcl": "# stands in\n",
        "vivado_synth.tcl": "# stands in\n",
        "design.tcl": "# stands in\n",
        "axi_stream_driver.py": "# stands in\n",
        "firmware/network.cpp": "    nnet::dense<input_t, result_t, config2>(x, y, w2, b2); // dense_1\n",
        "firmware/defines.h": f"typedef ap_fixed<{bits},1,AP_RND,AP_SAT,0> input_t;\n"
        f"typedef ap_fixed<{bits},0,AP_RND_CONV,AP_SAT,0> dense_1_weight_t;\n",
        "firmware/parameters.h": "// dense_1\nstruct config2 : nnet::dense_config {\n"
        f"    static const unsigned n_in = {n_in};\n    static const unsigned n_out = {n_out};\n"
        f"    static const unsigned strategy = nnet::{strategy};\n"
        f"    static const unsigned reuse_factor = {reuse};\n}};\n",
        "firmware/weights/w2.txt": ", ".join(map(str, weights)),
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def artifact(folder: Path, **changes: Any) -> Artifact:
    """An artifact of format `hls`."""
    project(folder / "project", **changes)
    (folder / "model.keras").write_bytes(b"a network")
    (folder / "fixed_point.json").write_text("{}\n")
    return Artifact(folder, "hls", "", {})


class HlsParams(StepParams):
    backend: str = "vivadoaccelerator"
    n_out: int = 5


class WriteHls(Step):
    """Starts a chain with a written project."""

    name, takes, gives = "vendor_hls", None, "hls"
    Params = HlsParams
    needs = ()

    def run(self, context: StepContext) -> StepOutcome:
        artifact(context.out, backend=context.params.backend, n_out=context.params.n_out)
        return StepOutcome({"backend": context.params.backend})


def register(registries: Any) -> None:
    toy.register(registries)
    registries.STEPS.add("vendor_hls", "tests.vendor:WriteHls")


def activate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Register the step and the toy model here and in child processes."""
    register(registry)
    toy.activate(monkeypatch, folder)
    monkeypatch.setenv("BENCH_PLUGINS", "tests.vendor")


def sweep(name: str = "vendor", backend: str = "VivadoAccelerator", n_out: int = 5, **options: Any) -> Sweep:
    """One cell of target `fpga` whose chain begins with a written project."""
    target = registry.TARGETS.get("fpga")
    full = target.Options(backend=backend, **options).model_dump(mode="json")
    build = target.finish(full)[-1]
    params = HlsParams(backend=backend.lower(), n_out=n_out).model_dump(mode="json")
    chain = Chain((StepSpec("vendor_hls", params), build))
    cell = CellSpec("toy", "baseline", "fpga", "fpga", full, 0, chain, measured=False)
    return Sweep(name, (cell,), Protocol.preset("off"), {})


def copy_finished(source: Path, place: Path) -> Path:
    shutil.copytree(source, place)
    return place


def main(root: str) -> int:
    """Run the sweep on a folder, in a process of its own (for tests that kill it)."""
    from bench.run.progress import PlainReporter
    from bench.run.run import run_sweep
    from bench.store.store import Store

    registry.load_plugins()
    return run_sweep(sweep(), Store(root), reporter=PlainReporter()).exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
