"""All that is wrong with a sweep file, gathered with its place and told at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.errors import ConfigError, did_you_mean

Path = tuple[str | int, ...]
MAX_SHOWN = 20


def field_path(path: Path) -> str:
    """`variants[3].pruned.sparsity`"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class Problems:
    """Gathers problems; `raise_if_any` tells them all.

    Args:
        source: the file's name as the user knows it.
        lines: field path -> line number, from 1.
    """

    def __init__(self, source: str, lines: Mapping[Path, int] | None = None) -> None:
        self.source = source
        self.lines = lines or {}
        self._found: dict[tuple[str, str, str | None], None] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def where(self, path: Path) -> str:
        """`sweep.yaml:12: variants[3].pruned`; the line of the nearest field that has one."""
        line = next((self.lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self.lines), None)
        place = self.source + (f":{line}" if line is not None else "")
        return f"{place}: {field_path(path)}" if path else place

    def add(self, path: Path, what: str, mend: str | None = None) -> None:
        self._found[(self.where(path), what, mend)] = None

    def unknown(self, path: Path, kind: str, name: str, known: Iterable[str]) -> None:
        """A name that does not exist, with the nearest that does."""
        self.add(path, f"unknown {kind} {name!r}", did_you_mean(name, known))

    def raise_if_any(self) -> None:
        """Raise ConfigError with every problem, in the order found."""
        if not self._found:
            return
        errors = [ConfigError(what, where=where, mend=mend) for where, what, mend in self._found]
        if len(errors) == 1:
            raise errors[0]
        shown = "\n".join(str(error) for error in errors[:MAX_SHOWN])
        more = f"\nand {len(errors) - MAX_SHOWN} more" if len(errors) > MAX_SHOWN else ""
        raise ConfigError(f"{len(errors)} problems in {self.source}\n{shown}{more}")
