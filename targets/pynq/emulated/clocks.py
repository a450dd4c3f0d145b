"""Clock registers of the processing systems: only what pynq.Clocks reads and writes."""

from __future__ import annotations

from .hwh import Soc

SLCR, CRL, CRF, SIZE = 0xF800_0000, 0xFF5E_0000, 0xFD1A_0000, 0x1000
ZYNQ_REF_MHZ, US_REF_MHZ = 50.0, 33.333


class Registers:
    """Registers that keep what is written."""

    def __init__(self, values: dict[int, int] | None = None) -> None:
        self.values = dict(values or {})

    def read(self, offset: int) -> int:
        return self.values.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        self.values[offset] = value


class PsClocks:
    """The clocks as the board booted with them.

    Args:
        pll_mhz: the PLL of the fabric clocks; None: as the design assumes it. A board that booted with
            another PLL gives another clock, which nobody is told.
    """

    def __init__(self, soc: Soc, pll_mhz: float | None = None) -> None:
        self.zynq = soc.arch == "zynq"
        mhz = pll_mhz or soc.pll_mhz
        if self.zynq:
            feedback = round(mhz / ZYNQ_REF_MHZ)
            # PLLs; then the processor: /2 of 1300 MHz; the fabric clocks: 50 MHz until a design is loaded
            values = {0x100: 26 << 12, 0x104: 21 << 12, 0x108: feedback << 12, 0x120: 2 << 8}
            values |= {0x170 + 0x10 * index: 10 << 8 | 2 << 20 for index in range(4)}
            self.blocks = {SLCR: Registers(values)}
        else:
            feedback = round(mhz / US_REF_MHZ)
            fabric = {0xC0 + 4 * index: 15 << 8 | 1 << 16 | 1 << 24 for index in range(4)}
            crl = {0x20: feedback << 8, 0x30: 45 << 8, **fabric}
            self.blocks = {
                CRL: Registers(crl),
                CRF: Registers({0x20: 72 << 8 | 1 << 16, 0x2C: 64 << 8, 0x38: 90 << 8, 0x60: 1 << 8}),
            }

    def mhz(self) -> float:
        """Fabric clock 0, as it really is."""
        if self.zynq:
            values = self.blocks[SLCR].values
            clock, pll = values[0x170], (values[0x108] >> 12 & 0x7F) * ZYNQ_REF_MHZ
            return pll / ((clock >> 8 & 0x3F) * (clock >> 20 & 0x3F))
        values = self.blocks[CRL].values
        clock, pll = values[0xC0], (values[0x20] >> 8 & 0x7F) * US_REF_MHZ
        return pll / ((clock >> 8 & 0x3F) * (clock >> 16 & 0x3F))
