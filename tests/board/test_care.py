"""What the agent does before it measures, and that it waits for nothing without end."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pynq
import pytest

from targets.pynq.agent import drivers, job, timing
from targets.pynq.emulated import device, hwh
from targets.pynq.emulated.fabric import MemoryKernel
from tests.board.jobs import Maker, run


class Told:
    """A board whose time goes by with every look at it, a hundredth of a second each."""

    def __init__(self) -> None:
        self.ns = 0

    def now_ns(self) -> int:
        self.ns += 10**7
        return self.ns

    def sleep(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


class Same:
    """Registers that always say the same."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __getitem__(self, index: int) -> int:
        return self.value

    def __setitem__(self, index: int, value: int) -> None:
        pass


def driver(kind: type[drivers.Driver], registers: Any) -> Any:
    """One that has been made, without its overlay."""
    found = object.__new__(kind)
    found.board, found.registers = Told(), registers  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("value, says", [
    (4, "does not come back from its reset"), (1, "does not start"),
])  # fmt: skip
def test_a_dma_that_does_not_come_up(value: int, says: str) -> None:
    with pytest.raises(job.Hung, match=says):
        driver(drivers.DmaDriver, Same(value))._reset()


@pytest.mark.parametrize("bits, says", [(0x11, "internal"), (0x21, "slave"), (0x41, "decode"), (1, "halted")])
def test_errors_of_the_receiving_channel_are_told_at_once(bits: int, says: str) -> None:
    """The sending one is well: only this channel's status shows it."""
    receiver = drivers.DmaDriver._S2MM + drivers.DmaDriver._STATUS
    registers = dict.fromkeys(range(96 // 4), 2) | {receiver: bits | 0x1000}
    found = driver(drivers.DmaDriver, registers)
    with pytest.raises(job.ItemError, match=f"DMA, receiving: {says}"):
        found.wait(3.0)
    assert found.board.ns == 0


@pytest.mark.parametrize("kind", [drivers.DmaDriver, drivers.MaxiDriver])
def test_a_kernel_that_never_ends(kind: type[drivers.Driver]) -> None:
    found = driver(kind, Same(0))
    with pytest.raises(job.Hung, match="no answer within 3 s"):
        found.wait(3.0)
    assert 3e9 < found.board.ns < 4e9


def test_pynqs_own_driver_is_not_waited_for_without_end() -> None:
    registers = drivers.Counted(Same(0), Told(), 0.5)  # type: ignore[arg-type]
    with pytest.raises(job.Hung, match="stock driver waits without end"):
        while registers[1] == 0:
            pass
    assert 40 < registers.reads < 60


def test_a_kernel_that_is_busy_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bit, _ = hwh.write_overlay(tmp_path, style="m_axi", kernel="kernel_0")
    interface = {
        "style": "m_axi", "kernel": "kernel_0", "inputs": 4, "outputs": 4, "input_dtype": "float32",
        "output_dtype": "float32",
    }  # fmt: skip
    board = device.EmulatedDevice({job.digest_of(bit): device.Design("x", interface, lambda x: x)})
    device.activate(board)
    overlay = pynq.Overlay(str(bit))
    item = {"interface": interface}
    assert drivers.make_driver(drivers.Board(), pynq, overlay, item, 2).most == 2
    monkeypatch.setattr(MemoryKernel, "read", lambda self, offset: 1)
    with pytest.raises(job.Hung, match="busy after its load"):
        drivers.make_driver(drivers.Board(), pynq, overlay, item, 2)


def _recorded(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, calls: list[str]) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def called(*arguments: Any, **more: Any) -> Any:
        calls.append(name)
        return real(*arguments, **more)

    monkeypatch.setattr(owner, name, called)


def test_state_is_reset_before_each_overlay_and_buffers_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else pynq takes the description of an earlier overlay with the same bitstream from its cache."""
    maker = Maker(tmp_path)
    for name in ("a", "b"):
        maker.overlay(name)
    calls: list[str] = []
    for owner, name in ((pynq.PL, "reset"), (pynq, "Overlay"), (pynq, "allocate")):
        _recorded(monkeypatch, owner, name, calls)
    assert run(maker.write(), tmp_path).code == 0
    # of pynq itself, whose Overlay may reset once more; ours come first
    order = [name for name in calls if name != "allocate"]
    first = [index for index, name in enumerate(order) if name == "Overlay"]
    assert len(first) == 2 and all(order[index - 1] == "reset" for index in first) and first[0] > 0
    assert calls.count("allocate") == 4


@pytest.mark.parametrize("name", ["overlay.bit", "overlay.hwh"])
def test_files_that_are_not_those_of_the_job(name: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    item = maker.overlay("a")
    job = maker.write()
    path = job / "files" / item["files"][name]
    path.write_bytes(path.read_bytes() + b"\n")
    found = run(job, tmp_path).item("a")
    assert found["status"] == "failed" and not found["bitstream_loaded"]
    assert found["reason"] == f"{name} is not the file that the job names (its sha256 differs)"


def test_a_disk_that_is_full_for_a_moment_makes_no_failed_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the item's fault: it is measured again, and not on record as failed."""
    maker = Maker(tmp_path)
    for name in ("a", "b"):
        maker.overlay(name)
    real, calls = os.fsync, [0]

    def fsync(file: Any) -> None:
        calls[0] += 1
        if calls[0] == 15:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(file)

    job = maker.write()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        done = run(job, tmp_path)
    assert done.code == 1 and "No space left" in done.said
    assert list(done.result["items"]) == ["a"] and done.item("a")["status"] == "ok"
    assert run(job, tmp_path).code == 0


def test_the_emulated_board_is_not_found_by_pynq() -> None:
    assert not hasattr(device.EmulatedDevice, "_probe_")
    assert not any(isinstance(found, device.EmulatedDevice) for found in pynq.Device.devices)


def test_results_are_copies(tmp_path: Path) -> None:
    """What a timed call gave is not changed by the next one."""
    bit, _ = hwh.write_overlay(tmp_path)
    interface = {
        "style": "axis_dma", "dma": "axi_dma_0", "inputs": 4, "outputs": 4, "input_dtype": "float32",
        "output_dtype": "float32",
    }  # fmt: skip
    board = device.EmulatedDevice({job.digest_of(bit): device.Design("x", interface, lambda x: 2 * x)})
    device.activate(board)
    overlay = pynq.Overlay(str(bit))
    lean = timing.Lean(
        drivers.make_driver(drivers.Board(), pynq, overlay, {"interface": interface}, 1), 1, 1.0
    )
    x = np.arange(8, dtype=np.float32).reshape(2, 1, 4)
    kept, _ = lean.call(x[0])
    lean.call(x[1])
    np.testing.assert_array_equal(kept, 2 * x[0])


def without_hardware(ip: dict[str, Any], name: str = "block") -> Any:
    return SimpleNamespace(ip_dict={name: {"phys_addr": 0, "addr_range": 0x1000, **ip}})


def plain_pynq(first: int = 4) -> Any:
    """Memory and registers that are plain arrays; `first`: what register 0 says."""
    registers = np.array([first] + [0] * 30)
    return SimpleNamespace(
        allocate=lambda shape, dtype: np.zeros(shape, dtype),
        MMIO=lambda place, size: SimpleNamespace(array=registers),
    )


WIRE = {"inputs": 4, "outputs": 4, "input_dtype": "float32", "output_dtype": "float32"}


def test_a_dma_with_scatter_gather_is_refused() -> None:
    overlay = without_hardware({"parameters": {"C_INCLUDE_SG": "1", "c_sg_length_width": "26"}})
    item = {"interface": {**WIRE, "style": "axis_dma", "dma": "block"}}
    with pytest.raises(job.ItemError, match="scatter-gather"):
        drivers.make_driver(drivers.Board(), plain_pynq(), overlay, item, 2)


def test_kernels_that_are_not_known() -> None:
    registers = {"CTRL": {"address_offset": 0}, "batch_size": {"address_offset": 0x10}}
    item = {"interface": {**WIRE, "style": "m_axi", "kernel": "block"}}

    def made(*pointers: str) -> Any:
        offsets = {f"{name}_{half}": {"address_offset": 0x18 + 12 * place + 4 * (half - 1)}
                   for place, name in enumerate(pointers) for half in (1, 2)}  # fmt: skip
        overlay = without_hardware({"registers": {**registers, **offsets}})
        return drivers.make_driver(drivers.Board(), plain_pynq(), overlay, item, 2)

    for pointers in ((), ("a",), ("a", "b", "c")):
        with pytest.raises(job.ItemError, match="one input, one output and batch_size are known"):
            made(*pointers)
    # in the order of their registers, unless their names say otherwise
    assert made("x", "y")._pointers == [6, 9] and made("layer5_out", "x")._pointers == [9, 6]
    with pytest.raises(job.ItemError, match="interface 'pcie' is not known"):
        drivers.make_driver(drivers.Board(), plain_pynq(), None, {"interface": {"style": "pcie"}}, 2)


def test_buffers_lie_where_the_dma_can_reach_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = object.__new__(drivers.Driver)
    found.check_address(SimpleNamespace(physical_address=0x1008), 64)
    with pytest.raises(job.ItemError, match="0x1004 is not aligned to 64 bits"):
        found.check_address(SimpleNamespace(physical_address=0x1004), 64)
    maker = Maker(tmp_path)
    maker.overlay("a")
    widths: list[int] = []
    monkeypatch.setattr(drivers.Driver, "check_address", lambda self, buffer, width: widths.append(width))
    assert run(maker.write(), tmp_path).code == 0 and widths == [32, 32]


def test_labels_of_another_set(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay("a")
    path = maker.job / "data" / "x_labels.npy"
    np.save(path, np.load(path)[1:], allow_pickle=False)
    item = run(maker.write(), tmp_path).item("a")
    assert item["status"] == "failed" and item["reason"] == "149 labels for 150 inputs"


def test_the_result_belongs_to_who_asked_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynq needs root, so the agent is run by sudo; its result is not root's."""
    given: list[tuple[str, int, int]] = []
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "4321")
    monkeypatch.setattr(os, "chown", lambda *what: given.append(what))
    maker = Maker(tmp_path)
    maker.overlay("a")
    assert run(maker.write(), tmp_path).code == 0
    assert given == [(str(tmp_path / "result.tar.gz"), 1234, 4321)]


def test_the_fabric_is_left_in_peace_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DMA that was given up is reset, so that it writes into no memory that is somebody else's by then."""
    maker = Maker(tmp_path)
    maker.overlay("a")
    calls: list[str] = []
    _recorded(monkeypatch, drivers.DmaDriver, "stop", calls)
    assert run(maker.write(), tmp_path, faults="stuck_stream").item("a")["status"] == "timeout"
    assert calls == ["stop"]
