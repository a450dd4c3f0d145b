"""The inventory of boards, and `bench board` on the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.main import run_cli
from bench.errors import ConfigError, Unavailable
from targets.pynq import inventory
from targets.pynq.environment import board_python
from targets.pynq.inventory import EMULATED, Board, add, get, load, path_of, remove
from targets.pynq.printable import one_line, printable
from targets.pynq.shell import Shell
from tests.board_files import ITEMS, make_job, make_result, write_result


@pytest.fixture(autouse=True)
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "settings" / "boards.json"
    monkeypatch.setenv("BENCH_BOARDS", str(path))
    return path


def test_the_emulated_board_is_always_there(own_file: Path) -> None:
    assert list(load()) == [EMULATED] and get(EMULATED).emulated and get(EMULATED).host is None
    for change in (lambda: remove(EMULATED), lambda: add(Board(EMULATED, "h", "pynq-z2"), replace=True)):
        with pytest.raises(ConfigError):
            change()
    assert not own_file.exists()


def test_boards_are_kept(own_file: Path) -> None:
    board = Board("z2", "xilinx@192.168.2.99:2222", "pynq-z2", ssh_options=("IdentityFile=~/.ssh/pynq",))
    add(board)
    assert get("z2") == board and board.destination == ("xilinx@192.168.2.99", "2222")
    assert own_file.stat().st_mode & 0o077 == 0
    assert [item.name for item in own_file.parent.iterdir()] == ["boards.json"]
    with pytest.raises(ConfigError, match="already"):
        add(board)
    other = Board("z2", "alias", "zcu104", sudo=False)
    add(other, replace=True)
    assert get("z2") == other
    with pytest.raises(ConfigError, match="Did you mean"):
        get("z3")
    remove("z2")
    assert list(load()) == [EMULATED]


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=touch x", "", "a b", "a;b", "$(x)", "user@-x", "-l@host", "a@b@c", "host:",
        "host:99999", "host:0", "host:22x", "ho\nst", "[::1", "user@", "`x`", "ssh://host",
        "a/b", "host\x00", "ü.example",
    ],
)  # fmt: skip
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(ConfigError, match=r"host|port"):
        Board("b", host, "pynq-z2")


@pytest.mark.parametrize("host", ["pynq", "xilinx@10.0.0.1", "x@[fe80::1%eth0]:22", "a.b-c_d.example:2200"])
def test_hosts(host: str) -> None:
    board = Board("b", host, "pynq-z2")
    if shutil.which("ssh"):
        command = Shell(board).command("true", [])
        place = command.index("--")
        assert command[place + 1] == board.destination[0] and len(command) == place + 3
    assert "[" not in board.destination[0]


@pytest.mark.parametrize(
    "field",
    [
        {"name": "-x"}, {"name": "../x"}, {"name": ""}, {"name": "a" * 65}, {"name": "a\n"}, {"board": "a b"},
        {"part": "x;y"}, {"python": "py thon"}, {"python": "-c"}, {"python": "$(x)"}, {"folder": "../.."},
        {"folder": "~/x"}, {"folder": "a;b"}, {"folder": "-x"}, {"ssh_options": ("-oX=1",)},
        {"ssh_options": ("StrictHostKeyChecking=no",)}, {"ssh_options": ("stricthostkeychecking= OFF ",)},
        {"ssh_options": ('StrictHostKeyChecking="no"',)}, {"ssh_options": ("StrictHostKeyChecking==no",)},
        {"ssh_options": ("BatchMode=no",)}, {"ssh_options": ("User=a\nb",)}, {"ssh_options": "User=a"},
        {"sudo": "yes"}, {"host": 5},
        {"loopback": "echo.bit"}, {"loopback": "/a\nb.bit"}, {"loopback": "/x.bin"},
    ],
)  # fmt: skip
def test_entries_that_are_not_safe(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Board(**{"name": "b", "host": "h", "board": "pynq-z2", **field})


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{}", "nonsense", '{"version": 2, "boards": {}}', '{"version": 1, "boards": []}',
        "[" * 10_000,
        '{"version": 1, "boards": {"z": {"host": "h"}}}', '{"version": 1, "boards": {"z": 1}}',
        '{"version": 1, "boards": {"z": {"host": "-h", "board": "x"}}}',
        '{"version": 1, "boards": {"z": {"host": "h", "board": "x", "more": 1}}}',
        '{"version": 1, "boards": {"z": {"host": "h", "board": "x", "ssh_options": "X=1"}}}',
        '{"version": 1, "boards": {"emulated": {"host": "h", "board": "x"}}}', "\xff",
    ],
)  # fmt: skip
def test_files_that_are_no_inventory(own_file: Path, text: str) -> None:
    own_file.parent.mkdir()
    own_file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"boards\.json"):
        load()
    own_file.unlink()
    own_file.mkdir()
    with pytest.raises(ConfigError, match=r"boards\.json"):
        load()


def test_where_the_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BENCH_BOARDS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert path_of() == tmp_path / "edge-bench" / "boards.json"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert path_of() == Path.home() / ".config" / "edge-bench" / "boards.json"


@given(st.text(max_size=40))
def test_any_name_and_host_is_safe_or_refused(text: str) -> None:
    for make in (lambda: Board(text, "h", "k"), lambda: Board("n", text, "k"), lambda: Board("n", "h", text)):
        try:
            board = make()
        except ConfigError:
            continue
        for word in (board.name, board.board, board.destination[0]):
            assert word and word[0] not in "-." and not set(word) & set(" \n;&|$`'\"\\<>*?()#!")


@given(st.text(max_size=200))
def test_printed_texts_hold_no_control_characters(text: str) -> None:
    assert all(char.isprintable() or char == "\n" for char in printable(text))
    assert one_line(text).isprintable()


def test_no_environment_for_the_emulated_board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BENCH_BOARD_PYTHON", sys.executable)
    assert board_python() == sys.executable
    monkeypatch.delenv("BENCH_BOARD_PYTHON")
    monkeypatch.setattr("targets.pynq.environment.ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable, match="pynq"):
        board_python()


def test_no_ssh_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="openssh-client"):
        Shell(Board("b", "h", "k")).run("true", seconds=5)


def test_commands_of_the_inventory(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["board", "add", "z2", "--host", "xilinx@192.168.2.99", "--board", "pynq-z2"]) == 0
    assert run_cli(["board", "add", "z2", "--host", "x", "--board", "pynq-z2"]) == 2
    assert run_cli(["board", "add", "y", "--host=-oProxyCommand=x", "--board", "pynq-z2"]) == 2
    assert "'-oProxyCommand=x' is no host" in capsys.readouterr().err
    assert run_cli(["board", "ls"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["name", "emulated", "z2"]
    assert run_cli(["board", "ls", "--json"]) == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)] == ["emulated", "z2"]
    assert run_cli(["board", "rm", "z2"]) == 0
    assert run_cli(["board", "rm", "z2"]) == 2
    assert run_cli(["board", "check", "z2"]) == 2


def test_an_emulated_board_of_another_kind_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    line = ["board", "add", "zu", "--board", "zcu102", "--emulated"]
    for more in (["--offline"], ["--host", "x", "--offline"]):
        assert run_cli([*line, *more]) == 2
        assert "or --emulated for this machine" in capsys.readouterr().err
    assert run_cli(line) == 0
    found = get("zu")
    assert found.emulated and found.host is None and not found.offline
    assert (found.part, found.device_part) == (None, "xczu9eg-ffvb1156-2-e")
    assert Board("x", "x", "zcu102", "xczu1cg").device_part == "xczu1cg"
    assert Board("x", "x", "mine").device_part is None
    assert run_cli(["board", "ls"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["zu", "zcu102", "emulated"]


def test_a_loopback_overlay_of_a_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("echo.bit").write_bytes(b"bit")
    line = ["board", "add", "z2", "--host", "z2", "--board", "pynq-z2", "--loopback", "echo.bit"]
    assert run_cli(line) == 2
    assert "echo.hwh of its loopback is missing" in capsys.readouterr().err and "z2" not in load()
    Path("echo.hwh").write_bytes(b"hwh")
    assert run_cli(line) == 0
    places = {f"loopback{suffix}": tmp_path / f"echo{suffix}" for suffix in (".bit", ".hwh")}
    assert get("z2").loopback_files() == places and get(EMULATED).loopback_files() == {}
    Path("echo.bit").unlink()
    with pytest.raises(ConfigError, match=r"echo\.bit of its loopback is missing"):
        get("z2").loopback_files()


def test_import_shows_what_is_in_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(tmp_path / "job.tar.gz")
    value, arrays = make_result(job)
    path = write_result(tmp_path / "r.tar.gz", value, arrays)
    assert run_cli(["board", "import", str(path), "--job", str(job.path)]) == 0
    shown = capsys.readouterr().out
    assert "origin: modelled" in shown and "never beside measured" in shown
    (row,) = [line.split() for line in shown.splitlines() if line.startswith(ITEMS[0])]
    assert row[1:3] == ["ok", "100"] and row[-4:] == ["2", "20", "0", "60"]
    assert run_cli(["board", "import", str(path), "--dry-run"]) == 0
    assert "not compared with its job" in capsys.readouterr().out
    assert run_cli(["board", "import", str(path), "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"][ITEMS[1]]["status"] == "ok"
    value["items"][ITEMS[1]] |= {
        "status": "failed",
        "reason": "outputs differ\x1b[2J",
        "refused": [{"name": "phases", "reason": "because"}],
    }
    write_result(path, value, arrays)
    assert run_cli(["board", "import", str(path), "--job", str(job.path)]) == 1
    shown = capsys.readouterr().out
    assert "outputs differ?[2J" in shown and "phases is not given: because" in shown
    write_result(path, *make_result(job, done=1))
    assert run_cli(["board", "import", str(path), "--job", str(job.path)]) == 1
    assert "missing" in capsys.readouterr().out
    path.write_bytes(path.read_bytes()[:-20])
    assert run_cli(["board", "import", str(path)]) == 2
    assert "cut off" in capsys.readouterr().err


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "pydantic", "targets.pynq.exchange.jobs"}
    code = f"import sys, bench.cli.main; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
    assert inventory.VERSION == 1
