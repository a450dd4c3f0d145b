"""`bench board check`: each thing that a board may lack is told, with its mend."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from targets.pynq import scripts
from targets.pynq.checks import check_board
from targets.pynq.errors import BoardError
from targets.pynq.shell import Done, Shell
from targets.pynq.transport import Remote
from tests.board_files import make_job
from tests.loopback import Loopback, loopback
from tests.unit.test_board_ssh import AGENT, CHECK, behave, board_of, remote

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None, reason="the OpenSSH client is missing: apt-get install openssh-client"
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    with loopback(tmp_path / "board") as found:
        behave(found)
        yield found


def test_checks(server: Loopback) -> None:
    def look(**changes: Any) -> dict[str, Any]:
        behave(server, check={**CHECK, **changes})
        board = board_of(server, emulated=False)
        return {item.name: item for item in check_board(board, lambda board: Remote(board, agent=AGENT))}

    fine = look()
    assert all(item.passed is not False for item in fine.values()), fine
    assert fine["power rails"].passed is None and "external meter" in (fine["power rails"].mend or "")
    bad = look(
        python=None, numpy=None, pynq="4.0.0", root=False, XILINX_XRT=None, board="ZCU104", clock_mhz=None,
        tflite=None, free_bytes=1000, lock={"user": "ada\x1b[31m", "job": "x"}, problems=["no device"],
    )  # fmt: skip
    failed = {name for name, item in bad.items() if item.passed is False}
    assert failed == {"Python", "numpy", "pynq", "root", "XRT", "kind", "clock", "space", "free to use"}
    assert all(item.mend for name, item in bad.items() if name in failed)
    assert bad["clock"].mend == "no device" and "\x1b" not in bad["free to use"].detail
    odd = look(
        python=[1], sensors="x", free_bytes="much", clock_mhz=True, board=None, problems=None, lock="x"
    )
    assert odd["space"].passed is None and odd["clock"].passed is False
    old = look(pynq="2.7.0")["pynq"]
    assert old.passed is None and "not known to work" in old.detail and "newer image" in (old.mend or "")
    fit = {"armv7l 3.10": "==2.13.0", "armv7l 3.8": "==2.5.0", "aarch64 3.12": "ai-edge-litert"}
    for place, package in {**fit, "armv7l 3.12": "image with Python 3.10"}.items():
        machine, python = place.split()
        lacking = look(tflite=None, machine=machine, python=f"{python}.4")["TFLite runtime"]
        assert lacking.passed is None and (lacking.mend or "").count(package) == 1, place
    server.tool("id", "#!/bin/sh\necho 1000\n")
    server.tool("sudo", "#!/bin/sh\nexit 1\n")
    rootless = look()
    assert list(rootless) == ["reachable", "sudo"] and rootless["sudo"].passed is False
    server.stop()
    try:
        (gone,) = look().values()
        assert gone.name == "reachable" and gone.passed is False and gone.mend
    finally:
        server.start()


def test_an_emulated_board_needs_no_tflite_runtime(server: Loopback) -> None:
    behave(server, check={**CHECK, "tflite": None})
    found = {
        item.name: item for item in check_board(board_of(server), lambda board: Remote(board, agent=AGENT))
    }
    lacking = found["TFLite runtime"]
    assert lacking.passed is None and lacking.mend is None and "no processor of its own" in lacking.detail
    assert not {"root", "XRT", "kind", "clock"} & set(found)


#: what the board's `python3` does -> (the check that it fails, what is said, the mend)
PYTHONS = {
    "exit 127": ("Python", "there is no", "--python PATH"),
    'echo 3.6.9 >&2; [ "$1" = -c ] && exit 98': (
        "Python", "is Python 3.6.9; the agent needs 3.8", "--python PATH",
    ),
    '[ "$1" = -c ] && { echo "No module named numpy" >&2; exit 99; }': (
        "numpy", "has no numpy (No module named numpy)", "apt-get install python3-numpy",
    ),
    '[ "$1" = -c ] || { echo Traceback >&2; exit 1; }': ("agent", "the agent does not start", "Traceback"),
    '[ "$1" = -c ] || echo nonsense': ("agent", "cannot be read", "nonsense"),
}  # fmt: skip


@pytest.mark.parametrize("does", list(PYTHONS))
def test_pythons_that_the_agent_cannot_run_with(does: str, server: Loopback, tmp_path: Path) -> None:
    name, says, mend = PYTHONS[does]
    python = server.home / "py3"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    board = board_of(server, python=str(python))
    there, lacking = check_board(board, lambda board: Remote(board, agent=AGENT))
    assert there.passed and (lacking.name, lacking.passed) == (name, False)
    assert says in lacking.detail and mend in (lacking.mend or "")
    job = make_job(tmp_path / "job.tar.gz")
    if name != "agent":  # a job says the same, and starts nothing
        with pytest.raises(BoardError, match=re.escape(says)):
            remote(server, python=str(python)).run(job, tmp_path / "r.tar.gz", seconds=60)
        assert not (server.home / "edge-bench" / "jobs" / job.job.job / "agent.log").exists()


def test_the_probe_of_a_python(server: Loopback) -> None:
    """Run by an old Python and by one without numpy, each played by this one."""
    script = scripts.CHECK.split("cd -- ")[0] + 'probed no "$1"; echo fine'
    there = Shell(board_of(server))

    def played(text: str) -> Done:
        python = server.home / "played"
        python.write_text(f"#!{sys.executable}\nimport sys\n{text}\nexec(sys.argv[2])\n")
        python.chmod(0o755)
        return there.run(script, str(python), seconds=30)

    assert played("").out == "fine\n"
    old = played("sys.version_info = (3, 7, 9)")
    assert (old.code, old.out, old.err.strip()) == (scripts.OLD_PYTHON, "", "3.7.9")
    bare = played("sys.modules['numpy'] = None")
    assert bare.code == scripts.NO_NUMPY and "numpy" in bare.err
    missing = there.run(script, "/nowhere/python3", seconds=30)
    assert missing.code == scripts.NO_PYTHON
    # even Python 2 has to be able to read it
    probe = scripts.CHECK.partition("probe='")[2].partition("'\n")[0]
    assert "sys.version_info < (3, 8)" in probe and 'f"' not in probe and "print" not in probe
