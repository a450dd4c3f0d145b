"""The boards that a user has, in a file of theirs: `$BENCH_BOARDS` or `boards.json` in the settings folder.

`emulated` is always among them and needs no entry. The file names hosts and options of ssh, never
passwords or keys.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from bench.errors import ConfigError, did_you_mean
from targets.fpga.parts import BOARDS

VERSION, MAX_BYTES, MAX_BOARDS = 1, 1 << 20, 1000
EMULATED = "emulated"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
#: user@host:port, or the alias of a host in ~/.ssh/config; an address of IPv6 in brackets
_HOST = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})@)?"
    r"(?:(?P<host>[A-Za-z0-9_][A-Za-z0-9_.-]{0,252})|\[(?P<six>[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,20})?)\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_PLACE = re.compile(r"/?[A-Za-z0-9_.][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_.][A-Za-z0-9_.+-]*)*")
_BIT = re.compile(r"/[^\x00-\x1f\x7f]{1,4000}\.bit")
_OPTION = re.compile(r"([A-Za-z]{2,40})=([^\x00-\x1f\x7f]{1,500})")
#: options of ssh that would undo what keeps a connection safe, with the values that do
_FORBIDDEN = {
    "stricthostkeychecking": {"no", "off"},
    "batchmode": {"no"},
    "nohostauthenticationforlocalhost": {"yes"},
}


@dataclass(frozen=True)
class Board:
    """A board of the inventory.

    Attributes:
        name: the user's name for it. board: its kind, `pynq-z2`.
        host: as ssh takes it, with a port if need be; None: this machine, if it is emulated, else it has
            no network and takes jobs by hand (`bench board pack`).
        part: of its FPGA, where the user says it.
        python: on the board. folder: on the board, from the user's home; jobs go there.
        ssh_options: `Name=value`, as of ssh's -o.
        loopback: path of a .bit on this machine, its .hwh beside it: the DMA with a FIFO in place of the
            kernel, timed as a baseline.
        sudo: whether the agent needs root there (pynq does).
        emulated: it has no hardware: jobs for the emulated board only.
    """

    name: str
    host: str | None
    board: str
    part: str | None = None
    python: str = "python3"
    folder: str = "edge-bench"
    ssh_options: tuple[str, ...] = ()
    sudo: bool = True
    emulated: bool = False
    loopback: str | None = None

    def __post_init__(self) -> None:
        check(self)

    @property
    def offline(self) -> bool:
        """Whether jobs and results have to be carried to and from it."""
        return self.host is None and not self.emulated

    @property
    def destination(self) -> tuple[str, str | None]:
        """What ssh connects to, and the port where one is given."""
        found = _HOST.fullmatch(self.host or "")
        if found is None:
            raise ConfigError(f"board {self.name} has no host")
        user = f"{found['user']}@" if found["user"] else ""
        return user + (found["host"] or found["six"]), found["port"]

    @property
    def device_part(self) -> str | None:
        """Its FPGA: as the user names it, else that of its kind; None: not known."""
        return self.part or BOARDS.get(self.board)

    def loopback_files(self) -> dict[str, Path]:
        """The loopback overlay by the names that the agent knows; empty where there is none.

        Raises:
            ConfigError: one of its files is missing.
        """
        if self.loopback is None:
            return {}
        path = Path(self.loopback)
        found = {f"loopback{suffix}": path.with_suffix(suffix) for suffix in (".bit", ".hwh")}
        if missing := [str(path) for path in found.values() if not path.is_file()]:
            raise ConfigError(
                f"{missing[0]} of its loopback is missing",
                where=f"board {self.name}",
                mend="bit and hwh lie side by side, called alike; or add the board anew: --replace.",
            )
        return found


def check(board: Board) -> None:
    """Raises ConfigError: a name, host or option that is not safe, or makes no sense."""

    def refuse(what: str, mend: str) -> ConfigError:
        return ConfigError(f"board {str(board.name)[:64]!r}: {what}", mend=mend)

    for field in fields(Board):
        value = getattr(board, field.name)
        kinds = {"sudo": bool, "emulated": bool, "ssh_options": tuple}
        wanted: Any = kinds.get(field.name, str)
        if not isinstance(value, wanted) and not (
            value is None and field.name in ("host", "part", "loopback")
        ):
            raise refuse(f"{field.name} is {type(value).__name__}", f"It is a {wanted.__name__}.")
    if not _NAME.fullmatch(board.name):
        raise refuse("this is no name for a board", "Use letters, digits, _ . and -.")
    if not _NAME.fullmatch(board.board) or (board.part is not None and not _NAME.fullmatch(board.part)):
        raise refuse("its kind or part is none", "Write --board pynq-z2 or --part xc7z020clg400-1.")
    if board.host is not None and not _HOST.fullmatch(board.host):
        raise refuse(
            f"{board.host[:80]!r} is no host", "Write user@host, user@host:port or a host of ~/.ssh/config."
        )
    if board.host is not None and (port := board.destination[1]) and not 0 < int(port) < 65536:
        raise refuse(f"{port} is no port", "Ports are 1 to 65535.")
    if not _PLACE.fullmatch(board.python) or not _PLACE.fullmatch(board.folder) or ".." in board.folder:
        raise refuse(
            "python and folder are paths without blanks, `..` and shell characters", "Write them plainly."
        )
    if board.loopback is not None and not _BIT.fullmatch(board.loopback):
        raise refuse("its loopback is no whole path of a .bit", "Write --loopback FILE.bit.")
    for option in board.ssh_options:
        found = _OPTION.fullmatch(option) if isinstance(option, str) else None
        if found is None:
            raise refuse(f"{str(option)[:80]!r} is no option of ssh", "Write Name=value, as for ssh -o.")
        if found[2].strip(" \t\"'=").lower() in _FORBIDDEN.get(found[1].lower(), ()):
            raise refuse(
                f"{option} is not taken: a board that is not the one it claims to be would be believed",
                "Connect once by hand with ssh and compare the fingerprint.",
            )


def path_of() -> Path:
    """Where the inventory is."""
    if named := os.environ.get("BENCH_BOARDS"):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "edge-bench" / "boards.json"


def the_emulated() -> Board:
    """The board that everybody has."""
    return Board(EMULATED, None, "pynq-z2", "xc7z020clg400-1", sudo=False, emulated=True)


def load() -> dict[str, Board]:
    """All boards by name, the emulated one first.

    Raises:
        ConfigError: the file cannot be read, or an entry makes no sense.
    """
    path, found = path_of(), {EMULATED: the_emulated()}
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return found
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        if len(data) > MAX_BYTES:
            raise ValueError("too large")
        value = json.loads(data)
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']}, this program knows {VERSION}")
        entries = value["boards"]
        if not isinstance(entries, dict) or len(entries) > MAX_BOARDS:
            raise ValueError("no boards")
        for name, entry in entries.items():
            if name == EMULATED:
                raise ValueError(f"{EMULATED} is the name of the board that is always there")
            found[name] = _board(name, entry)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"not an inventory of boards ({error})",
            where=str(path),
            mend="Mend it, or take it away and add the boards again: bench board add.",
        ) from error
    except ConfigError as error:
        raise ConfigError(error.what, where=str(path), mend=error.mend) from error
    return found


def _board(name: str, entry: Mapping[str, Any]) -> Board:
    known = {field.name for field in fields(Board)} - {"name"}
    if unknown := sorted(set(entry) - known):
        raise ValueError(f"{name}: {unknown[0]} is not known")
    options = entry.get("ssh_options", [])
    if not isinstance(options, list):
        raise ValueError(f"{name}: ssh_options is a list")
    return Board(name, **{"host": None, **entry, "ssh_options": tuple(options)})


def get(name: str) -> Board:
    """A board by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    boards = load()
    if name not in boards:
        raise ConfigError(f"no board {name!r}", where=str(path_of()), mend=did_you_mean(name, boards))
    return boards[name]


def add(board: Board, *, replace: bool = False) -> None:
    """Put a board into the file.

    Raises:
        ConfigError: the name is taken.
    """
    boards = load()
    if board.name == EMULATED or (board.name in boards and not replace):
        raise ConfigError(
            f"there is a board {board.name!r} already",
            mend="Choose another name"
            + ("." if board.name == EMULATED else ", or replace it with --replace, or bench board rm it."),
        )
    boards[board.name] = board
    _save(boards)


def remove(name: str) -> None:
    """Take a board out of the file. Raises ConfigError: it is not there, or always there."""
    get(name)
    if name == EMULATED:
        raise ConfigError(f"{EMULATED} is always there")
    boards = load()
    del boards[name]
    _save(boards)


def _save(boards: Mapping[str, Board]) -> None:
    """Replace the file as a whole; readable by its owner only, since hosts are nobody else's business."""
    path = path_of()
    entries = {}
    for name, board in boards.items():
        if name != EMULATED:
            entry = {
                key: value for key, value in asdict(board).items() if value is not None and key != "name"
            }
            entries[name] = {**entry, "ssh_options": list(board.ssh_options)}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump({"version": VERSION, "boards": entries}, out, indent=1)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
