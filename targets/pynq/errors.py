"""What goes wrong with boards, each with its mend."""

from __future__ import annotations

import re

from bench.errors import BenchError
from targets.pynq import scripts
from targets.pynq.inventory import Board
from targets.pynq.printable import one_line, printable


class BoardError(BenchError):
    """A board cannot be used, or did not do what it was asked. `about`: the check that it fails."""

    about = "reachable"


class BoardLost(BoardError):
    """The connection ended, or nothing came for too long. What was measured is on the board."""


class BoardUnreachable(BoardError):
    """Nobody answers at its address."""


class NoSudo(BoardError):
    """We are not root there, and cannot become it without a password."""

    about = "sudo"


class NoPython(BoardError):
    """The Python that is named there is missing, or too old for the agent."""

    about = "Python"


class NoNumpy(BoardError):
    """Its Python has no numpy, which the agent needs."""

    about = "numpy"


class AgentFailed(BoardError):
    """It is reached, but the agent does not run there, or makes no sense."""

    about = "agent"


class NoSpace(BoardError):
    """Its disk is full."""

    about = "space"


class BoardBusy(BoardError):
    """Another job is running on the board."""


#: What ssh says -> what is wrong, and the mend; the first that is found counts. Filled in: {host}, {at} (with
#: the user) and {key} (as in known_hosts).
_SAID = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host key of {host} is not the one that is known: another machine answers, or it was set up anew",
        "If the board was set up anew: ssh-keygen -R {key}, then connect once by hand and compare the "
        "fingerprint.",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "the host key of {host} is not known",
        "Connect once by hand (ssh {at}), compare the fingerprint with that of the board's console "
        "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), and accept it.",
    ),
    (
        r"Permission denied|Too many authentication failures|No more authentication methods",
        "{at} does not let us in: no key of ours is accepted (passwords are never asked for)",
        "Put your key there once: ssh-copy-id {at} (xilinx's first password on PYNQ images is xilinx); or "
        "name the key: --ssh-option IdentityFile=PATH.",
    ),
    (
        r"Could not resolve hostname|Name or service not known",
        "{host} is not a name that is known here",
        "See the address on its console (hostname -I); replace the entry: bench board add --replace.",
    ),
    (
        r"Bad configuration option|Bad owner or permissions|keyword .* (?:extra|missing)|unsupported option",
        "ssh does not understand its configuration",
        "Mend ~/.ssh/config, or the board's --ssh-option.",
    ),
)  # fmt: skip


#: The same for a board that may come back by itself.
_AWAY = (
    (
        r"Connection refused",
        "{host} refuses the connection: no ssh server listens there",
        "See that the board has booted, and that the port is right.",
    ),
    (
        r"[Cc]onnect.*timed out|No route to host|Network is unreachable|Host is down|banner exchange",
        "{host} cannot be reached",
        "See that the board is on, its cable in, and this machine in its network (ping it).",
    ),
)


_IMAGES = "that of PYNQ's images is /usr/local/share/pynq-venv/bin/python3"


def ssh_error(board: Board, err: str) -> BoardError:
    """What an exit of ssh with code 255 means."""
    at, port = board.destination
    host = at.rpartition("@")[2]
    names = {"at": at, "host": host, "key": f"'[{host}]:{port}'" if port else host}
    words = printable(err, 2000).strip()
    for kind, known in ((BoardError, _SAID), (BoardUnreachable, _AWAY)):
        for pattern, what, mend in known:
            if re.search(pattern, err):
                mend = mend.format(**names) + _quote(words)
                return kind(what.format(**names), where=f"board {board.name}", mend=mend)
    return BoardLost(
        "the connection was lost",
        where=f"board {board.name}",
        mend=f"What was measured is kept there: the same command goes on where it was.{_quote(words)}",
    )


def _quote(words: str) -> str:
    return "".join(f"\n  ssh: {line}" for line in words.splitlines()[-4:])


def script_error(board: Board, code: int, err: str, what: str) -> BoardError:
    """What it means that a script of ours ended with this exit code."""
    said, where = printable(err, 2000).strip(), f"board {board.name}"
    last = "\n  ".join(said.splitlines()[-6:]) or None
    if code == scripts.NO_SUDO:
        return NoSudo(
            "sudo asks for a password there",
            where=where,
            mend='On the board: echo "$USER ALL=(ALL) NOPASSWD: ALL" | sudo tee /etc/sudoers.d/edge-bench '
            "(or add it with --no-sudo, if nothing there needs root).",
        )
    if code in (scripts.NO_PYTHON, scripts.OLD_PYTHON):
        old = f"{board.python} is Python {one_line(said, 40)}; the agent needs 3.8 or newer"
        return NoPython(
            old if code == scripts.OLD_PYTHON else f"there is no {board.python}",
            where=where,
            mend=f"Name one: bench board add {board.name} --replace … --python PATH; {_IMAGES}.",
        )
    if code == scripts.NO_NUMPY:
        return NoNumpy(
            f"{board.python} has no numpy ({one_line(said, 200)})",
            where=where,
            mend=f"On the board: apt-get install python3-numpy; or name another Python: --python; {_IMAGES}.",
        )
    if code == scripts.NO_SPACE or "No space left" in said:
        return NoSpace(
            f"no space: {one_line(said, 200)}",
            where=where,
            mend=f"Delete what is old there, such as {board.folder}/jobs/ of jobs that are done.",
        )
    if code == scripts.NO_FOLDER:
        return AgentFailed(f"its folder {board.folder} cannot be used", where=where, mend=last)
    if code == scripts.NO_TOOL:
        return AgentFailed(
            one_line(said), where=where, mend="There: apt-get install util-linux coreutils tar"
        )
    if code == scripts.OTHER:
        return BoardError(f"{what}: files there are missing or changed", where=where, mend="Run it again.")
    return AgentFailed(f"{what} (exit code {code})", where=where, mend=last)
