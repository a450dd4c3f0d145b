"""What a board is asked to measure: artifacts as items of a job (`targets.pynq.exchange.jobs`)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import ArtifactError
from targets.fpga.hls.simulator import DESCRIPTION, PROGRAM, WEIGHTS, Simulator
from targets.pynq.exchange.jobs import ItemSource, tree

if TYPE_CHECKING:
    from targets.fpga.rtl.axi_stream import Stream

DESCRIBED, OVERLAY, RTL_KERNEL = "board_item.json", "overlay", "rtl_kernel"
#: where hls4ml's VivadoAccelerator puts its DMA
DMA = "hier_0/axi_dma_0"
#: of VivadoAccelerator's block designs, whatever the project asks for
BLOCK_DESIGN_MHZ = 100.0


def digest_of(paths: Iterable[Path]) -> str:
    """sha256 over the contents of files, one after the other."""
    found = hashlib.sha256()
    for path in paths:
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def interface(simulator: Simulator, style: str, dma: str | None, kernel: str | None) -> dict[str, Any]:
    """How the kernel is reached. hls4ml's accelerators take and give float32, and cast in the fabric."""
    return {
        "style": style,
        "dma": dma,
        "kernel": kernel,
        "inputs": simulator.inputs,
        "outputs": simulator.outputs,
        "input_dtype": "float32",
        "output_dtype": "float32",
    }


def stream_interface(stream: Stream) -> dict[str, Any]:
    """The same where the codes of fixed-point numbers travel, in words of 32 bits."""
    return {
        "style": "axis_dma",
        "dma": DMA,
        "kernel": "hier_0/kernel_0",
        "inputs": stream.inputs,
        "outputs": stream.outputs,
        "input_dtype": "int32",
        "output_dtype": "int32",
        "input_type": str(stream.input),
        "output_type": str(stream.output_type),
    }


def save(folder: Path, described: Mapping[str, Any]) -> None:
    (folder / DESCRIBED).write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


def emulated_overlay(
    name: str, artifact: Path, x: np.ndarray, labels: np.ndarray, expected: np.ndarray
) -> ItemSource:
    """An overlay of step `emulate_overlay` or `emulate_rtl_overlay`, its kernel with it.

    Raises:
        ArtifactError: it is none.
    """
    path = artifact / DESCRIBED
    try:
        described = json.loads(path.read_text())
        facts = {key: described[key] for key in ("interface", "clock_mhz", "sanity")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"not an overlay for the emulated board ({error})", where=str(path)) from error
    files: dict[str, Path | bytes] = {**_pair(artifact)}
    if described.get("kernel") == "rtl":
        files |= tree(artifact / RTL_KERNEL, "kernel")
    else:
        files |= {f"kernel/{name}": artifact / name for name in (PROGRAM, DESCRIPTION)}
        files |= tree(artifact / WEIGHTS, f"kernel/{WEIGHTS}")
    if isinstance(described.get("cycles"), dict):
        facts["cycles"] = described["cycles"]
    return ItemSource(name, "overlay", files, x, expected, labels, facts)


def built_overlay(
    name: str,
    artifact: Path,
    hardware: Mapping[str, Any],
    simulator: Simulator,
    x: np.ndarray,
    labels: np.ndarray,
    expected: np.ndarray,
    part: str | None,
) -> ItemSource:
    """An overlay that the vendor's tools built for VivadoAccelerator.

    Args:
        hardware: what the reports of the build say (facts of step `build_overlay`).
        simulator: the C simulation of the same network.
        part: of the board that it is for, where it is known.
    """
    timing, cycles = _part(hardware, "timing"), _part(hardware, "cycles")
    facts: dict[str, Any] = {
        "interface": interface(simulator, "axis_dma", DMA, None),
        "clock_mhz": BLOCK_DESIGN_MHZ,
        "sanity": {
            "clock_estimate_ns": _number(timing.get("clock_estimate_ns")),
            "clock_target_ns": _number(cycles.get("clock_target_ns")),
            "wns_ns": _number(timing.get("wns_ns")),
            "part": part,
        },
    }
    latency, interval = _number(cycles.get("cycles_max")), _number(cycles.get("interval_min"))
    if latency is not None and interval is not None:  # the least: a bound that no true time is below
        source = "cosim" if cycles.get("source") == "cosim" else "csynth"
        facts["cycles"] = {"latency": int(latency), "interval": int(interval), "source": source}
    return ItemSource(name, "overlay", _pair(artifact), x, expected, labels, facts)


def tflite(
    name: str, artifact: Path, x: np.ndarray, labels: np.ndarray, expected: np.ndarray | None
) -> ItemSource:
    """A TFLite model for the board's own processor. Its kernels may round otherwise than the host's."""
    files = {"model.tflite": artifact / "model.tflite"}
    return ItemSource(name, "tflite", files, x, expected, labels, {"exact": False})


def item_id(label: str, key: str) -> str:
    """An id that the agent takes: the label for people, and the key that tells items apart."""
    words = "/".join(re.sub(r"[^A-Za-z0-9_.,=+@-]+", "-", part).strip("-.") for part in label.split("/"))
    words = re.sub(r"\.\.+", ".", words).lstrip("_.,=+@-/")[:150].rstrip("/")
    return f"{words}/{key[:12]}" if words else key[:12]


def _pair(artifact: Path) -> dict[str, Path | bytes]:
    """Bit and hwh, by the names that the agent knows."""
    found: dict[str, Path | bytes] = {}
    for suffix in (".bit", ".hwh"):
        paths = sorted((artifact / OVERLAY).glob(f"*{suffix}"))
        if len(paths) != 1:
            raise ArtifactError(
                f"{len(paths)} files *{suffix} in the overlay, one is needed",
                where=str(artifact / OVERLAY),
                mend="pynq loads an overlay with bit and hwh side by side; build it with a bitstream.",
            )
        found[f"overlay{suffix}"] = paths[0]
    return found


def _part(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, Mapping) else {}


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known else None
