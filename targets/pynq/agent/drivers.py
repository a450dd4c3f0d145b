"""The board: pynq, the bitstream, and the two ways to and from a kernel (AXI DMA, AXI master)."""

from __future__ import annotations

import re
import struct
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Callable

import numpy as np

from .codec import Codec
from .job import Hung, ItemError, Job, Skip, said


class Board:
    """The board that this runs on, or the emulated one. All time that is reported comes from here."""

    def __init__(self, job: Job | None = None, emulator: Path | None = None) -> None:
        self.emulated = emulator is not None
        if self.emulated:
            assert job is not None
            sys.path.insert(0, str(emulator))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import emulated  # type: ignore[import-not-found,unused-ignore]

                self.device = emulated.activate(job.folder)
            self.now_ns: Callable[[], int] = self.device.clock.now_ns
            self.sleep: Callable[[float], None] = self.device.clock.sleep
            self._spend: Callable[[float], None] | None = self.device.clock.spend
        else:
            self.device = None
            self.now_ns, self.sleep, self._spend = time.perf_counter_ns, time.sleep, None

    def worked(self, nbytes: int) -> None:
        """The processor has gone through so many bytes. A real one takes its time by itself."""
        if self._spend is not None:
            self._spend(float(nbytes))


def import_pynq() -> Any:
    """pynq, without its warnings about the machine. Raises Skip."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import pynq
            import pynq.lib.dma
        except Exception as error:
            raise Skip(
                f"pynq cannot be imported ({said(error)}); "
                "source /etc/profile.d/pynq_venv.sh and xrt_setup.sh"
            ) from error
    return pynq


def bit_part(path: Path) -> str:
    """The part in the header of a bitstream, without dashes and `xc`."""
    head = path.read_bytes()[:4096]
    try:
        (length,) = struct.unpack_from(">H", head, 0)
        place = 2 + length + 2
        texts = []
        for key in b"ab":
            if head[place] != key:
                raise ValueError
            (length,) = struct.unpack_from(">H", head, place + 1)
            texts.append(head[place + 3 : place + 3 + length].rstrip(b"\0").decode("ascii"))
            place += 3 + length
    except (struct.error, ValueError, IndexError) as error:
        raise ItemError("overlay.bit has no header of a bitstream") from error
    return plain_part(texts[1])


def plain_part(part: str) -> str:
    name = re.sub(r"[^a-z0-9]", "", part.lower())
    return name[2:] if name.startswith("xc") else name


class Counted:
    """Registers that count. Put before an array of registers; raises Hung when it takes too long."""

    def __init__(self, array: Any, board: Board, timeout: float) -> None:
        self._array, self._board = array, board
        self._until = board.now_ns() + timeout * 1e9
        self.reads = self.writes = 0

    def __getitem__(self, index: int) -> int:
        self.reads += 1
        if self._board.now_ns() > self._until:
            raise Hung("the stock driver waits without end")
        return int(self._array[index])

    def __setitem__(self, index: int, value: int) -> None:
        self.writes += 1
        self._array[index] = value


class Driver:
    """Buffers, allocated once, and how a batch of frames gets through the kernel.

    Subclasses: `arm` programs everything, `fire` starts a batch with as few accesses as can be, `poll`
    says whether it is done.
    """

    def __init__(self, board: Board, pynq: Any, item: dict[str, Any], most: int) -> None:
        interface = item["interface"]
        self.board, self.pynq, self.most = board, pynq, most
        #: frames that one transfer can hold
        self.largest = most
        self.inputs, self.outputs = int(interface["inputs"]), int(interface["outputs"])
        self.codec_in = Codec(interface["input_dtype"], interface.get("input_type"))
        self.codec_out = Codec(interface["output_dtype"], interface.get("output_type"))
        self.frame_in = self.inputs * self.codec_in.dtype.itemsize
        self.frame_out = self.outputs * self.codec_out.dtype.itemsize
        self.registers: Any = None
        self._source = pynq.allocate(shape=(most, self.inputs), dtype=self.codec_in.dtype)
        self._target = pynq.allocate(shape=(most, self.outputs), dtype=self.codec_out.dtype)
        # plain arrays for arithmetic: pynq makes up physical addresses for what is computed from a buffer
        self.source, self.target = self._source.view(np.ndarray), self._target.view(np.ndarray)
        self._views: dict[int, tuple[Any, Any]] = {}

    def views(self, frames: int) -> tuple[Any, Any]:
        """The buffers of the first frames: views, the only things with a true physical address."""
        found = self._views.get(frames)
        if found is None:
            found = self._views[frames] = (self._source[:frames], self._target[:frames])
        return found

    def check_address(self, buffer: Any, width: int) -> None:
        if buffer.physical_address % max(1, width // 8):
            raise ItemError(f"a buffer at {buffer.physical_address:#x} is not aligned to {width} bits")

    def arm(self, frames: int) -> None:
        raise NotImplementedError

    def fire(self, frames: int) -> None:
        raise NotImplementedError

    def poll(self) -> bool:
        raise NotImplementedError

    def received(self) -> int | None:
        """Bytes that came of the last batch, where the hardware tells."""
        return None

    def stop(self) -> None:
        """Whatever runs is ended."""

    def wait(self, timeout: float) -> None:
        """Raises Hung after `timeout` seconds."""
        for _ in range(64):
            if self.poll():
                return
        board = self.board
        begin = board.now_ns()
        while not self.poll():
            past = (board.now_ns() - begin) * 1e-9
            if past > timeout:
                raise Hung(f"no answer within {timeout:g} s: the stream is stuck")
            if past > 0.002:
                board.sleep(min(0.01, past / 10))

    def run(self, values: np.ndarray, timeout: float) -> np.ndarray:
        """Outputs of some frames, with everything checked. The careful path."""
        frames = len(values)
        source, target = self.views(frames)
        np.copyto(self.source[:frames], self.codec_in.encode(values))
        self.target[:frames] = 0
        target.flush()
        source.flush()
        self.arm(frames)
        self.fire(frames)
        self.wait(timeout)
        came = self.received()
        if came is not None and came != frames * self.frame_out:
            raise ItemError(
                f"{came} bytes came, not {frames * self.frame_out}: the kernel ends its packets elsewhere"
            )
        target.invalidate()
        return np.array(self.codec_out.decode(self.target[:frames].copy()))


def lookup(overlay: Any, name: str) -> dict[str, Any]:
    found = overlay.ip_dict.get(name)
    if found is None or "phys_addr" not in found:
        raise ItemError(f"the overlay has no {name!r}, only {', '.join(sorted(overlay.ip_dict))}")
    return dict(found)


class DmaDriver(Driver):
    """AXI DMA in simple mode."""

    #: indices of 32-bit registers
    _MM2S, _S2MM = 0x00 // 4, 0x30 // 4
    _STATUS, _ADDRESS, _LENGTH = 0x04 // 4, 0x18 // 4, 0x28 // 4
    _ERRORS = (
        (0x10, "internal error (a packet longer than its buffer, or a length of zero)"),
        (0x20, "slave error (the memory answers with an error)"),
        (0x40, "decode error (an address where there is no memory)"),
    )

    def __init__(self, board: Board, pynq: Any, overlay: Any, item: dict[str, Any], most: int) -> None:
        found = lookup(overlay, item["interface"]["dma"])
        parameters = {str(key).lower(): value for key, value in found["parameters"].items()}
        if int(parameters.get("c_include_sg", 0)):
            raise ItemError("the DMA is in scatter-gather mode; simple mode is needed")
        #: a longer transfer is cut by the hardware without a word
        self.limit = (1 << int(parameters.get("c_sg_length_width", 14))) - 1
        interface = item["interface"]
        sizes = [
            int(interface[side + "s"])
            * Codec(interface[side + "_dtype"], interface.get(side + "_type")).dtype.itemsize
            for side in ("input", "output")
        ]
        largest = self.limit // max(sizes)
        if largest < 1:
            raise ItemError(f"a frame has {max(sizes)} bytes, the DMA's length register takes {self.limit}")
        super().__init__(board, pynq, item, min(most, largest))
        self.largest = largest
        self.registers = pynq.MMIO(found["phys_addr"], 0x60).array
        for buffer, key in (
            (self._source, "c_m_axi_mm2s_data_width"),
            (self._target, "c_m_axi_s2mm_data_width"),
        ):
            self.check_address(buffer, int(parameters.get(key, 32)))
        self._reset()

    def _reset(self) -> None:
        registers = self.registers
        registers[self._MM2S] = 4
        until = self.board.now_ns() + 10**9
        while int(registers[self._MM2S]) & 4 or int(registers[self._S2MM]) & 4:
            if self.board.now_ns() > until:
                raise Hung("the DMA does not come back from its reset")
        for channel in (self._MM2S, self._S2MM):
            registers[channel] = 1
            while int(registers[channel + self._STATUS]) & 1:
                if self.board.now_ns() > until:
                    raise Hung("the DMA does not start")

    def stop(self) -> None:
        self._reset()

    def arm(self, frames: int) -> None:
        registers = self.registers
        if any(int(registers[channel + self._STATUS]) & 0x71 for channel in (self._MM2S, self._S2MM)):
            self._reset()  # before the addresses: a reset is of both channels
        for channel, buffer in ((self._MM2S, self._source), (self._S2MM, self._target)):
            address = buffer.physical_address
            registers[channel + self._ADDRESS] = address & 0xFFFFFFFF
            registers[channel + self._ADDRESS + 1] = address >> 32

    def fire(self, frames: int) -> None:
        # two writes; the addresses stay. The receiver first, so that no output has to wait.
        self.registers[self._S2MM + self._LENGTH] = frames * self.frame_out
        self.registers[self._MM2S + self._LENGTH] = frames * self.frame_in

    def poll(self) -> bool:
        status = int(self.registers[self._S2MM + self._STATUS])
        if status & 2 and not status & 0x71:
            return True
        if status & 0x71:
            self._raise(status, "receiving")
        return False

    def _raise(self, status: int, what: str) -> None:
        said = [text for bit, text in self._ERRORS if status & bit] or ["halted"]
        raise ItemError(f"DMA, {what}: {'; '.join(said)}")

    def wait(self, timeout: float) -> None:
        try:
            super().wait(timeout)
        except Hung:
            status = int(self.registers[self._MM2S + self._STATUS])
            if status & 0x70:
                self._raise(status, "sending")
            raise

    def received(self) -> int | None:
        return int(self.registers[self._S2MM + self._LENGTH])


class MaxiDriver(Driver):
    """An HLS kernel that reads and writes memory itself, by its control registers."""

    def __init__(self, board: Board, pynq: Any, overlay: Any, item: dict[str, Any], most: int) -> None:
        found = lookup(overlay, item["interface"]["kernel"])
        registers = {str(name): int(entry["address_offset"]) for name, entry in found["registers"].items()}
        pointers = sorted(
            name[:-2] for name in registers if name.endswith("_1") and name[:-2] + "_2" in registers
        )
        pointers.sort(key=lambda name: registers[name + "_1"])
        if "batch_size" not in registers or len(pointers) != 2:
            raise ItemError(
                f"kernel {item['interface']['kernel']}: one input, one output and batch_size are known, "
                f"its registers are {', '.join(sorted(registers))}"
            )
        if "out" in pointers[0].lower() and "out" not in pointers[1].lower():
            pointers.reverse()
        super().__init__(board, pynq, item, most)
        self.registers = pynq.MMIO(found["phys_addr"], min(int(found["addr_range"]), 0x1000)).array
        self._batch = registers["batch_size"] // 4
        self._pointers = [registers[name + "_1"] // 4 for name in pointers]
        if not int(self.registers[0]) & 4:
            raise Hung("the kernel is busy after its load")

    def arm(self, frames: int) -> None:
        for place, buffer in zip(self._pointers, (self._source, self._target)):
            self.registers[place] = buffer.physical_address & 0xFFFFFFFF
            self.registers[place + 1] = buffer.physical_address >> 32
        self.registers[self._batch] = frames

    def fire(self, frames: int) -> None:
        self.registers[0] = 1

    def poll(self) -> bool:
        return bool(int(self.registers[0]) & 2)


def make_driver(board: Board, pynq: Any, overlay: Any, item: dict[str, Any], most: int) -> Driver:
    style = item["interface"]["style"]
    if style == "axis_dma":
        return DmaDriver(board, pynq, overlay, item, most)
    if style == "m_axi":
        return MaxiDriver(board, pynq, overlay, item, most)
    raise ItemError(f"interface {style!r} is not known")
