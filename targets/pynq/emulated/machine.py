"""Time, memory and buses of the emulated board.

Time is virtual: it moves by what an access, a transfer or a kernel is modelled to cost. Memory that is
allocated has two sides, what the processor sees through its cache and what the fabric sees in DDR; only
flush and invalidate make them equal, so a forgotten one shows as old data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from pynq.buffer import PynqBuffer

#: ns: one register access from Python on an ARM core (its interpreter, not the bus, decides)
REGISTER_NS = 3_000
#: ns: reading the clock
TIMER_NS = 150
#: ns: a flush or an invalidate, and what each byte adds
CACHE_NS, CACHE_NS_PER_BYTE = 4_000, 0.5
#: ns a byte: what the processor itself does with data (encode, copy, decode)
HOST_NS_PER_BYTE = 1.0
PAGE = 4096
DDR_BASE, DDR_SIZE = 0x1000_0000, 0x1000_0000


class BusError(OSError):
    """An access to an address where nothing answers. A real board ends the process with SIGBUS."""


class Clock:
    """Virtual time, in nanoseconds."""

    def __init__(self) -> None:
        self.ns = 0

    def spend(self, ns: float) -> None:
        self.ns += round(ns)

    def now_ns(self) -> int:
        self.ns += TIMER_NS
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Model(Protocol):
    """Something with registers."""

    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class Bus:
    """Address map of the processor. Counts accesses, each of which takes time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ranges: list[tuple[int, int, Model]] = []
        self.reads = self.writes = 0

    def attach(self, base: int, size: int, model: Model) -> None:
        self._ranges.append((base, size, model))

    def detach(self, keep: Callable[[Model], bool]) -> None:
        self._ranges = [entry for entry in self._ranges if keep(entry[2])]

    def _find(self, address: int) -> tuple[Model, int]:
        for base, size, model in self._ranges:
            if base <= address < base + size:
                return model, address - base
        raise BusError(f"nothing answers at {address:#x}")

    def read(self, address: int) -> int:
        self.reads += 1
        self._clock.spend(REGISTER_NS)
        model, offset = self._find(address)
        return model.read(offset) & 0xFFFF_FFFF

    def write(self, address: int, value: int) -> None:
        self.writes += 1
        self._clock.spend(REGISTER_NS)
        model, offset = self._find(address)
        model.write(offset, value & 0xFFFF_FFFF)


class Allocation:
    """Contiguous memory: `host` is what the processor's cache holds, `ddr` what the fabric reads."""

    def __init__(self, address: int, size: int, coherent: bool) -> None:
        self.address, self.size = address, size
        self.host = bytearray(size)
        self.ddr = self.host if coherent else bytearray(size)


class Ddr:
    """The memory that the fabric can reach."""

    def __init__(self) -> None:
        self._next = DDR_BASE
        self._allocations: list[Allocation] = []

    def allocate(self, size: int, coherent: bool) -> Allocation:
        pages = -(-max(size, 1) // PAGE)
        if self._next + pages * PAGE > DDR_BASE + DDR_SIZE:
            raise MemoryError("the board's contiguous memory is used up")
        found = Allocation(self._next, size, coherent)
        self._next += (pages + 1) * PAGE  # a page between: what runs over is seen
        self._allocations.append(found)
        return found

    def clear(self) -> None:
        """Another design: earlier buffers are no longer reachable."""
        self._allocations.clear()
        self._next = DDR_BASE

    def _find(self, address: int, size: int) -> tuple[Allocation, int]:
        for entry in self._allocations:
            if entry.address <= address and address + size <= entry.address + entry.size:
                return entry, address - entry.address
        raise BusError(f"no memory of ours at {address:#x}, {size} bytes")

    def read(self, address: int, size: int) -> bytes:
        entry, start = self._find(address, size)
        return bytes(entry.ddr[start : start + size])

    def write(self, address: int, data: bytes) -> None:
        entry, start = self._find(address, len(data))
        entry.ddr[start : start + len(data)] = data


def buffer_of(
    entry: Allocation, shape: Any, dtype: Any, device: Any, coherent: bool, shift: int = 0
) -> PynqBuffer:
    """pynq's own buffer over an allocation; `shift` makes its physical address wrong."""
    return PynqBuffer(
        shape,
        dtype,
        buffer=entry.host,
        device=device,
        device_address=entry.address + shift,
        bo=entry,
        coherent=coherent,
    )


def nbytes(shape: Any, dtype: Any) -> int:
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(dtype).itemsize)
