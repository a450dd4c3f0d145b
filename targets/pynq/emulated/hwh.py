"""Writes the two files of an overlay for the emulated board: hardware handoff (.hwh) and bitstream (.bit).

The .hwh is the smallest that pynqmetadata reads: the processing system with its clocks and address map, and
the blocks that the agent talks to. The .bit has a true header; its data are a digest, so that two overlays
never have equal bitstreams. Nothing but the standard library is needed here.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

MAGIC = b"\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00"
SYNC = b"\xff" * 32 + b"\xaa\x99\x55\x66"
VERSION, WRITTEN = "2020.1", ("2024/01/31", "12:30:05", "Wed Jan 31 12:30:00 2024")
DMA_BASE, KERNEL_BASE, TIMER_BASE, WINDOW = 0x4040_0000, 0x43C0_0000, 0x4280_0000, 0x1_0000
DMA_VLNV, TIMER_VLNV = "xilinx.com:ip:axi_dma:7.1", "xilinx.com:ip:axi_timer:2.0"
#: offset of each register of an m_axi kernel, as Vitis HLS lays them out
KERNEL_REGISTERS = {
    "CTRL": 0x00,
    "GIER": 0x04,
    "IP_IER": 0x08,
    "IP_ISR": 0x0C,
    "batch_size": 0x10,
    "input_1_1": 0x18,
    "input_1_2": 0x1C,
    "output_1_1": 0x24,
    "output_1_2": 0x28,
}


@dataclass(frozen=True)
class Soc:
    """A processing system.

    Attributes:
        pll_mhz: the PLL that the fabric clocks are divided from, as the tool assumes it.
        device, package, speed: as a .hwh spells them.
    """

    arch: str
    module: str
    port: str
    pll_mhz: float
    device: str
    package: str
    speed: str

    @property
    def bit_part(self) -> str:
        """The part as the header of a bitstream spells it."""
        if self.arch == "zynq":
            return self.device + self.package
        return f"xc{self.device}-{self.package}{self.speed}"

    def divisors(self, mhz: float) -> tuple[int, int]:
        """The two dividers that come closest to a clock."""
        pairs = [(a, b) for a in range(1, 64) for b in range(1, a + 1)]
        return min(pairs, key=lambda pair: (abs(self.pll_mhz / (pair[0] * pair[1]) - mhz), pair[0]))


ZYNQ = Soc("zynq", "processing_system7", "M_AXI_GP0", 1000.0, "7z020", "clg400", "-1")
ULTRASCALE = Soc("zynquplus", "zynq_ultra_ps_e", "M_AXI_HPM0_FPD", 1500.0, "zu9eg", "ffvb1156", "-2-e")


def soc_of(part: str) -> Soc:
    """The processing system of a part: `xc7z020clg400-1`, `xczu3eg-sbva484-1-i`, Kria's `xck26-sfvc784`."""
    return ULTRASCALE if part.lower().removeprefix("xc").startswith(("zu", "k2")) else ZYNQ


def write_overlay(
    folder: Path,
    *,
    style: str = "axis_dma",
    dma: str = "axi_dma_0",
    kernel: str = "kernel",
    clock_mhz: float = 100.0,
    soc: Soc = ZYNQ,
    length_width: int = 26,
    data_bits: int = 32,
    timer: bool = True,
    what: str = "",
) -> tuple[Path, Path]:
    """Write overlay.bit and overlay.hwh; returns their paths.

    Args:
        style: `axis_dma` or `m_axi`.
        dma, kernel: instance names, with their hierarchy.
        length_width: bits of the DMA's length registers.
        data_bits: width of the DMA's stream.
        what: what the bitstream holds (a digest of the kernel); goes into its data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks, ranges = [], []
    if style == "axis_dma":
        blocks.append(_dma(dma, length_width, data_bits))
        ranges.append(_range(soc, dma, "S_AXI_LITE", DMA_BASE))
        blocks.append(_block(kernel, "CERN:hls4ml:kernel_axi:1.0", "kernel_axi", ""))
    else:
        blocks.append(_kernel(kernel))
        ranges.append(_range(soc, kernel, "s_axi_control", KERNEL_BASE))
    if timer:
        blocks.append(_block("axi_timer_0", TIMER_VLNV, "axi_timer", _slave("S_AXI")))
        ranges.append(_range(soc, "axi_timer_0", "S_AXI", TIMER_BASE))
    text = f"""<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<EDKSYSTEM EDWVERSION="1.2" TIMESTAMP="{WRITTEN[2]}" VIVADOVERSION="{VERSION}">
  <SYSTEMINFO ARCH="{soc.arch}" DEVICE="{soc.device}" NAME="design_1" PACKAGE="{soc.package}" """
    text += f"""SPEEDGRADE="{soc.speed}"/>
  <EXTERNALPORTS/>
  <EXTERNALINTERFACES/>
  <MODULES>
{_processing_system(soc, clock_mhz, ranges)}{"".join(blocks)}  </MODULES>
</EDKSYSTEM>
"""
    hwh, bit = folder / "overlay.hwh", folder / "overlay.bit"
    hwh.write_text(text)
    seed = hashlib.sha256(f"{what}\n{text}".encode()).digest()
    bit.write_bytes(bitstream(soc.bit_part, seed * 8))
    return bit, hwh


def bitstream(part: str, data: bytes, design: str = "design_1_wrapper") -> bytes:
    """A .bit file of that part."""
    fields = (f"{design};UserID=0XFFFFFFFF;Version={VERSION}", part, *WRITTEN[:2])
    head = struct.pack(">H", len(MAGIC)) + MAGIC + b"\x00\x01"
    for key, value in zip("abcd", fields, strict=True):
        raw = value.encode() + b"\0"
        head += key.encode() + struct.pack(">H", len(raw)) + raw
    body = SYNC + data
    return head + b"e" + struct.pack(">I", len(body)) + body


def _block(path: str, vlnv: str, module: str, inner: str) -> str:
    name = path.replace("/", "_")
    return (
        f'    <MODULE FULLNAME={quoteattr("/" + path)} INSTANCE={quoteattr(name)} IPTYPE="PERIPHERAL" '
        f'IS_ENABLE="1" MODCLASS="PERIPHERAL" MODTYPE="{module}" VLNV="{vlnv}">\n{inner}    </MODULE>\n'
    )


def _parameters(values: dict[str, object]) -> str:
    rows = "".join(f'        <PARAMETER NAME="{name}" VALUE="{value}"/>\n' for name, value in values.items())
    return f"      <PARAMETERS>\n{rows}      </PARAMETERS>\n"


def _bus(name: str, kind: str) -> str:
    return (
        f'        <BUSINTERFACE NAME="{name}" TYPE="{kind}" VLNV="xilinx.com:interface:aximm:1.0">\n'
        f"          <PORTMAPS/>\n        </BUSINTERFACE>\n"
    )


def _slave(name: str) -> str:
    return f"      <PORTS/>\n      <BUSINTERFACES>\n{_bus(name, 'SLAVE')}      </BUSINTERFACES>\n"


def _range(soc: Soc, path: str, interface: str, base: int) -> str:
    return (
        f'        <MEMRANGE ADDRESSBLOCK="Reg" BASENAME="C_BASEADDR" BASEVALUE="{base:#010X}" '
        f'HIGHNAME="C_HIGHADDR" HIGHVALUE="{base + WINDOW - 1:#010X}" '
        f'INSTANCE={quoteattr(path.replace("/", "_"))} IS_DATA="TRUE" IS_INSTRUCTION="TRUE" '
        f'MASTERBUSINTERFACE="{soc.port}" MEMTYPE="REGISTER" SLAVEBUSINTERFACE="{interface}"/>\n'
    ).replace("0X", "0x")


def _processing_system(soc: Soc, mhz: float, ranges: list[str]) -> str:
    zynq = soc.arch == "zynq"
    names = {0: mhz, 1: 50.0, 2: 50.0, 3: 50.0}
    values: dict[str, object] = {}
    for index, clock in names.items():
        first, second = soc.divisors(clock)
        if zynq:
            values[f"PCW_FPGA_FCLK{index}_ENABLE"] = int(index == 0)
            values[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR0"] = first
            values[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR1"] = second
            values[f"PCW_FCLK{index}_PERIPHERAL_CLKSRC"] = "IO PLL"
            values[f"PCW_FPGA{index}_PERIPHERAL_FREQMHZ"] = f"{clock:g}"
        else:
            values[f"PSU__FPGA_PL{index}_ENABLE"] = int(index == 0)
            values[f"PSU__CRL_APB__PL{index}_REF_CTRL__DIVISOR0"] = first
            values[f"PSU__CRL_APB__PL{index}_REF_CTRL__DIVISOR1"] = second
            values[f"PSU__CRL_APB__PL{index}_REF_CTRL__SRCSEL"] = "IOPLL"
            # what is asked for, and (for pynq 4) what the tool has met
            values[f"PSU__CRL_APB__PL{index}_REF_CTRL__FREQMHZ"] = f"{clock:g}"
            values[f"PSU__CRL_APB__PL{index}_REF_CTRL__ACT_FREQMHZ"] = f"{clock:g}"
    version = "5.5" if zynq else "3.3"
    inner = _parameters(values) + "      <PORTS/>\n      <BUSINTERFACES>\n"
    inner += _bus(soc.port, "MASTER") + "      </BUSINTERFACES>\n      <MEMORYMAP>\n"
    inner += "".join(ranges) + "      </MEMORYMAP>\n"
    name = f"{soc.module}_0"
    return _block(name, f"xilinx.com:ip:{soc.module}:{version}", soc.module, inner).replace(
        'IS_ENABLE="1"', 'IS_ENABLE="1" IS_PL="FALSE"'
    )


def _dma(path: str, length_width: int, data_bits: int) -> str:
    # pynq's driver looks the parameters up by their lower-case names
    values: dict[str, object] = {"c_include_sg": 0, "c_sg_length_width": length_width, "c_micro_dma": 0}
    for way, stream in (("mm2s", "m_axis_mm2s"), ("s2mm", "s_axis_s2mm")):
        values[f"c_include_{way}"] = 1
        values[f"c_include_{way}_dre"] = 0
        values[f"c_m_axi_{way}_data_width"] = max(32, data_bits)
        values[f"c_{stream}_tdata_width"] = data_bits
        values[f"c_{way}_burst_size"] = 128
    return _block(path, DMA_VLNV, "axi_dma", _parameters(values) + _slave("S_AXI_LITE"))


def _kernel(path: str) -> str:
    rows = []
    for name, offset in KERNEL_REGISTERS.items():
        properties = {"ADDRESS_OFFSET": f"{offset:#x}", "SIZE": "32", "ACCESS": "read-write"}
        inner = "".join(f'<PROPERTY NAME="{key}" VALUE="{value}"/>' for key, value in properties.items())
        fields = ""
        if name == "CTRL":
            for bit, field in enumerate(("AP_START", "AP_DONE", "AP_IDLE", "AP_READY")):
                fields += (
                    f'<FIELD NAME="{field}"><PROPERTY NAME="BIT_OFFSET" VALUE="{bit}"/>'
                    f'<PROPERTY NAME="BIT_WIDTH" VALUE="1"/></FIELD>'
                )
        inner += '<PROPERTY NAME="IS_ENABLED" VALUE="true"/>' + (
            f"<FIELDS>{fields}</FIELDS>" if fields else ""
        )
        rows.append(f'            <REGISTER NAME="{name}">{inner}</REGISTER>\n')
    blocks = (
        '      <ADDRESSBLOCKS>\n        <ADDRESSBLOCK INTERFACE="s_axi_control" NAME="Reg" RANGE="65536" '
        'USAGE="register">\n          <REGISTERS>\n' + "".join(rows)
    ) + "          </REGISTERS>\n        </ADDRESSBLOCK>\n      </ADDRESSBLOCKS>\n"
    return _block(path, "xilinx.com:hls:kernel:1.0", "kernel", blocks + _slave("s_axi_control"))
