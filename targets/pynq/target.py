"""PYNQ boards as targets: overlays in the fabric, and TFLite models on the board's own processor.

Both are measured by the agent on the board (`targets.pynq.agent`), one item a cell; the run itself is
`bench.run.on_board`. On the board `emulated` outputs are real and times are modelled.
"""

from __future__ import annotations

from functools import cache
from hashlib import file_digest, sha256
from pathlib import Path
from shutil import which
from typing import Any, ClassVar, Literal

from pydantic import Field

from bench.core import code
from bench.core.cells import StepSpec
from bench.errors import ConfigError, Unavailable
from targets.base import Runner, Target, TargetOptions
from targets.fpga.parameters import EmulateOverlayParams, EmulateRtlOverlayParams, HlsDesign
from targets.pynq.environment import board_python
from targets.pynq.exchange.protocols import protocol
from targets.pynq.inventory import Board, get

#: raised when the same job would be measured otherwise by the same agent
VERSION = 1
NO_PROCESSOR = (
    "the emulated board has no processor of its own: how long its ARM cores would take is not known"
)
#: what runs on a board, and what stands in for one
AGENT = tuple(
    f"targets.pynq.agent.{name}"
    for name in (
        *("checks", "codec", "drivers", "items", "job", "lock", "loopback", "main", "measurement", "power"),
        *("registers", "results", "tflite", "timing"),
    )
)
EMULATED = (
    *AGENT,
    *(
        f"targets.pynq.emulated.{name}"
        for name in ("clocks", "device", "fabric", "faults", "hwh", "kernels", "machine", "rtl")
    ),
    "targets.pynq.emulated",
)


class BoardOptions(TargetOptions):
    """board: a name of `bench board ls`. preset: how thoroughly it measures (`full`, `quick`, `mlperf`)."""

    board: str = Field(default="", pattern=r"^[A-Za-z0-9_.-]{0,64}$")
    preset: Literal["full", "quick", "mlperf"] = "full"


class PynqOptions(HlsDesign, BoardOptions):
    """And how hls4ml writes the design. kernel: what is behind an overlay of the emulated board, the C
    simulation or that of our Verilog (target `rtl`)."""

    backend: Literal["VivadoAccelerator", "VitisUnified"] = "VivadoAccelerator"
    kernel: Literal["csim", "rtl"] = "csim"


class OnBoard(Target):
    """What the targets of boards share."""

    scopes: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ("numpy",)

    def board(self, options: dict[str, Any]) -> str:
        return _board(options).name

    def unavailable(self) -> str | None:
        return None

    def refuses(self, options: dict[str, Any]) -> str | None:
        board = _board(options)
        if board.offline:
            return f"board {board.name} has no network: bench board pack makes a job for it"
        if board.host is None:
            try:
                board_python()
            except Unavailable as error:
                return str(error)
        elif which("ssh") is None:
            return "the OpenSSH client is not installed: apt-get install openssh-client"
        return None

    def identity(self, options: dict[str, Any]) -> dict[str, Any]:
        board = _board(options)
        return {
            "version": VERSION,
            "board": [board.name, board.board, board.part, board.emulated],
            "protocol": protocol(options["preset"]),
            "agent": code.identity(*(EMULATED if board.emulated else AGENT)),
        }

    def open(self, artifact: Path, options: Any = None) -> Runner:
        raise Unavailable("it runs on a board only", mend="`bench run` a sweep with this target.")


class Pynq(OnBoard):
    """Overlays built through hls4ml, measured on a PYNQ board."""

    name: ClassVar[str] = "pynq"
    format: ClassVar[str] = "overlay"
    starts_from: ClassVar[str | None] = "fixed"
    Options: ClassVar[type[TargetOptions]] = PynqOptions
    also: ClassVar[tuple[str, ...]] = ("pynq_tflite",)

    def identity(self, options: dict[str, Any]) -> dict[str, Any]:
        loopback = _board(options).loopback_files()
        more = {"loopback": _digest(tuple(loopback.values()))} if loopback else {}
        return {**super().identity(options), **more}

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        """The C simulation behind an emulated overlay, or what target `fpga` builds for the board."""
        chosen = PynqOptions(**options)
        board = _board(options)
        if chosen.kernel == "rtl":
            return self._rtl(chosen, board)
        if board.emulated:
            style: Literal["axis_dma", "m_axi"] = (
                "axis_dma" if chosen.backend == "VivadoAccelerator" else "m_axi"
            )
            params = EmulateOverlayParams(style=style, part=board.device_part or EmulateOverlayParams().part)
            last = StepSpec("emulate_overlay", params.model_dump(mode="json"))
            return (*self._csim(chosen), last)
        from targets.fpga.vendor_target import SUPPORTED, VendorBuild, VendorOptions

        if chosen.backend != "VivadoAccelerator" or board.board not in SUPPORTED[chosen.backend]:
            raise Unavailable(
                f"hls4ml's {chosen.backend} has no block design for {board.board} that this program knows "
                f"how to run; known: VivadoAccelerator for {', '.join(SUPPORTED['VivadoAccelerator'])}"
            )
        hls = {name: getattr(chosen, name) for name in HlsDesign.model_fields}
        vendor = VendorOptions(backend=chosen.backend, board=board.board, **hls)
        return VendorBuild().finish(vendor.model_dump(mode="json"))

    def _rtl(self, chosen: PynqOptions, board: Board) -> tuple[StepSpec, ...]:
        """The Verilog of target `rtl` with its usual options, behind an overlay of the emulated board."""
        from targets.fpga.rtl_target import Rtl, RtlOptions

        if not board.emulated or chosen.backend != "VivadoAccelerator":
            raise Unavailable("kernel: rtl is for emulated boards, and their overlays with a DMA")
        rtl = Rtl().finish(RtlOptions(synthesize=False).model_dump(mode="json"))[-1]
        params = EmulateRtlOverlayParams(part=board.device_part or EmulateRtlOverlayParams().part)
        last = StepSpec("emulate_rtl_overlay", params.model_dump(mode="json"))
        return (*self._csim(chosen), rtl, last)

    def reference(self, options: Any) -> tuple[StepSpec, ...]:
        """What its outputs are held against; an emulated overlay has its C simulation in itself."""
        return () if _board(options).emulated else self._csim(PynqOptions(**options))

    @staticmethod
    def _csim(chosen: PynqOptions) -> tuple[StepSpec, ...]:
        """That of target `hls4ml` with the same options, and built only once."""
        from targets.fpga.hls4ml_target import Hls4ml, Hls4mlOptions

        same = {name: getattr(chosen, name) for name in HlsDesign.model_fields}
        return Hls4ml().finish(Hls4mlOptions(**same).model_dump(mode="json"))


class PynqTflite(OnBoard):
    """TFLite models on the processor of a PYNQ board, one thread."""

    name: ClassVar[str] = "pynq_tflite"
    format: ClassVar[str] = "tflite"
    Options: ClassVar[type[TargetOptions]] = BoardOptions

    def finish(self, options: Any) -> tuple[StepSpec, ...]:
        if _board(options).emulated:
            raise Unavailable(NO_PROCESSOR)
        return ()


def _board(options: dict[str, Any]) -> Board:
    """Raises ConfigError: no board is named, or there is none of that name."""
    if not options["board"]:
        raise ConfigError(
            "which board?",
            where="target pynq",
            mend="Write pynq: {board: emulated}; `bench board ls` shows those there are.",
        )
    return get(str(options["board"]))


@cache
def _digest(files: tuple[Path, ...]) -> str:
    found = sha256()
    for path in files:
        with path.open("rb") as stream:
            found.update(file_digest(stream, "sha256").digest())
    return found.hexdigest()
