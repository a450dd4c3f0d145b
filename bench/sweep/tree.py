"""YAML as plain values with line numbers, without YAML's surprises.

Scalars follow the YAML 1.2 core schema: `on`, `no`, `1:30` and `2:4` are text, `1e-3` is a number
(PyYAML's YAML 1.1 reads them as true, false, 90, 124 and text). Duplicate keys, tags, merge keys
and more than one document are refused; size, depth and what aliases expand to are limited.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from bench.errors import ConfigError
from bench.sweep.problems import Path

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_NODES = 200_000

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True)
class Tree:
    """A decoded file: JSON values, and the line (from 1) of each field path."""

    value: Any
    lines: dict[Path, int]


@dataclass
class _Node:
    line: int
    scalar: Any = None
    items: list[_Node] | None = None
    pairs: list[tuple[str, int, _Node]] | None = None


def scalar(text: str, where: str) -> Any:
    """Value of a plain scalar by the YAML 1.2 core schema.

    Raises:
        ConfigError: a number that is not finite.
    """
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text) and len(text) <= 40:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _SPECIAL_FLOAT.fullmatch(text):
        raise ConfigError(f"{text} is not a finite number", where=where)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise ConfigError(f"{text[:40]} is not a finite number", where=where)
        return number
    return text


def read_yaml(text: str, source: str) -> Tree:
    """Decode YAML text.

    Raises:
        ConfigError: not YAML, or YAML that sweep files do without (see the module), with the line.
    """
    if len(text) > MAX_BYTES:
        raise ConfigError(f"larger than {MAX_BYTES:,} bytes: not a sweep file", where=source)
    try:
        node = _Builder(source).document(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"not YAML: {what}", where=place) from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise ConfigError(f"not YAML: {str(error).splitlines()[0]}", where=source) from None
    if node is None:
        raise ConfigError("the file is empty", where=source)
    return _Expander(source).expand(node)


def read_value(value: object, source: str) -> Tree:
    """A tree from Python values instead of a file (for tests and callers from Python).

    Raises:
        ConfigError: something in it is not a JSON value.
    """
    count = 0

    def check(item: object, depth: int) -> Any:
        nonlocal count
        count += 1
        if depth > MAX_DEPTH or count > MAX_NODES:
            raise ConfigError("nested too deeply, or too large", where=source)
        if item is None or isinstance(item, bool | int | str):
            return item
        if isinstance(item, float):
            if not math.isfinite(item):
                raise ConfigError(f"{item} is not a finite number", where=source)
            return item
        if isinstance(item, list | tuple):
            return [check(child, depth + 1) for child in item]
        if isinstance(item, dict) and all(isinstance(key, str) for key in item):
            return {key: check(child, depth + 1) for key, child in item.items()}
        raise ConfigError(f"{type(item).__name__} is not a JSON value", where=source)

    return Tree(check(value, 0), {})


class _Builder:
    """Events of the parser to nodes. Aliases share nodes, so this stays linear in the text."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.anchors: dict[str, _Node] = {}

    def document(self, text: str) -> _Node | None:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        events = iter(yaml.parse(text, Loader=loader))
        found: _Node | None = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if found is not None:
                    raise ConfigError("more than one YAML document", where=self._place(event))
                found = self.node(next(events), events, 0)
        return found

    def node(self, event: Any, events: Iterator[Any], depth: int) -> _Node:
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise ConfigError(f"nested more than {MAX_DEPTH} deep", where=self._place(event))
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.anchors:
                raise ConfigError(
                    f"alias *{event.anchor} comes before its anchor is complete", where=self._place(event)
                )
            return self.anchors[event.anchor]
        if event.tag is not None:
            raise ConfigError(f"tag {event.tag!r}: sweep files have no tags", where=self._place(event))
        node = _Node(line)
        if isinstance(event, yaml.ScalarEvent):
            plain = event.implicit[0]
            node.scalar = scalar(event.value, self._place(event)) if plain else event.value
        elif isinstance(event, yaml.SequenceStartEvent):
            node.items = []
            while not isinstance(child := next(events), yaml.SequenceEndEvent):
                node.items.append(self.node(child, events, depth + 1))
        else:
            node.pairs = self._pairs(events, depth)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def _pairs(self, events: Iterator[Any], depth: int) -> list[tuple[str, int, _Node]]:
        pairs: list[tuple[str, int, _Node]] = []
        seen: dict[str, int] = {}
        while not isinstance(key := next(events), yaml.MappingEndEvent):
            place, line = self._place(key), key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarEvent):
                raise ConfigError("a key must be text", where=place)
            if key.value == "<<" and key.implicit[0]:
                raise ConfigError("merge keys (<<) are not supported", where=place)
            if key.value in seen:
                raise ConfigError(f"key {key.value!r} again (first in line {seen[key.value]})", where=place)
            seen[key.value] = line
            pairs.append((key.value, line, self.node(next(events), events, depth + 1)))
        return pairs

    def _place(self, event: Any) -> str:
        return f"{self.source}:{event.start_mark.line + 1}"


@dataclass
class _Expander:
    """Nodes to values; each alias is expanded, and what that comes to is limited."""

    source: str
    count: int = 0
    lines: dict[Path, int] = field(default_factory=dict)

    def expand(self, root: _Node) -> Tree:
        return Tree(self._value(root, (), root.line), self.lines)

    def _value(self, node: _Node, path: Path, line: int) -> Any:
        self.count += 1
        if self.count > MAX_NODES or len(path) > MAX_DEPTH:
            raise ConfigError("too large when its aliases are expanded", where=f"{self.source}:{node.line}")
        self.lines[path] = line
        if node.items is not None:
            return [self._value(child, (*path, n), child.line) for n, child in enumerate(node.items)]
        if node.pairs is not None:
            return {key: self._value(child, (*path, key), at) for key, at, child in node.pairs}
        return node.scalar
