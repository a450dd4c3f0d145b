"""The errors that a user sees: one message that says what is wrong, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class BenchError(Exception):
    """Base of all errors that are the user's to mend. `str(error)` is the whole message.

    Args:
        what: what is wrong, one sentence.
        where: the place: a file with line, a field path, a cell.
        mend: what to do about it.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        self.what, self.where, self.mend = what, where, mend
        text = f"{where}: {what}" if where else what
        super().__init__(f"{text}\n  {mend}" if mend else text)


class ConfigError(BenchError):
    """A sweep file, an option or a name is wrong. Raised before any work starts."""


class DataError(BenchError):
    """A data set cannot be had, or is not what it should be."""


class ArtifactError(BenchError):
    """A file (.tflite, .keras, .npz, archive) is truncated, foreign or hostile."""


class StoreError(BenchError):
    """The results folder cannot be read or written."""


class DamagedResult(BenchError):
    """A field of a task's result is missing, or is not what it should be."""


class OtherVersion(StoreError):
    """A record of a version of this program that this one cannot read. It is not damaged, and stays."""


class StepError(BenchError):
    """A step ran and could not give its artifact (NaN loss, unsupported layer, …)."""


class CheckFailed(StepError):
    """A step ran, but what its name claims is not true of what it made."""


class Unavailable(BenchError):
    """It cannot be had: this machine lacks a package, a tool or a board, or the network is of a kind
    that the target does not know. The cell is skipped."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`"did you mean 'pruned'? Known: baseline, pruned"` for a mistyped name."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    listing = ", ".join(names) if names else "none"
    return (f"Did you mean {near[0]!r}? " if near else "") + f"Known: {listing}."
