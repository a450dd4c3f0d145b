"""Text that comes from a board or a file, made fit to print: no control characters, bounded length."""

from __future__ import annotations


def printable(text: str, limit: int = 4000) -> str:
    """Line breaks stay, other control characters (terminal escapes, bidi marks) become `?`."""
    text = text.replace("\r\n", "\n")
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in cut.replace("\t", " "))


def one_line(text: str, limit: int = 300) -> str:
    """The same on one line."""
    return " ".join(printable(text, limit).split())
