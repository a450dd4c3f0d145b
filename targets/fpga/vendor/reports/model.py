"""What one report of an FPGA tool says, in the same names whatever tool and version wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.errors import ArtifactError

Number = int | float
Value = Number | str | bool | None
Stage = Literal["hls_est", "synth", "impl"]

KINDS = ("csynth", "cosim", "synthesis", "utilization", "accelerator", "timing", "power")
STAGES = ("hls_est", "synth", "impl")
#: what a device has a count of; the names of `available`
RESOURCES = ("lut", "ff", "dsp", "bram18", "uram")
#: resources of a stage: those and finer ones
USED = ("lut", "lut_logic", "lut_memory", "ff", "dsp", "bram18", "bram36", "uram")
CYCLES = ("cycles_min", "cycles_max", "interval_min", "interval_max")
TIMING = (
    "wns_ns",
    "tns_ns",
    "whs_ns",
    "ths_ns",
    "failing_endpoints",
    "timing_met",
    "clock_ns",
)
POWER = ("power_total_w", "power_dynamic_w", "power_static_w", "power_confidence", "junction_c")


@dataclass(frozen=True)
class HardwareReport:
    """One report file.

    Attributes:
        kind: csynth, cosim, synthesis, utilization, accelerator (a part of the design: the kernels without
            their platform), timing or power.
        stage: what resources and times are of: `hls_est` estimated by HLS, `synth` after synthesis, `impl`
            after placing or routing. None for a simulation, and where the report does not say.
        file: the name as it was given.
        tool, version, part, top: None where the report does not say. `part` is in lower case and without
            the dash before the package: `xc7z020clg400-1`.
        values: by the names in this module. None or absent: not in the report; never zero for that.
            `bram18` counts blocks of 18 Kbit, `bram36` of 36 Kbit (the same memory, not another);
            `_ns` nanoseconds, `_w` watts, `_c` degrees Celsius.
            `failing_endpoints` sums setup, hold and pulse width checks.
            `clock_ns` is the period of the only clock, or of the one with most endpoints.
            `black_boxes`: blocks that were synthesized apart and are not in the resources; absent for none.
        available: what the device has, by the names in RESOURCES.
        modules: rows of a hierarchy (name, level, resources or power_w) or clocks (name, period_ns,
            frequency_mhz).
        state: of the design, in Vivado's words (Synthesized, Placed, Routed, ...); None where it is not said.
    """

    kind: str
    stage: Stage | None
    file: str
    tool: str | None
    version: str | None
    part: str | None
    top: str | None
    values: dict[str, Value]
    available: dict[str, int | None]
    modules: tuple[dict[str, Any], ...] = ()
    state: str | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` gives the same report back."""
        return {**asdict(self), "modules": [dict(row) for row in self.modules]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> HardwareReport:
        """The report of `to_json`.

        Raises:
            ArtifactError: a key is missing or unknown, or the kind or stage is.
        """
        try:
            report = cls(**{**data, "modules": tuple(dict(row) for row in data["modules"])})
            values, available = dict(report.values), dict(report.available)
        except (TypeError, KeyError, ValueError) as error:
            raise ArtifactError(f"not a stored hardware report ({error})") from error
        if report.kind not in KINDS or report.stage not in (*STAGES, None):
            raise ArtifactError(
                f"not a stored hardware report (kind {report.kind!r}, stage {report.stage!r})"
            )
        return cls(**{**asdict(report), "values": values, "available": available, "modules": report.modules})
