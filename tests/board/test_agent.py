"""The agent on the emulated board: one process each, as on a real one."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from targets.pynq.emulated import hwh
from tests.board.jobs import FRAMES, Maker, run

STYLES = {
    "float": {},
    "fixed": {"fixed": ("fixed<8,4,RND_CONV,SAT>", "fixed<16,10>"), "dtypes": ("int8", "int16")},
    "unsigned": {"fixed": ("ufixed<8,2,RND_CONV,SAT>", "fixed<16,10>"), "dtypes": ("int8", "int16")},
    "memory": {"style": "m_axi"},
    "ultrascale": {"soc": hwh.ULTRASCALE},
}


@pytest.mark.parametrize("name", list(STYLES))
def test_a_whole_job(name: str, tmp_path: Path) -> None:
    maker = Maker(tmp_path, low=0 if name == "unsigned" else -64)
    maker.overlay(**STYLES[name])
    done = run(maker.pack(), tmp_path, own_process=name == "float")
    assert done.code == 0, done.said
    value, item = done.result, done.item()
    assert value["origin"] == "modelled" and value["board"]["emulated"] and value["finished"]
    assert item["status"] == "ok" and item["bitstream_loaded"] and item["refused"] == []
    assert item["fabric_clock_mhz"] == pytest.approx(100, rel=1e-4)
    assert item["agreement"]["bit_exact"] and item["agreement"]["n"] == FRAMES * 3
    assert (item["accuracy"]["n"], item["accuracy"]["errors"]) == (FRAMES, 7)
    assert set(item["phases"]) == {
        "load", "encode", "copy_in", "execute", "copy_out", "decode", "end_to_end"
    }  # fmt: skip
    for phase, entry in item["phases"].items():
        assert 0 < entry["min"] <= entry["p50"] <= entry["p99"], phase
        if phase != "load":
            assert len(done.sample(entry["samples"])) == entry["n"] == 20
    assert item["phases"]["execute"]["min"] >= 200 / 100e6
    assert [row["batch"] for row in item["throughput"]] == [1, 4, 16]
    # the slope is the kernel's interval
    assert item["fit_execute"]["b_s"] == pytest.approx(200 / 100e6, rel=0.5)
    lean, stock = (item["register_accesses"][path] for path in ("lean", "stock"))
    assert lean["reads"] + lean["writes"] <= 3
    if name == "memory":
        assert stock is None and lean == {"reads": 1, "writes": 1}
    else:
        assert stock["reads"] + stock["writes"] >= 20
    assert all(check["passed"] is not False for check in item["sanity"])
    with tarfile.open(tmp_path / "result.tar.gz") as tar:
        names = tar.getnames()
    assert "result/result.json" in names and f"result/{item['accuracy']['predictions']}" in names
    assert np.issubdtype(done.sample(item["accuracy"]["predictions"]).dtype, np.integer)


def test_loopback(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    item = maker.overlay(**STYLES["fixed"])
    bit, handoff = hwh.write_overlay(tmp_path / "echo", dma="hier_0/axi_dma_0", what="loopback")
    item["files"].update({"loopback.bit": maker.file(bit), "loopback.hwh": maker.file(handoff)})
    found = run(maker.write(), tmp_path).item()
    loopback, execute = found["loopback"], found["phases"]["execute"]
    assert found["status"] == "ok" and loopback["execute"]["n"] == 20
    assert 0 < loopback["execute"]["p50"] <= execute["p50"]
    assert loopback["execute_above_loopback_s"] == pytest.approx(execute["p50"] - loopback["execute"]["p50"])


def test_no_outputs_to_compare_with(tmp_path: Path) -> None:
    maker = Maker(tmp_path)
    maker.overlay()["expected"] = None
    item = run(maker.write(), tmp_path).item()
    assert item["status"] == "ok" and item["agreement"] is None and item["accuracy"]["errors"] == 7
    assert {"name": "outputs", "passed": None, "detail": "the job has no outputs to compare with"} in item[
        "sanity"
    ]
