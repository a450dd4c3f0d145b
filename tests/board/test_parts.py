"""Parts of the agent and of the emulated board by themselves."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pynq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.pynq.agent import drivers as board_drivers
from targets.pynq.agent import job, power
from targets.pynq.agent.codec import Codec
from targets.pynq.agent.lock import Lock
from targets.pynq.agent_file import agent_path
from targets.pynq.emulated import device as module
from targets.pynq.emulated import hwh
from targets.pynq.emulated.kernels import KernelError, Program
from tests.board.jobs import PYNQ, ROOT, Maker, hwmon, run

# ---------------------------------------------------------------- numbers on the wire

ROUNDINGS: dict[str, Callable[[Fraction], int]] = {
    "TRN": lambda v: v.numerator // v.denominator,
    "TRN_ZERO": int,
    "RND": lambda v: (v + Fraction(1, 2)).__floor__(),
    "RND_CONV": round,
    "RND_ZERO": lambda v: (v - Fraction(1, 2)).__ceil__() if v > 0 else (v + Fraction(1, 2)).__floor__(),
    "RND_INF": lambda v: (v + Fraction(1, 2)).__floor__() if v > 0 else (v - Fraction(1, 2)).__ceil__(),
    "RND_MIN_INF": lambda v: (v - Fraction(1, 2)).__ceil__(),
}


def raw_of(value: float, bits: int, integer: int, signed: bool, rounding: str, overflow: str) -> int:
    """The integer behind a fixed-point number, in exact arithmetic."""
    whole = ROUNDINGS[rounding](Fraction(value) * Fraction(2) ** (bits - integer))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if low <= whole <= high and not (overflow == "SAT_SYM" and signed and whole == low):
        return whole
    if overflow == "WRAP":
        whole &= (1 << bits) - 1
        return whole - (1 << bits) if signed and whole > high else whole
    if overflow == "SAT_ZERO":
        return 0
    return (-high if overflow == "SAT_SYM" and signed else low) if whole < 0 else high


@given(
    st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=20),
    st.integers(2, 16), st.integers(-2, 8), st.booleans(),
    st.sampled_from(list(ROUNDINGS)), st.sampled_from(["WRAP", "SAT", "SAT_ZERO", "SAT_SYM"]),
)  # fmt: skip
def test_encode_is_exact(
    values: list[float], bits: int, integer: int, signed: bool, rounding: str, overflow: str
) -> None:
    kind = "fixed" if signed else "ufixed"
    codec = Codec("int16", f"{kind}<{bits},{integer},{rounding},{overflow}>")
    raw = codec.encode(np.array(values, np.float32))
    wanted = [raw_of(value, bits, integer, signed, rounding, overflow) for value in values]
    np.testing.assert_array_equal(raw.astype(np.int64) & 0xFFFF, np.array(wanted) & 0xFFFF)
    back = codec.decode(raw)
    np.testing.assert_array_equal(back, np.array(wanted) / 2.0 ** (bits - integer))


@pytest.mark.parametrize("dtype, fixed", [
    ("int8", "fixed<9,4>"), ("int8", None), ("float32", "fixed<8,4>"), ("int8", "fixed<8>"),
    ("int8", "fixed<8,4,UP>"), ("int8", "fixed<8,4,TRN,CLIP>"), ("complex64", None), ("object", None),
])  # fmt: skip
def test_types_that_do_not_go(dtype: str, fixed: str | None) -> None:
    with pytest.raises(job.ItemError):
        Codec(dtype, fixed)


# ---------------------------------------------------------------- the emulated board and pynq


@pytest.fixture(params=["zynq", "ultrascale"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """An emulated board with an overlay on it: y = 2 x of four values."""
    soc = hwh.ZYNQ if request.param == "zynq" else hwh.ULTRASCALE

    def made(**how: Any) -> tuple[Any, Any]:
        bit, _ = hwh.write_overlay(tmp_path / "made", soc=soc, **how)
        interface = {"inputs": 4, "outputs": 4, "input_dtype": "float32", "output_dtype": "float32"}
        design = module.Design("x", interface, lambda x: x.astype(np.float64) * 2)
        board = module.EmulatedDevice({hashlib.sha256(bit.read_bytes()).hexdigest(): design}, soc)
        module.activate(board)
        return board, pynq.Overlay(str(bit))

    yield made


def test_stock_driver(make: Callable[..., tuple[Any, Any]]) -> None:
    import pynq.lib.dma  # registers the driver

    board, overlay = make(dma="hier_0/axi_dma_0", clock_mhz=125.0)
    dma = overlay.hier_0.axi_dma_0
    assert isinstance(dma, pynq.lib.dma.DMA)
    assert pytest.approx(125, rel=0.001) == pynq.Clocks.fclk0_mhz == pytest.approx(board.ps.mhz(), rel=1e-6)
    source, target = (pynq.allocate((3, 4), np.float32) for _ in range(2))
    source[:] = np.arange(12).reshape(3, 4)
    before, since = board.bus.reads + board.bus.writes, board.clock.ns
    dma.sendchannel.transfer(source)
    dma.recvchannel.transfer(target)
    dma.sendchannel.wait()
    dma.recvchannel.wait()
    np.testing.assert_array_equal(target, source * 2)
    assert board.bus.reads + board.bus.writes - before >= 20 and board.clock.ns > since


def test_caches(make: Callable[..., tuple[Any, Any]]) -> None:
    board, _ = make()
    buffer = pynq.allocate((4,), np.uint32)
    buffer[:] = 7
    assert set(board.ddr.read(buffer.physical_address, 16)) == {0}
    buffer[2:].flush()
    assert list(np.frombuffer(board.ddr.read(buffer.physical_address, 16), np.uint32)) == [0, 0, 7, 7]
    board.ddr.write(buffer.physical_address, b"\1\0\0\0")
    assert buffer[0] == 7
    buffer.invalidate()
    assert buffer[0] == 1
    shared = pynq.allocate((4,), np.uint32, cacheable=False)
    shared[:] = 3
    assert np.frombuffer(board.ddr.read(shared.physical_address, 16), np.uint32)[3] == 3


def test_interrupt(make: Callable[..., tuple[Any, Any]]) -> None:
    """A kernel on the memory bus, driven as hls4ml's VitisUnified driver does it."""
    _, overlay = make(style="m_axi", kernel="kernel_0")
    kernel, line = overlay.kernel_0, pynq.Interrupt("kernel_0/interrupt")
    source, target = (pynq.allocate((2, 4), np.float32) for _ in range(2))
    source[:] = np.arange(8).reshape(2, 4)
    source.flush()
    registers = overlay.ip_dict["kernel_0"]["registers"]
    for name, buffer in (("input_1", source), ("output_1", target)):
        kernel.write(registers[name + "_1"]["address_offset"], buffer.physical_address & 0xFFFFFFFF)
        kernel.write(registers[name + "_2"]["address_offset"], buffer.physical_address >> 32)
    kernel.write(registers["batch_size"]["address_offset"], 2)
    kernel.write(0x04, 1)
    kernel.write(0x08, 1)

    async def go() -> None:
        kernel.write(0x00, 1)
        await asyncio.wait_for(line.wait(), 5)

    asyncio.run(go())
    target.invalidate()
    np.testing.assert_array_equal(target, source * 2)
    assert kernel.read(0x0C) == 1
    assert kernel.register_map.CTRL.AP_DONE == 1 and kernel.register_map.CTRL.AP_IDLE == 1


def test_timer(make: Callable[..., tuple[Any, Any]]) -> None:
    board, overlay = make()
    timer = overlay.axi_timer_0
    timer.write(0x0, 0x20)
    timer.write(0x0, 0x80)
    board.clock.sleep(1e-3)
    assert timer.read(0x8) == pytest.approx(1e-3 * board.ps.mhz() * 1e6, rel=0.02)


def test_nothing_answers(make: Callable[..., tuple[Any, Any]]) -> None:
    make()
    with pytest.raises(OSError, match="nothing answers at 0x50000000"):
        pynq.MMIO(0x5000_0000, 16).read(0)


def test_never_found_by_itself() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import emulated.device, pynq; "
    code += "print(pynq.Device.devices)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(PYNQ)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_real_handoff() -> None:
    """pynq reads a real .hwh with the very register names that the agent looks for."""
    path = ROOT.parent / "shared" / "data" / "vivado" / "pynq-z2-2019.2" / "design_1.hwh"
    if not path.is_file():
        pytest.skip("no real .hwh here")
    parser = module.RuntimeMetadataParser(module.Metadata(input=path))
    parameters = parser.ip_dict["hier_0/axi_dma_0"]["parameters"]
    assert parameters["c_sg_length_width"] == "26" and parameters["c_include_sg"] == "0"
    assert parser.clock_dict[0]["divisor0"] == 5


# ---------------------------------------------------------------- hls4ml's own driver

#: hls4ml copies it into every project that it writes
DRIVER = "hls4ml/templates/vivado_accelerator/pynq-z2/python_drivers/axi_stream_driver.py"
FLOAT_DMA = {
    "style": "axis_dma", "dma": "hier_0/axi_dma_0", "inputs": 4, "outputs": 4, "input_dtype": "float32",
    "input_type": None, "output_dtype": "float32", "output_type": None,
}  # fmt: skip


@pytest.fixture
def drivers(make: Callable[..., tuple[Any, Any]], tmp_path: Path) -> tuple[Any, Any]:
    """hls4ml's driver of five frames, and ours, of one overlay."""
    found = sorted((ROOT / ".venv").glob(f"lib/python3*/site-packages/{DRIVER}"))
    if not found:
        pytest.skip("hls4ml is not installed in .venv")
    _, overlay = make(dma="hier_0/axi_dma_0", kernel="hier_0/kernel_0")
    spec = importlib.util.spec_from_file_location("axi_stream_driver", found[0])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = module.NeuralNetworkOverlay(str(tmp_path / "made" / "overlay.bit"), (5, 4), (5, 4))
    return theirs, board_drivers.make_driver(
        board_drivers.Board(), pynq, overlay, {"interface": FLOAT_DMA}, 8
    )


def frames(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, 4)).astype(np.float32)


def test_hls4ml_driver_gives_the_same(drivers: tuple[Any, Any]) -> None:
    theirs, ours = drivers
    x = frames(0)
    wanted = np.array(theirs.predict(x))
    np.testing.assert_array_equal(ours.run(x, 1.0), wanted)
    np.testing.assert_array_equal(ours.run(x[:2], 1.0), wanted[:2])


def test_hls4ml_driver_is_good_for_one_call_only(drivers: tuple[Any, Any]) -> None:
    """Its `decode` puts a computed array in place of the buffer, to which pynq gives an address that it
    made up: the next transfer goes there. On a real board somebody else's memory is overwritten."""
    theirs, ours = drivers
    x, decode = frames(0), lambda y: y * 1.0
    buffer = theirs.output_buffer
    np.testing.assert_array_equal(np.array(theirs.predict(x, decode=decode)), 2 * x)
    assert theirs.output_buffer is not buffer
    assert theirs.output_buffer.physical_address != buffer.physical_address
    with pytest.raises((RuntimeError, OSError)):
        theirs.predict(x, decode=decode)
    for seed in range(3):
        np.testing.assert_array_equal(ours.run(frames(seed), 1.0), 2 * frames(seed))


def test_hls4ml_driver_gives_its_own_buffer_out(drivers: tuple[Any, Any]) -> None:
    """The first result is another one after the second call; ours are copies."""
    theirs, ours = drivers
    first = theirs.predict(frames(0))
    theirs.predict(frames(1))
    np.testing.assert_array_equal(first, 2 * frames(1))
    kept = ours.run(frames(0), 1.0)
    ours.run(frames(1), 1.0)
    np.testing.assert_array_equal(kept, 2 * frames(0))


# ---------------------------------------------------------------- the program behind a kernel

C_PROGRAM = r"""
#include <stdio.h>
int main(void) {
    float x[2]; double y;
    while (fread(x, sizeof(float), 2, stdin) == 2) { y = x[0] + x[1]; fwrite(&y, sizeof y, 1, stdout); }
    return fflush(stdout) ? 3 : 0;
}
"""


@pytest.mark.parametrize("buffered", [False, True])
def test_program_stays_open(buffered: bool, tmp_path: Path) -> None:
    """A program that writes when its buffer is full, as the C simulation does."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    (tmp_path / "x.c").write_text(C_PROGRAM)
    subprocess.run([compiler, "-o", str(tmp_path / "simulator"), str(tmp_path / "x.c")], check=True)
    program = Program(tmp_path, 2, 1)
    if buffered:
        program._stdbuf = None
    x = np.random.default_rng(0).normal(size=(20_000, 2)).astype(np.float32)
    for rows in (x[:1], x[:3], x):
        wanted = rows.astype(np.float64).sum(axis=1, keepdims=True).astype(np.float32)
        np.testing.assert_allclose(program(rows), wanted, rtol=1e-5)
    program.close()


def test_program_that_fails(tmp_path: Path) -> None:
    (tmp_path / "simulator").write_text("#!/bin/sh\nexit 4\n")
    (tmp_path / "simulator").chmod(0o755)
    with pytest.raises(KernelError, match="ended with code 4"):
        Program(tmp_path, 2, 1)(np.zeros((1, 2), np.float32))


# ---------------------------------------------------------------- power


def test_rails(tmp_path: Path) -> None:
    root = hwmon(tmp_path / "hwmon", {
        "ina226": {"power1_input": "2500000", "in1_input": "12000", "curr1_input": "208"},
        "irps5401": {
            "in2_input": "900", "in2_label": "vout1", "curr1_input": "500", "curr1_label": "iout1",
            "in3_input": "1800", "curr7_input": "5",
        },
        "cpu_thermal": {"temp1_input": "40000"},
    })  # fmt: skip
    rails = power.find_rails(root)
    assert {name: read() for name, read in rails.items()} == {
        "ina226/power1": pytest.approx(2.5), "irps5401/out1": pytest.approx(0.45)
    }  # fmt: skip
    assert power.total_rails(["a/12v", "a/int"]) == ["a/12v"] and power.total_rails(["a", "b"]) == ["a", "b"]
    assert power.find_rails(tmp_path / "nowhere") == {}


def test_energy_of_an_item(tmp_path: Path) -> None:
    root = hwmon(tmp_path / "hwmon", {"ina260_u14": {"power1_input": "3000000"}})
    maker = Maker(tmp_path)
    maker.overlay()
    done = run(maker.write(), tmp_path, "--hwmon", str(root))
    energy = done.item()["energy"]
    assert done.result["board"]["sensors"] == ["ina260_u14/power1"] == energy["total_of"]
    assert energy["total_j"] == pytest.approx(3 * energy["seconds"], rel=0.01) and energy["rate_hz"] > 5
    assert energy["net_j"] == pytest.approx(0, abs=0.01) and energy["inferences"] > 10
    assert energy["total_j_per_inference"] == pytest.approx(energy["total_j"] / energy["inferences"])
    assert energy["idle"]["watt"] == pytest.approx(3) and energy["idle"]["seconds"] >= 0.2


def test_sensors_of_this_machine_are_not_the_emulated_boards(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()
    done = run(maker.write(), tmp_path)
    assert done.item()["energy"] is None and done.result["board"]["sensors"] == []


# ---------------------------------------------------------------- windows, check


def test_windows(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.protocol["preset"] = "mlperf"
    maker.overlay()
    windows = run(maker.write(), tmp_path).item()["windows"]
    assert len(windows) == 2
    for window in windows:
        assert window["seconds"] >= 1e-3 and window["inferences"] / window["seconds"] == window["per_second"]


def test_check(tmp_path: Path) -> None:
    root = hwmon(tmp_path / "hwmon", {"ina260": {"power1_input": "1"}})
    lock = tmp_path / "lock"
    line = [sys.executable, str(agent_path()), "--check", "--hwmon", str(root), "--lock", str(lock)]
    holder = Lock(lock)
    holder.take("abc")
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    holder.release()
    assert found["sensors"] == ["ina260/power1"] and found["lock"]["job"] == "abc" and found["free_bytes"] > 0
    assert found["pynq"].startswith(("3.", "4.")) and found["numpy"] == np.__version__
    assert found["clock_mhz"] is None and any("no device" in problem for problem in found["problems"])
