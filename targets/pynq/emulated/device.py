"""The pynq Device of the emulated board."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pynq
from pynq.interrupt import _InterruptController
from pynqmetadata.frontends import Metadata

from . import faults as faults_module
from . import hwh, machine
from .clocks import SIZE, PsClocks
from .fabric import AxiDma, AxiTimer, Compute, MemoryKernel, StreamKernel, Timing
from .faults import Faults
from .kernels import Function, compute
from .rtl import RtlProgram

try:
    from pynq.metadata.runtime_metadata_parser import RuntimeMetadataParser
except ImportError:  # pynq 4
    from pynqmetadata.views.runtime import RuntimeMetadataParser

#: what comes in between, in virtual time, for each byte of a bitstream (the device takes some 100 MB/s)
LOAD_NS_PER_BYTE = 10.0
RAW_IRQ = 61


class Design:
    """What a bitstream holds: an item of the job with what is behind its kernel: a function on values, or
    the simulation of its RTL, which takes and gives words."""

    def __init__(
        self, item: str, interface: dict[str, Any], function: Function | RtlProgram,
        cycles: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.item, self.interface, self.function = item, interface, function
        inputs, outputs = int(interface["inputs"]), int(interface["outputs"])
        cycles = cycles or {"latency": inputs + outputs + 20, "interval": max(inputs, outputs)}
        self.timing = Timing(int(cycles["latency"]), int(cycles["interval"]), inputs, outputs)

    def run(self) -> Compute:
        """The kernel on bytes."""
        if isinstance(self.function, RtlProgram):
            return self.function.packet
        function = compute(self.function, self.interface)
        return lambda data: (function(data), None)

    def sizes(self) -> tuple[int, int]:
        """Bytes of a frame, in and out."""
        got = self.interface
        return (
            int(got["inputs"]) * np.dtype(got["input_dtype"]).itemsize,
            int(got["outputs"]) * np.dtype(got["output_dtype"]).itemsize,
        )


class EmulatedDevice(pynq.Device):  # type: ignore[misc]
    """A board. `designs`: what each bitstream (by its sha256) configures.

    It has no `_probe_`, so pynq never finds it by itself: `activate` below has to be called.
    """

    def __init__(
        self, designs: dict[str, Design], soc: hwh.Soc = hwh.ZYNQ, faults: Faults | None = None
    ) -> None:
        super().__init__("emulated")
        self.name = "emulated"
        self.capabilities = {"REGISTER_RW": True}
        self.arch = "armv7l" if soc.arch == "zynq" else "aarch64"
        self.timestamp: str | None = None
        self.bitfile_name: str | None = None
        self.designs, self.faults = designs, faults or Faults()
        self.clock, self.ddr = machine.Clock(), machine.Ddr()
        self.bus = machine.Bus(self.clock)
        pll = self.faults.number("clock")
        self.ps = PsClocks(soc, pll)
        for base, block in self.ps.blocks.items():
            self.bus.attach(base, SIZE, block)
        self._always = set(map(id, self.ps.blocks.values()))
        self._transfers = 0
        self.loads = 0

    # registers and memory

    def read_registers(self, address: int, length: int) -> bytes:
        return b"".join(self.bus.read(address + at).to_bytes(4, "little") for at in range(0, length, 4))

    def write_registers(self, address: int, data: Any) -> None:
        raw = bytes(data)
        for at in range(0, len(raw), 4):
            self.bus.write(address + at, int.from_bytes(raw[at : at + 4], "little"))

    def allocate(self, shape: Any, dtype: Any, cacheable: bool = True, **_: Any) -> Any:
        coherent = not cacheable
        entry = self.ddr.allocate(machine.nbytes(shape, dtype), coherent)
        shift = 0x2000_0000 if self.faults.active("wrong_address") else 0
        return machine.buffer_of(entry, shape, dtype, self, coherent, shift)

    def flush(self, entry: Any, offset: int, _pointer: int, size: int) -> None:
        self.clock.spend(machine.CACHE_NS + machine.CACHE_NS_PER_BYTE * size)
        if not self.faults.active("missing_flush"):
            entry.ddr[offset : offset + size] = entry.host[offset : offset + size]

    def invalidate(self, entry: Any, offset: int, _pointer: int, size: int) -> None:
        self.clock.spend(machine.CACHE_NS + machine.CACHE_NS_PER_BYTE * size)
        if not self.faults.active("missing_invalidate"):
            entry.host[offset : offset + size] = entry.ddr[offset : offset + size]

    # overlays

    def get_bitfile_metadata(self, name: str, partial: bool = False) -> Any:
        path = Path(name).with_suffix(".hwh")
        if not path.is_file():
            return None
        parser = RuntimeMetadataParser(Metadata(input=path))
        for index, clock in parser.clock_dict.items():
            # pynq 4 asks for a frequency, which its parser does not know of Zynq-7000
            if "frequency" in clock and clock["frequency"] is None:
                clock["frequency"] = self._asked_mhz(parser, index)
        parser.refresh_hierarchy_dict()
        return parser

    @staticmethod
    def _asked_mhz(parser: Any, index: int) -> float:
        found = parser.ip_dict[parser.ps_name]["parameters"].get(f"PCW_FPGA{index}_PERIPHERAL_FREQMHZ")
        return float(found or 50.0)

    def download(self, bitstream: Any, parser: Any = None) -> None:
        data = Path(bitstream.bitfile_name).read_bytes()
        if parser is None:
            parser = self.get_bitfile_metadata(bitstream.bitfile_name)
        self.clock.spend(LOAD_NS_PER_BYTE * len(data))
        self.bus.detach(lambda model: id(model) in self._always)
        self.ddr.clear()
        self.loads += 1
        design = self.designs.get(hashlib.sha256(data).hexdigest())
        self.faults.item = design.item if design else None
        if design is not None:
            self._configure(design, parser)
        self.post_download(bitstream, parser, self.name)

    def _really(self, design: Design) -> Compute:
        """The kernel that gets into the fabric."""
        run = design.run()
        if not self.faults.active("other_overlay"):
            return run
        dtype, outputs = np.dtype(design.interface["output_dtype"]), int(design.interface["outputs"])

        def other(data: bytes) -> tuple[bytes, int | None] | None:
            answer = run(data)
            if answer is None:
                return None
            return np.frombuffer(answer[0], dtype).reshape(-1, outputs)[:, ::-1].tobytes(), answer[1]

        return other

    def _configure(self, design: Design, parser: Any) -> None:
        run = self._counted(self._really(design))
        size_in, size_out = design.sizes()
        pins: dict[str, Any] = {}
        for name, block in parser.ip_dict.items():
            base, kind = block.get("phys_addr"), block["type"]
            if ":axi_dma:" in kind:
                kernel = StreamKernel(run, size_in, design.timing, self.faults)
                width = int(block["parameters"].get("c_sg_length_width", 14))
                model: Any = AxiDma(self.clock, self.ddr, kernel, width, self.ps.mhz, self.faults)
            elif ":axi_timer:" in kind:
                model = AxiTimer(self.clock, self.ps.mhz)
            elif ":hls:" in kind:
                sizes = (size_in, size_out)
                model = MemoryKernel(
                    self.clock, self.ddr, run, sizes, design.timing, self.ps.mhz, self.faults
                )
                _InterruptController._uio_devices[RAW_IRQ] = Line(model)
                pin = f"{name}/interrupt"
                pins[pin] = {"controller": "", "index": 0, "raw_irq": RAW_IRQ, "fullpath": pin}
            else:
                continue
            self.bus.attach(base, block["addr_range"], model)
        parser.interrupt_pins.update(pins)

    def _counted(self, run: Compute) -> Compute:
        def counted(data: bytes) -> tuple[bytes, int | None] | None:
            self._transfers += 1
            last = self.faults.number("drop")
            if last is not None and self._transfers >= last:
                faults_module.go_down()
            slow = self.faults.number("slow")
            if slow is not None:
                time.sleep(slow)
            return run(data)

        return counted

    def close(self) -> None:
        """pynq 3.1 asks for it."""


class Line:
    """An interrupt line as pynq's event loop sees it: the event is set when the kernel ends."""

    def __init__(self, kernel: MemoryKernel) -> None:
        self._kernel = kernel
        self._events: list[Any] = []
        kernel.on_interrupt = self._raise

    def add_event(self, event: Any, _number: int) -> None:
        self._events.append(event)
        self._kernel.wait()

    def _raise(self) -> None:
        events, self._events = self._events, []
        for event in events:
            event.set()


def activate(device: EmulatedDevice) -> None:
    """Make it the board that pynq talks to."""
    pynq.Device.active_device = device
    if hasattr(pynq.Clocks, "_real_instance"):
        del pynq.Clocks._real_instance
    pynq.Clocks.device = device
