"""From a network with fixed-point types to an hls4ml project.

hls4ml is given a plain Keras network with the types of every tensor, not the QKeras network: its
QKeras reader adds layers of its own for scales and knows no negative number of integer bits.
"""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import StepError
from bench.formats.keras_env import load
from targets.fpga.fixed import FixedPoint, FixedType

#: name of the project, of its top function and of its files
PROJECT = "network"
#: hls4ml finds the type itself: wide enough that nothing is lost
AUTO = "auto"


@dataclass(frozen=True)
class Conversion:
    """How a network becomes a project.

    Attributes:
        backend: hls4ml's name: Vivado, VivadoAccelerator, Vitis.
        io_type: io_parallel (all inputs at once) or io_stream (one pixel after another).
        strategy: latency (multipliers unrolled) or resource (shared); reuse_factor: how many
            multiplications one multiplier does.
        clock_ns: clock period asked for.
        part: full name of the device.
    """

    backend: str = "Vitis"
    io_type: str = "io_parallel"
    strategy: str = "latency"
    reuse_factor: int = 1
    clock_ns: float = 10.0
    part: str = "xc7z020clg400-1"
    board: str | None = None


def convert(model: Any, types: FixedPoint, how: Conversion, out: Path) -> Any:
    """Write the project into the empty folder `out`; returns hls4ml's graph.

    Raises:
        StepError: hls4ml cannot take the network, with the layer where it is known.
    """
    load()
    import hls4ml

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            config = hls4ml.utils.config_from_keras_model(
                model, granularity="name", backend=how.backend, default_precision="fixed<16,6>"
            )
            configure(config, model, types, how)
            graph = hls4ml.converters.convert_from_keras_model(
                model,
                hls_config=config,
                backend=how.backend,
                io_type=how.io_type,
                output_dir=str(out),
                project_name=PROJECT,
                part=how.part,
                clock_period=how.clock_ns,
                **({"board": how.board} if how.board else {}),
            )
            graph.config.trace_output = True
            graph.write()
    except StepError:
        raise
    except Exception as error:
        raise StepError(f"hls4ml cannot convert the network: {type(error).__name__}: {error}") from error
    _forget_here_and_now(out)
    return graph


def _forget_here_and_now(project: Path) -> None:
    """Take out what differs from run to run: paths, times, and a copy of the network with its date."""
    for archive in project.parent.glob(f"{project.name}*.tar.gz"):
        archive.unlink()
    (project / "keras_model.keras").unlink(missing_ok=True)
    settings, build = project / "hls4ml_config.yml", project / "build_lib.sh"
    here = re.compile(r"^(KerasModel|OutputDir|Stamp):.*\n(?: .*\n)*", re.MULTILINE)
    settings.write_text(here.sub("", settings.read_text()) + "OutputDir: .\n")
    build.write_text(re.sub(r"^LIB_STAMP=.*$", f"LIB_STAMP={PROJECT}", build.read_text(), flags=re.MULTILINE))


def configure(config: dict[str, Any], model: Any, types: FixedPoint, how: Conversion) -> None:
    """Fill in hls4ml's table of types and parameters for each of its layers.

    Raises:
        StepError: hls4ml has a layer that the table of types does not know.
    """
    config["Model"]["Strategy"] = how.strategy
    config["Model"]["ReuseFactor"] = how.reuse_factor
    entries: dict[str, Any] = config["LayerName"]
    for name, entry in entries.items():
        entry["Trace"] = True  # costs nothing in hardware, and nothing in simulation unless asked for
        entry["Strategy"], entry["ReuseFactor"] = how.strategy, how.reuse_factor
        if name == model.input_names[0]:
            entry["Precision"] = {"result": str(types.input)}
            continue
        # hls4ml puts a linear activation after each layer; it goes again where it changes no type.
        own = types.layers.get(name) or types.layers.get(name.removesuffix("_linear"))
        if own is None:
            raise StepError(f"hls4ml sees a layer {name!r} that has no fixed-point types")
        given = vars(own)
        entry["Precision"] = {
            key: AUTO if given.get(key) is None else str(given[key])
            for key in dict(entry.get("Precision") or {}) | {"result": None}
        }


def graph_facts(graph: Any) -> list[dict[str, Any]]:
    """Name, kind and types of each layer of the design as hls4ml has it."""
    found = []
    for layer in graph.get_layers():
        entry: dict[str, Any] = {"name": layer.name, "kind": layer.class_name}
        variable = layer.get_output_variable()
        if variable is not None:
            entry["result"] = _plain(variable.type.precision)
            entry["shape"] = [int(size) for size in variable.shape]
        for name, weights in layer.weights.items():
            entry[name] = _plain(weights.type.precision)
        accum = layer.get_attr("accum_t")
        if accum is not None:
            entry["accum"] = _plain(accum.precision)
        found.append(entry)
    return found


def _plain(precision: Any) -> str:
    """hls4ml's `fixed<6,0,TRN,WRAP,0>` as `fixed<6,0>`."""
    shown = str(precision).replace(" ", "")
    try:
        return str(FixedType.parse(shown.removesuffix(",0>") + ">" if shown.endswith(",0>") else shown))
    except StepError:
        return shown
