"""A board behind a jump host: name, user, keys and known hosts are those of the user's ssh configuration."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest

from targets.pynq.checks import check_board
from targets.pynq.errors import BoardError
from targets.pynq.exchange.jobs import JobFile
from targets.pynq.inventory import Board
from targets.pynq.transport import Remote
from tests.board_files import make_job
from tests.loopback import ROOT, Loopback, loopback
from tests.unit.test_board_ssh import AGENT, CHECK

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None, reason="the OpenSSH client is missing: apt-get install openssh-client"
)


class Behind:
    """A board, the gate before it, and an `ssh` on PATH that reads a configuration of ours (the client looks
    for the user's own by the password database, not by $HOME)."""

    def __init__(self, desk: Loopback, gate: Loopback, folder: Path) -> None:
        self.desk, self.gate = desk, gate
        (desk.home / "behave.json").write_text(json.dumps({"check": CHECK}))
        self.config, self.bin = folder / "config", folder / "client"
        self.bin.mkdir()
        (self.bin / "ssh").write_text(
            f'#!/bin/sh\necho "$@" >>"{folder}/asked"\nexec "{shutil.which("ssh")}" -F "{self.config}" "$@"\n'
        )
        (self.bin / "ssh").chmod(0o755)
        hosts = "".join(
            f"Host {name}\n  HostName 127.0.0.1\n  Port {server.port}\n  User {user}\n"
            f"  IdentityFile {server.identity}\n  UserKnownHostsFile {server.known}\n"
            for name, server, user in (("desk", desk, "xilinx"), ("gate", gate, "visitor"))
        )
        common = "Host *\n  IdentitiesOnly yes\n  IdentityAgent none\n  GlobalKnownHostsFile /dev/null\n"
        self.config.write_text(f"Host desk\n  ProxyJump gate\n{hosts}{common}")
        self.board = Board("desk", "desk", "pynq-z2", python=desk.python, emulated=True)

    def remote(self) -> Remote:
        return Remote(self.board, agent=AGENT, emulator=ROOT / "tests" / "golden", patience=20.0, look=2.0)


@pytest.fixture
def behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Behind]:
    with loopback(tmp_path / "desk") as desk, loopback(tmp_path / "gate") as gate:
        gate.jump = True
        found = Behind(desk, gate, tmp_path)
        monkeypatch.setenv("PATH", f"{found.bin}:{os.environ['PATH']}")
        yield found


@pytest.fixture
def job(tmp_path: Path) -> JobFile:
    return make_job(tmp_path / "job.tar.gz")


def test_a_job_goes_through_the_jump_host(behind: Behind, job: JobFile, tmp_path: Path) -> None:
    done = behind.remote().run(job, tmp_path / "r.tar.gz", seconds=60)
    assert done.code == 0 and done.result.missing == ()
    # all of it through the gate, on which nothing runs
    assert set(behind.gate.passed_on) == {behind.desk.port} and behind.gate.commands == []
    assert len(behind.gate.passed_on) == len(behind.desk.commands) > 3


def test_hosts_that_are_not_known(behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anybody asked in a window."""
    window = behind.bin / "window"
    window.write_text(f'#!/bin/sh\ntouch "{tmp_path}/window-opened"\necho yes\n')
    window.chmod(0o755)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SSH_ASKPASS", str(window))
    for server in (behind.desk, behind.gate):
        known = server.known.read_text()
        server.known.write_text("")
        with pytest.raises(BoardError, match="host key of desk is not known"):
            behind.remote().facts()
        server.known.write_text(known)
    assert behind.desk.commands == [] and not (tmp_path / "window-opened").exists()
    assert behind.remote().facts()["pynq"] == CHECK["pynq"]


def test_a_careless_configuration_does_not_count(behind: Behind) -> None:
    behind.config.write_text(f"{behind.config.read_text()}  StrictHostKeyChecking no\n")
    behind.desk.known.write_text("")
    with pytest.raises(BoardError, match="host key of desk is not known"):
        behind.remote().facts()
    assert behind.desk.commands == [] and behind.desk.known.read_text() == ""


def test_a_jump_host_that_lets_nobody_through(behind: Behind) -> None:
    behind.gate.jump = False
    (check,) = check_board(behind.board)
    assert (check.name, check.passed) == ("reachable", False) and check.mend
    behind.gate.authorized.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_public_key())
    with pytest.raises(BoardError, match="no key of ours is accepted"):
        behind.remote().facts()


def test_nobody_is_asked_at_a_terminal(behind: Behind, tmp_path: Path) -> None:
    """The client for the jump host takes none of our options: it would ask for passwords and host keys."""
    behind.gate.known.write_text("")
    code = "from targets.pynq.inventory import Board; from targets.pynq.shell import Shell\n"
    code += "Shell(Board('desk', 'desk', 'pynq-z2')).run('true', seconds=30)"
    terminal, theirs = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, stdin=theirs, stderr=subprocess.PIPE, text=True,
            timeout=60, start_new_session=True, check=False,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.set_blocking(terminal, False)
        try:
            shown = os.read(terminal, 4096)
        except BlockingIOError:
            shown = b""
    finally:
        os.close(terminal)
        os.close(theirs)
    assert shown == b"" and done.returncode == 1
    assert "the host key of desk is not known" in done.stderr, done.stderr
