"""Vendor builds as a target: cells whose result is an overlay. Nothing runs it here; a board would."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from bench.core.cells import StepSpec
from bench.core.versions import installed
from targets.base import Runner, Target, TargetOptions
from targets.fpga.parameters import (
    BOARD,
    PART,
    BuildOverlayParams,
    HlsDesign,
    ToHlsParams,
    VendorStages,
    parameters,
)
from targets.fpga.parts import BOARDS
from targets.fpga.vendor.flow import WITH_BITSTREAM

#: boards for which a backend has a block design (hls4ml 1.3.0's supported_boards.json; its documentation)
SUPPORTED: dict[str, tuple[str, ...]] = {
    "VivadoAccelerator": ("pynq-z2", "zcu102"),
    "VitisUnified": ("zcu102", "kv260"),
}
#: period of the clock in VivadoAccelerator's block designs, whatever the project asks for
BLOCK_DESIGN_NS = 10.0
DEFAULT_PART = BOARDS["pynq-z2"]
NO_HLS4ML = "hls4ml is not installed: uv sync --extra train (or pip install 'edge-bench[train]')"


class VendorOptions(HlsDesign, VendorStages, TargetOptions):
    """What is built, and how.

    board: for VivadoAccelerator pynq-z2 (also where none is given) or zcu102, for VitisUnified zcu102
    or kv260; for Vivado and Vitis, which make an IP core, any in the table of boards, for its part.
    """

    board: str | None = Field(default=None, pattern=BOARD)
    part: str | None = Field(default=None, pattern=PART)
    clock_ns: float = Field(default=10.0, gt=0.1, le=1000)

    @model_validator(mode="after")
    def _fits_together(self) -> VendorOptions:
        boards = SUPPORTED.get(self.backend)
        if boards and self.board is not None and self.board not in boards:
            raise ValueError(f"backend {self.backend} has no board {self.board!r}, only {', '.join(boards)}")
        if not boards and self.board is not None and self.board not in BOARDS:
            raise ValueError(f"unknown board {self.board!r}; known: {', '.join(BOARDS)}")
        chosen = self.chosen_board
        if chosen and self.part is not None and self.part.lower() != BOARDS[chosen].lower():
            raise ValueError(f"board {chosen} has part {BOARDS[chosen]}, not {self.part}")
        if self.backend == "VivadoAccelerator" and self.clock_ns > BLOCK_DESIGN_NS:
            raise ValueError(
                f"VivadoAccelerator's block design runs at {BLOCK_DESIGN_NS:g} ns: a design for "
                f"{self.clock_ns:g} ns would be too slow for it"
            )
        if self.backend == "VitisUnified" and self.io_type == "io_parallel":
            raise ValueError("VitisUnified knows io_stream only")
        return self

    @property
    def chosen_board(self) -> str | None:
        return self.board or next(iter(SUPPORTED.get(self.backend, ())), None)

    @property
    def chosen_part(self) -> str:
        return self.part or BOARDS.get(self.chosen_board or "", DEFAULT_PART)


class VendorBuild(Target):
    """Vivado or Vitis builds the design: use, timing and the overlay, without running it."""

    name: ClassVar[str] = "fpga"
    format: ClassVar[str] = "overlay"
    starts_from: ClassVar[str | None] = "fixed"
    evaluates: ClassVar[bool] = False
    Options: ClassVar[type[TargetOptions]] = VendorOptions
    scopes: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ("hls4ml",)

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        chosen = VendorOptions(**options)
        io_type = "io_stream" if chosen.backend == "VitisUnified" else chosen.io_type
        # A board matters where a block design is made for it; else it only names the part.
        board = chosen.chosen_board if chosen.backend in SUPPORTED else None
        hls = parameters(ToHlsParams, chosen, io_type=io_type, part=chosen.chosen_part, board=board)
        bitstream = chosen.bitstream and chosen.backend in WITH_BITSTREAM
        overlay = parameters(BuildOverlayParams, chosen, bitstream=bitstream)
        return (
            StepSpec("to_hls", hls.model_dump(mode="json")),
            StepSpec("build_overlay", overlay.model_dump(mode="json")),
        )

    def unavailable(self) -> str | None:
        """Why no backend can build here. A cell is skipped for what its own backend lacks."""
        from bench.errors import Unavailable
        from targets.fpga.vendor.tools import tools_for

        if not installed("hls4ml"):
            return NO_HLS4ML
        reasons = []
        for backend in ("VivadoAccelerator", "Vitis"):
            try:
                tools_for(backend, bitstream=backend in WITH_BITSTREAM)
                return None
            except Unavailable as error:
                reasons.append(error.what)
        return f"{'; '.join(reasons)}: `bench doctor` says what to do"

    def open(self, artifact: Path, options: Any = None) -> Runner:
        from bench.errors import Unavailable

        raise Unavailable("an overlay runs on its board only", mend="Take a target that has the board.")


class WrittenProject(VendorBuild):
    """The project that the vendor's tools would build, only written: needs none of them."""

    name: ClassVar[str] = "fpga_project"
    format: ClassVar[str] = "hls"

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        return super().finish(options)[:1]

    def unavailable(self) -> str | None:
        return None if installed("hls4ml") else NO_HLS4ML
