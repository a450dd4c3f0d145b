"""A design as a folder for other tools: Verilog with an AXI4-Stream wrapper, a test bench that checks itself,
how a board's DMA reaches it, and a script that makes an overlay of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import ArtifactError, ConfigError
from targets.fpga.parts import BOARDS
from targets.fpga.rtl.axi_stream import BENCH, WRAPPER, Stream, wrapper, write_bench
from targets.fpga.rtl.overlay_script import DMA, SCRIPT, STEM, script
from targets.fpga.rtl.simulate import Port, _codes
from targets.fpga.rtl.stages import Number

INTERFACE, README = "interface.json", "README.md"
#: of a simulated design, which the wrapper's words are made from
_INPUTS, _OUTPUTS = "inputs.hex", "expected.hex"


@dataclass(frozen=True)
class Export:
    """What is written. label: of the cell. vectors: items of the test bench, at most."""

    label: str
    board: str
    clock_mhz: float
    vectors: int = 100
    stall: int = 30


def export(artifact: Path, stream: Stream, out: Path, wanted: Export) -> int:
    """Write an artifact of format `rtl` into the new folder `out`; returns the items of its test bench.

    Raises:
        ConfigError: something is there already.
        ArtifactError: it is no such artifact.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError("there is something already", where=str(out), mend="Name a new folder with --out.")
    source = artifact / "verilog"
    try:
        about = json.loads((artifact / "rtl.json").read_text())
        inputs = _read(source / _INPUTS, Number.of(stream.input), stream.inputs, stream.together)
        outputs = _read(source / _OUTPUTS, stream.output, stream.outputs, stream.together)
        if len(inputs) != len(outputs) or not len(inputs):
            raise ValueError(f"{len(inputs)} inputs and {len(outputs)} outputs")
        latency = int(about["cycles"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"not a simulated design ({error})", where=str(artifact)) from error
    verilog, vivado, n = out / "verilog", out / "vivado", min(wanted.vectors, len(inputs))
    for folder in (verilog, vivado):
        folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        if path.suffix in (".v", ".hex") and path.name not in (f"{BENCH}.v", _INPUTS, _OUTPUTS):
            shutil.copyfile(path, verilog / path.name)
    (verilog / f"{WRAPPER}.v").write_text(wrapper(stream))
    patience = 20 * (latency + stream.inputs + stream.outputs) + 10_000
    write_bench(stream, verilog, inputs[:n], outputs[:n], stall=wanted.stall, patience=patience)
    (vivado / SCRIPT).write_text(script(wanted.board, wanted.clock_mhz))
    (out / INTERFACE).write_text(json.dumps(interface(stream, wanted, about), indent=1) + "\n")
    (out / README).write_text(_readme(stream, wanted, about, n))
    return n


def _read(path: Path, number: Number, elements: int, together: bool) -> np.ndarray:
    """Codes (n, elements) of the core's own test vectors."""
    port = Port(number, elements if together else 1, 1 if together else elements)
    codes = [code for word in path.read_text().split() for code in _codes(word, port, path.name)]
    return np.array(codes, np.int64).reshape(-1, elements)


def interface(stream: Stream, wanted: Export, about: Mapping[str, Any]) -> dict[str, Any]:
    """How an overlay of it is reached, in the words of a board's job
    (`targets.pynq.exchange.job_file.Interface`), and its cycles."""
    return {
        "interface": {
            "style": "axis_dma",
            "dma": DMA,
            "inputs": stream.inputs,
            "outputs": stream.outputs,
            "input_dtype": "int32",
            "output_dtype": "int32",
            "input_type": str(stream.input),
            "output_type": str(stream.output_type),
        },
        "clock_mhz": wanted.clock_mhz,
        "cycles": {"latency": about["cycles"], "interval": about["interval"], "source": "rtl"},
    }


def _readme(stream: Stream, wanted: Export, about: Mapping[str, Any], n: int) -> str:
    style = about["style"]
    how = f"P = {about['multipliers']}" if style == "sequential" else f"cutoff = {about['cutoff']}"
    return f"""# {wanted.label} in Verilog

Written by edge-bench. Style {style} ({how}): {about["cycles"]} cycles from an input's first element to its
last output, an input every {about["interval"]} cycles, as simulated without the wrapper. In simulation it
gave the outputs of hls4ml's C simulation in every bit, on {about["vectors"]} test inputs.

| file | |
|---|---|
| `verilog/network.v` and others | the network, with valid and ready |
| `verilog/{WRAPPER}.v` | AXI4-Stream around it: what a DMA talks to |
| `verilog/{BENCH}.v` | {n} test inputs through the wrapper, random stalls; checks every word and TLAST |
| `vivado/{SCRIPT}` | makes `{STEM}.bit` and `{STEM}.hwh` for {wanted.board}; **not run** by its authors |
| `{INTERFACE}` | types and layout of the words, the DMA's place, cycles |

## Simulate

    cd verilog && iverilog -g2005 -o simulation *.v && vvp -n simulation

The last line begins with PASS, or with FAIL and the faults above it.

## Words

An item is {stream.inputs} words of 32 bits in and {stream.outputs} words out, elements in the order of a
NumPy array (C-contiguous). A word is the integer code of a fixed-point number, sign-extended (unsigned: with
zeros):

| | type | value |
|---|---|---|
| in | `{stream.input}` | code × 2^{stream.input.integer - stream.input.bits} |
| out | `{stream.output_type}` | code × 2^{-stream.output.fraction} |

TLAST on the last word of an item ends the packet; that item's last output has TLAST. So a batch of any size
is one transfer of the DMA in each direction.

## Overlay

    cd vivado && vivado -mode batch -source {SCRIPT}

Part {BOARDS[wanted.board]}, clock {wanted.clock_mhz:g} MHz. The script fails where timing is not met, and
leaves `utilization.rpt` and `timing_summary.rpt`. On the board the DMA is `{DMA}`.
"""
