"""What is in the fabric: AXI DMA in simple mode, a kernel on a stream, one on the memory bus, a timer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .faults import Faults
from .machine import BusError, Clock, Ddr

HALTED, IDLE = 0x1, 0x2
INTERNAL, SLAVE, DECODE, INTERRUPT = 0x10, 0x20, 0x40, 0x1000
#: cycles of the engine itself before the first and after the last beat
DMA_CYCLES = 40
#: bytes of whole frames in; bytes out and the cycles that were observed, None: by `Timing`. None in place of
#: both: nothing ever comes
Compute = Callable[[bytes], "tuple[bytes, int | None] | None"]


@dataclass(frozen=True)
class Timing:
    """Cycles of a kernel.

    Attributes:
        beats_in, beats_out: transfers on the stream for one frame.
    """

    latency: int
    interval: int
    beats_in: int
    beats_out: int

    def cycles(self, frames: int) -> int:
        each = max(self.interval, self.beats_in, self.beats_out)
        return DMA_CYCLES + max(self.latency, self.beats_in) + each * max(0, frames - 1)


class StreamKernel:
    """A free-running kernel between the two channels of a DMA: runs once for each whole frame."""

    def __init__(self, compute: Compute, frame_bytes: int, timing: Timing, faults: Faults) -> None:
        self._compute, self._frame, self._timing, self._faults = compute, frame_bytes, timing, faults
        self._rest = b""

    def push(self, data: bytes) -> tuple[bytes, int] | None:
        """A packet in; the packet out and its cycles, or None while a frame is incomplete."""
        data = self._rest + data
        frames, left = divmod(len(data), self._frame)
        self._rest = data[len(data) - left :] if left else b""
        if left or not frames or self._faults.active("stuck_stream"):
            return None
        answer = self._compute(data)
        if answer is None:
            return None
        found, seen = answer
        if self._faults.active("short_receive"):
            found = found[:-4]
        cycles = self._timing.cycles(frames) if seen is None else DMA_CYCLES + seen
        return found, 1 if self._faults.active("fast") else cycles

    def reset(self) -> None:
        self._rest = b""


class _Channel:
    """Registers of one direction."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.control, self.status = 0, HALTED
        self.address = self.length = 0
        #: virtual time at which the running transfer ends, with the bytes it moved; None: nothing known yet
        self.done_at: int | None = None
        self.moved = 0
        self.active = False

    def fail(self, bits: int) -> None:
        self.status |= bits | HALTED | INTERRUPT
        self.control &= ~1
        self.active, self.done_at = False, None


class AxiDma:
    """AXI DMA 7.1 without scatter-gather: MM2S at 0x00, S2MM at 0x30.

    A length beyond the width of its register loses its upper bits, as in the real one.
    """

    def __init__(
        self, clock: Clock, ddr: Ddr, kernel: StreamKernel, length_width: int, mhz: Callable[[], float],
        faults: Faults,
    ) -> None:  # fmt: skip
        self._clock, self._ddr, self._kernel, self._mhz, self._faults = clock, ddr, kernel, mhz, faults
        self._mask = (1 << length_width) - 1
        self._send, self._receive = _Channel(), _Channel()
        self._packets: list[tuple[bytes, int]] = []

    def read(self, offset: int) -> int:
        channel, register = self._channel(offset)
        self._settle(channel)
        if register == 0x00:
            return channel.control
        if register == 0x04:
            return channel.status
        if register == 0x28:
            return channel.length
        return {0x18: channel.address & 0xFFFF_FFFF, 0x1C: channel.address >> 32}.get(register, 0)

    def write(self, offset: int, value: int) -> None:
        channel, register = self._channel(offset)
        self._settle(channel)
        if register == 0x00:
            if value & 4:  # a reset is of both
                self._send.reset()
                self._receive.reset()
                self._packets.clear()
                self._kernel.reset()
                return
            channel.control = value & 0x7001
            if value & 1 and not channel.status & (INTERNAL | SLAVE | DECODE):
                channel.status &= ~HALTED
            elif not value & 1:
                channel.status |= HALTED
        elif register == 0x04:
            channel.status &= ~(value & 0x7000)
        elif register == 0x18:
            channel.address = (channel.address & ~0xFFFF_FFFF) | value
        elif register == 0x1C:
            channel.address = (channel.address & 0xFFFF_FFFF) | value << 32
        elif register == 0x28 and not channel.status & HALTED and value & self._mask:
            self._start(channel, value & self._mask)

    def _channel(self, offset: int) -> tuple[_Channel, int]:
        return (self._receive, offset - 0x30) if offset >= 0x30 else (self._send, offset)

    def _start(self, channel: _Channel, length: int) -> None:
        channel.status &= ~IDLE
        channel.length, channel.active, channel.done_at = length, True, None
        error = self._faults.value("dma_error") if channel is self._send else None
        if error is not None:
            channel.fail({"internal": INTERNAL, "slave": SLAVE}.get(error, DECODE))
            return
        try:
            if channel is self._send:
                data = self._ddr.read(channel.address, length)
            else:
                self._ddr.read(channel.address, length)
        except BusError:
            channel.fail(DECODE)
            return
        if channel is self._send:
            channel.moved = length
            channel.done_at = self._clock.ns + self._ns(length // 4 + DMA_CYCLES)
            found = self._kernel.push(data)
            if found is not None:
                packet, cycles = found
                self._packets.append((packet, self._clock.ns + self._ns(cycles)))
        self._receive_now()

    def _receive_now(self) -> None:
        """Joins a waiting packet and an armed receive channel."""
        channel = self._receive
        if not (channel.active and channel.done_at is None and self._packets):
            return
        packet, ready = self._packets.pop(0)
        if len(packet) > channel.length:
            channel.fail(INTERNAL)
            return
        self._ddr.write(channel.address, packet)
        channel.moved = len(packet)
        channel.done_at = max(ready, self._clock.ns)

    def _settle(self, channel: _Channel) -> None:
        if channel.active and channel.done_at is not None and self._clock.ns >= channel.done_at:
            channel.active, channel.done_at = False, None
            channel.length = channel.moved
            channel.status |= IDLE | INTERRUPT

    def _ns(self, cycles: int) -> int:
        return round(cycles * 1000.0 / self._mhz())


class MemoryKernel:
    """An HLS kernel with control registers that reads and writes DDR itself (m_axi), with an interrupt."""

    def __init__(
        self, clock: Clock, ddr: Ddr, compute: Compute, frame: tuple[int, int], timing: Timing,
        mhz: Callable[[], float], faults: Faults,
    ) -> None:  # fmt: skip
        self._clock, self._ddr, self._compute, self._mhz, self._faults = clock, ddr, compute, mhz, faults
        self._frame, self._timing = frame, timing
        self._registers: dict[int, int] = {}
        self._done_at: int | None = None
        self._running = self._done = False
        #: called when ap_done raises the interrupt line
        self.on_interrupt: Callable[[], None] | None = None

    def read(self, offset: int) -> int:
        self._settle()
        if offset == 0x00:
            value = int(self._running) | int(self._done) << 1 | int(not self._running) << 2
            value |= int(self._done) << 3
            self._done = False  # cleared by reading
            return value
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self._settle()
        if offset == 0x0C:  # toggles
            self._registers[offset] = self._registers.get(offset, 0) ^ value
        elif offset != 0x00:
            self._registers[offset] = value
        elif value & 1 and not self._running:
            self._start()

    def wait(self) -> None:
        """Lets time pass until the kernel ends (for who sleeps until the interrupt)."""
        if self._done_at is not None:
            self._clock.ns = max(self._clock.ns, self._done_at)
        self._settle()

    def _start(self) -> None:
        self._running, self._done = True, False
        get = self._registers.get
        frames = get(0x10, 0)
        source, target = get(0x18, 0) | get(0x1C, 0) << 32, get(0x24, 0) | get(0x28, 0) << 32
        if self._faults.active("stuck_stream") or not frames:
            return
        try:
            answer = self._compute(self._ddr.read(source, frames * self._frame[0]))
            if answer is None:
                return
            found, seen = answer
            if self._faults.active("short_receive"):
                found = found[: len(found) // 2]
            self._ddr.write(target, found)
        except BusError:
            return  # the bus never answers, the kernel never ends
        cycles = self._timing.cycles(frames) if seen is None else seen
        cycles = 1 if self._faults.active("fast") else cycles
        self._done_at = self._clock.ns + round(cycles * 1000.0 / self._mhz())

    def _settle(self) -> None:
        if self._done_at is None or self._clock.ns < self._done_at:
            return
        self._done_at, self._running, self._done = None, False, True
        if self._registers.get(0x04, 0) & 1 and self._registers.get(0x08, 0) & 1:
            self._registers[0x0C] = self._registers.get(0x0C, 0) | 1
            if self.on_interrupt is not None:
                self.on_interrupt()


class AxiTimer:
    """AXI timer 2.0: counter 0 counts fabric clock cycles up while enabled."""

    def __init__(self, clock: Clock, mhz: Callable[[], float]) -> None:
        self._clock, self._mhz = clock, mhz
        self._control = self._load = self._base = 0
        self._since = 0

    def _count(self) -> int:
        if not self._control & 0x80:
            return self._base
        return self._base + round((self._clock.ns - self._since) * self._mhz() / 1000.0)

    def read(self, offset: int) -> int:
        return {0x0: self._control, 0x4: self._load, 0x8: self._count()}.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == 0x4:
            self._load = value
        elif offset == 0x0:
            self._base, self._since = self._count(), self._clock.ns
            if value & 0x20:
                self._base = self._load
            self._control = value
