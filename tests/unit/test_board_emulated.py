"""The real agent on the emulated board: from this machine, and through OpenSSH on loopback.

Needs the environment of boards (`make test` sets it up).
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.cli.main import run_cli
from bench.errors import Unavailable
from targets.pynq.emulated import hwh
from targets.pynq.environment import board_python
from targets.pynq.exchange.jobs import ItemSource, JobFile, protocol, write_job
from targets.pynq.inventory import EMULATED, Board, get
from targets.pynq.transport import Remote
from tests.board_files import CREATED
from tests.loopback import loopback

INPUTS, OUTPUTS, FRAMES = 12, 3, 60
ITEMS = ("tiny/a/seed0", "tiny/b/seed0")

#: a program as hls4ml's C simulation: float32 frames in, float64 frames out, on a grid of 1/64
PROGRAM = f"""#!{sys.executable}
import struct, sys
factor = float(open("weights/w.txt").read())
while len(data := sys.stdin.buffer.read({4 * INPUTS})) == {4 * INPUTS}:
    x = struct.unpack("<{INPUTS}f", data)
    y = [round(factor * 64 * sum(x[k::{OUTPUTS}])) / 64 for k in range({OUTPUTS})]
    sys.stdout.buffer.write(struct.pack("<{OUTPUTS}d", *y))
    sys.stdout.buffer.flush()
"""


@pytest.fixture(scope="module")
def python() -> str:
    try:
        return board_python()
    except Unavailable as error:
        pytest.skip(error.what)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobFile:
    folder = tmp_path_factory.mktemp("overlays")
    x = np.random.default_rng(3).integers(-64, 64, (FRAMES, 4, 3)).astype(np.float32) / 16
    flat = x.reshape(FRAMES, -1).astype(np.float64)
    items = []
    for number, name in enumerate(ITEMS):
        factor = 0.5 + number
        sums = np.stack([flat[:, k::OUTPUTS].sum(axis=1) for k in range(OUTPUTS)], 1)
        expected = np.rint(factor * 64 * sums) / 64
        place = folder / str(number)
        place.mkdir()
        bit, handoff = hwh.write_overlay(
            place, style="axis_dma", dma="hier_0/axi_dma_0", kernel="hier_0/kernel_0", what=name
        )
        about = {"inputs": INPUTS, "outputs": OUTPUTS, "layers": []}
        files: dict[str, Path | bytes] = {
            "overlay.bit": bit,
            "overlay.hwh": handoff,
            "kernel/simulator": PROGRAM.encode(),
            "kernel/simulator.json": json.dumps(about).encode(),
            "kernel/weights/w.txt": str(factor).encode(),
        }
        labels = expected.argmax(axis=1)
        labels[:7] = (labels[:7] + 1) % OUTPUTS
        facts = {
            "interface": {
                "style": "axis_dma", "dma": "hier_0/axi_dma_0", "kernel": "hier_0/kernel_0", "inputs": INPUTS,
                "outputs": OUTPUTS, "input_dtype": "float32", "output_dtype": "float32",
            },
            "clock_mhz": 100.0,
            "cycles": {"latency": 300, "interval": 200, "source": "csynth"},
            "sanity": {"clock_estimate_ns": 6.9, "clock_target_ns": 10.0, "wns_ns": 0.5, "part": "xc7z020"},
        }  # fmt: skip
        items.append(ItemSource(name, "overlay", files, x, expected, labels if number == 0 else None, facts))
    return write_job(
        folder / "job.tar.gz",
        items,
        board="pynq-z2",
        protocol=protocol("quick", warmup_calls=5, calls=30, batches=[1, 4, 16]),
        emulated=True,
        created=CREATED,
    )


def check(result: object, job: JobFile) -> None:
    from targets.pynq.exchange.results import Result

    assert isinstance(result, Result)
    assert result.missing == () and result.file.origin == "modelled" and result.file.job == job.job.job
    for name in ITEMS:
        item = result.file.items[name]
        assert item.status == "ok", item.reason
        assert item.agreement is not None and item.agreement.bit_exact
        assert item.agreement.n == FRAMES * OUTPUTS
        assert item.accuracy is not None and item.accuracy.errors == 7
        assert item.fabric_clock_mhz == pytest.approx(100.0)
        assert item.phases["execute"].n == 30 and item.phases["execute"].min >= 200 / 100e6
        assert item.fit is not None and item.fit.b_s >= 200 / 100e6 * 0.99
        accesses = (item.register_accesses or {})["lean"]
        assert accesses is not None and accesses.reads + accesses.writes <= 3


def test_on_this_machine(
    python: str,
    job: JobFile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BENCH_BOARDS", str(tmp_path / "boards.json"))
    out = tmp_path / "r.tar.gz"
    assert run_cli(["board", "check", EMULATED]) == 0
    assert "ok  pynq" in capsys.readouterr().out
    assert run_cli(["board", "run", EMULATED, str(job.path), "-o", str(out)]) == 0
    assert "origin: modelled" in capsys.readouterr().out
    assert run_cli(["board", "import", str(out), "--job", str(job.path)]) == 0
    check(Remote(get(EMULATED)).run(job, out, seconds=120).result, job)
    assert not list((tmp_path / "cache" / "edge-bench" / "emulated" / "jobs").iterdir())


@pytest.mark.skipif(shutil.which("ssh") is None, reason="the OpenSSH client is missing")
def test_through_ssh_with_a_lost_connection(python: str, job: JobFile, tmp_path: Path) -> None:
    with loopback(tmp_path / "board") as server:
        wrapper = server.home / "board-python"
        wrapper.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
        wrapper.chmod(0o755)
        board = Board(
            "loop", f"127.0.0.1:{server.port}", "pynq-z2", python=str(wrapper), ssh_options=server.options(),
            emulated=True,
        )  # fmt: skip
        server.drop_when, server.drops = "flock -w", 1
        done = Remote(board, patience=20.0, look=5.0).run(job, tmp_path / "r.tar.gz", seconds=120)
    assert done.code == 0 and server.drops == 0
    check(done.result, job)
