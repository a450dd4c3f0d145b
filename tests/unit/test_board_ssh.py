"""The real OpenSSH client against an SSH server on loopback: refusals, lost connections, resumed jobs."""

from __future__ import annotations

import fcntl
import json
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from bench.errors import ArtifactError, ConfigError
from targets.pynq import scripts
from targets.pynq.errors import BoardBusy, BoardError, BoardLost, BoardUnreachable
from targets.pynq.exchange.jobs import JobFile
from targets.pynq.exchange.results import read_result
from targets.pynq.inventory import Board
from targets.pynq.shell import Shell
from targets.pynq.transport import Remote
from tests.board_files import ITEMS, make_job
from tests.loopback import ROOT, Loopback, loopback

pytestmark = pytest.mark.skipif(
    shutil.which("ssh") is None, reason="the OpenSSH client is missing: apt-get install openssh-client"
)
AGENT = ROOT / "tests" / "stand_in_agent.py"
CHECK = {
    "python": "3.10.4", "numpy": "1.21.5", "pynq": "3.1.2", "root": True, "XILINX_XRT": "/usr",
    "board": "Pynq-Z2", "clock_mhz": 100.0, "sensors": [], "tflite": "tflite_runtime.interpreter",
    "lock": None, "free_bytes": 8 << 30, "problems": [],
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Loopback]:
    with loopback(tmp_path / "board") as found:
        behave(found)
        yield found


def behave(server: Loopback, **how: Any) -> None:
    (server.home / "behave.json").write_text(json.dumps({"check": CHECK, **how}))


def board_of(server: Loopback, **changes: Any) -> Board:
    board = Board(
        "loop", f"xilinx@127.0.0.1:{server.port}", "pynq-z2", python=server.python,
        ssh_options=server.options(), emulated=True,
    )  # fmt: skip
    return replace(board, **changes)


def remote(server: Loopback, said: list[str] | None = None, **changes: Any) -> Remote:
    lines = said if said is not None else []
    board = board_of(server, **changes)
    return Remote(
        board, agent=AGENT, emulator=ROOT / "tests" / "golden", patience=20.0, look=2.0, say=lines.append
    )


@pytest.fixture
def job(tmp_path: Path) -> JobFile:
    return make_job(tmp_path / "job.tar.gz", size=200_000)


def test_a_job_goes_there_and_its_result_comes_back(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    said: list[str] = []
    done = remote(server, said).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert done.code == 0 and done.result.missing == () and list(done.result.file.items) == list(ITEMS)
    assert (tmp_path / "r.tar.gz").is_file() and said[-1] == "loop: started"
    assert not list((server.home / "edge-bench" / "jobs").iterdir()), "nothing is left when all went well"
    assert all(job.job.job in command for command in server.commands)


def test_what_was_done_is_not_done_again(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    for _ in range(2):
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60, keep=True)
    assert (server.home / "starts").read_text() == "0\n"
    assert sum(" upload" in command for command in server.commands) == 1


def test_wrong_key(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    server.authorized.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_public_key())
    with pytest.raises(BoardError, match="no key of ours is accepted") as caught:
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert "ssh-copy-id xilinx@127.0.0.1" in str(caught.value) and "Permission denied" in str(caught.value)


def test_unknown_and_changed_host_keys(server: Loopback) -> None:
    known = server.known.read_text()
    server.known.write_text("")
    with pytest.raises(BoardError, match=r"host key of 127\.0\.0\.1 is not known"):
        remote(server).facts()
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    server.known.write_text(f"{known.split()[0]} {other}")
    with pytest.raises(BoardError, match="not the one that is known") as caught:
        remote(server).facts()
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in str(caught.value)
    assert not server.commands


def test_unreachable(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    server.stop()
    try:
        begin = time.monotonic()
        with pytest.raises(BoardUnreachable, match="no ssh server listens"):
            remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
        assert time.monotonic() - begin < 15, "a board that never answered is not called again and again"
        with pytest.raises(BoardError, match="not a name that is known"):
            remote(server, host="board.invalid").facts()
    finally:
        server.start()


@pytest.mark.parametrize("when", ["flock -w", " upload", "agent.log 2>&1 &", "exec cat result"])
def test_a_connection_that_drops_is_taken_up_again(
    server: Loopback, job: JobFile, tmp_path: Path, when: str
) -> None:
    behave(server, seconds=0.5)
    server.drop_when, server.drops, server.drop_after = when, 1, 0.0 if when != "flock -w" else 0.3
    said: list[str] = []
    done = remote(server, said).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert done.code == 0 and done.result.missing == ()
    assert server.drops == 0
    assert (server.home / "starts").read_text().count("\n") == 1, "the agent went on by itself"


def test_a_lost_board_and_the_same_command_later(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    behave(server, seconds=1.0)
    server.drop_when, server.drops = "flock -w", 1
    impatient = remote(server)
    impatient.patience = 0.0
    with pytest.raises(BoardLost, match="connection was lost") as caught:
        impatient.run(job, tmp_path / "r.tar.gz", seconds=60)
    assert "the same command goes on" in str(caught.value)
    said: list[str] = []
    done = remote(server, said).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert done.result.missing == () and "loop: it is running already; waiting" in said
    assert (server.home / "starts").read_text() == "0\n"


def test_a_board_that_reboots(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    """The agent is killed with everything, the network is gone for a while; then the rest is measured."""
    behave(server, seconds=0.5, kill_at=2)

    def reboot() -> None:
        while not (server.home / "killed").exists():
            time.sleep(0.02)
        server.stop()
        time.sleep(1.5)
        server.start()

    other = threading.Thread(target=reboot)
    other.start()
    said: list[str] = []
    try:
        done = remote(server, said).run(job, tmp_path / "r.tar.gz", seconds=60)
    finally:
        other.join()
    assert done.code == 0 and done.result.missing == () and "loop: started again" in said
    assert (server.home / "starts").read_text() == "0\n1\n", "what was finished was not measured again"


def test_an_agent_that_is_killed_goes_on(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    behave(server, crash_at=2)
    said: list[str] = []
    done = remote(server, said).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert done.code == 0 and done.result.missing == () and "loop: started again" in said
    assert (server.home / "starts").read_text() == "0\n1\n"


@pytest.mark.parametrize("how, says", [
    ("kill_always", "the agent went down 3 times"), ("crash_always", "exit code 137"),
])  # fmt: skip
def test_an_agent_that_goes_down_each_time_is_given_up(
    how: str, says: str, server: Loopback, job: JobFile, tmp_path: Path
) -> None:
    behave(server, **{how: 2})
    with pytest.raises(BoardError, match=says) as caught:
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert (server.home / "starts").read_text() == "0\n1\n1\n"
    assert "1 of 2 items were finished" in str(caught.value)
    assert list(read_result(tmp_path / "r.tar.gz", job).file.items) == [ITEMS[0]]


def test_an_answer_that_is_none(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    server.tool("flock", "#!/bin/sh\nprintf 'hello\\033[2J'; exit 0\n")
    with pytest.raises(BoardError, match="it answers 'hello") as caught:
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert "\x1b" not in str(caught.value)


def test_time_is_over_and_what_was_finished_comes_back(
    server: Loopback, job: JobFile, tmp_path: Path
) -> None:
    behave(server, slow_at=2)
    done = remote(server).run(job, tmp_path / "r.tar.gz", seconds=8.0)
    assert done.code is None and done.result.missing == (ITEMS[1],)
    assert list(done.result.file.items) == [ITEMS[0]]
    behave(server)
    assert remote(server).run(job, tmp_path / "r.tar.gz", seconds=60).result.missing == ()


def interrupted(remote: Remote, job: JobFile, out: Path) -> Path:
    """Ctrl-C while the agent is waited for; its folder there."""

    def wait(folder: str, deadline: float) -> bool:
        while not Path(folder, "pid").is_file() or "measuring" not in Path(folder, "agent.log").read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt

    remote._wait = wait  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        remote.run(job, out, seconds=60)
    return Path(remote.folder, "jobs", job.job.job)


def runs(folder: Path) -> bool:
    """Whether the agent's parent holds its lock."""
    with (folder / "run.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_whoever_interrupts_us_means_the_agent_on_this_machine_only(
    server: Loopback, job: JobFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(server, slow_at=1)
    for name, value in (("HOME", str(server.home)), ("BENCH_BOARD_PYTHON", server.python)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = Remote(
        Board("here", None, "pynq-z2", emulated=True), agent=AGENT, emulator=ROOT / "tests" / "golden"
    )
    assert not runs(interrupted(here, job, tmp_path / "r.tar.gz"))
    there = remote(server, folder=str(server.home / "there"))
    folder = interrupted(there, job, tmp_path / "r.tar.gz")
    assert runs(folder)
    there.shell.run(scripts.STOP, str(folder), "no", seconds=30)
    assert not runs(folder)


def test_another_job_is_running(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    with (server.home / "board.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BoardBusy, match="job 0123 of user ada runs since noon"):
            remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert remote(server).run(job, tmp_path / "r.tar.gz", seconds=60).result.missing == ()


def test_no_space(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    server.tool("df", "#!/bin/sh\necho 'Filesystem 1024-blocks Used Available'\necho 'x 9 9 2048'\n")
    with pytest.raises(BoardError, match="no space: 2 MB are free"):
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    server.tool("df", "#!/bin/sh\necho x\necho 'x 9 9 99999999'\n")
    behave(server, full_at=2)
    with pytest.raises(BoardError, match="No space left on device") as caught:
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert "1 of 2 items were finished" in str(caught.value) and (tmp_path / "r.tar.gz").is_file()


def test_no_sudo(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    server.tool("id", "#!/bin/sh\necho 1000\n")
    server.tool("sudo", "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
    with pytest.raises(BoardError, match="sudo asks for a password"):
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    with pytest.raises(BoardError, match="sudo asks for a password"):
        remote(server).facts()
    assert remote(server, sudo=False).run(job, tmp_path / "r.tar.gz", seconds=60).code == 0
    server.tool("sudo", '#!/bin/sh\ntouch "$HOME/as-root"\nshift\nexec "$@"\n')
    assert remote(server).run(job, tmp_path / "s.tar.gz", seconds=60).code == 0
    assert (server.home / "as-root").exists()


def test_results_of_another_job_and_agents_that_fail(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    behave(server, forge=True)
    with pytest.raises(ArtifactError, match="result of job 000000000000") as caught:
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)
    assert "board loop" in str(caught.value) and not list(tmp_path.glob("*r.tar.gz*"))
    shutil.rmtree(server.home / "edge-bench")
    (server.home / "behave.json").write_text("{")
    with pytest.raises(BoardError, match=r"exit code 1: .*JSONDecodeError"):
        remote(server).run(job, tmp_path / "r.tar.gz", seconds=60)


def test_jobs_of_other_kinds_of_boards_are_refused(server: Loopback, job: JobFile, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="emulated board, loop is a real one"):
        remote(server, emulated=False).run(job, tmp_path / "r.tar.gz", seconds=60)
    real = make_job(tmp_path / "real.tar.gz", emulated=False)
    with pytest.raises(ConfigError, match="for pynq-z2, loop is a zcu104"):
        remote(server, board="zcu104", emulated=False).run(real, tmp_path / "r.tar.gz", seconds=60)
    assert not server.commands


def test_nothing_that_a_user_or_a_board_says_becomes_a_command(server: Loopback, tmp_path: Path) -> None:
    shell = Shell(board_of(server))
    odd = "a b'c\"$(touch pwned)`touch pwned`;\n*"
    done = shell.run('printf "%s|" "$@"', odd, "-x", seconds=30)
    assert done.out == f"{odd}|-x|" and not (server.home / "pwned").exists()
    command = shell.command("true", [])
    assert command[command.index("--") + 1] == "xilinx@127.0.0.1" and "BatchMode=yes" in command
    assert not any("StrictHostKeyChecking=no" in word for word in command)


def test_too_much_and_too_long(server: Loopback) -> None:
    shell = Shell(board_of(server))
    with pytest.raises(BoardError, match="more than 1,000,000 bytes"):
        shell.run("yes", seconds=30, most=1_000_000)
    with pytest.raises(BoardLost, match="no answer within 1 s"):
        shell.run("sleep 20", seconds=1)
    assert shell.run("exit 7", seconds=30).code == 7


def test_a_master_connection_that_holds_the_pipes_is_not_waited_for(tmp_path: Path) -> None:
    here = Shell(Board("here", None, "pynq-z2", emulated=True))
    begin = time.monotonic()
    assert here.run("sleep 15 & echo done; exit 3", seconds=30).out == "done\n"
    assert time.monotonic() - begin < 10
