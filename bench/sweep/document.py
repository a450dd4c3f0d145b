"""The grammar of a sweep file: from plain values to named parts. Names are looked up later.

A part that is wrong is reported to `Problems` and left out, so that one reading finds all mistakes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from bench.core.cells import Protocol
from bench.sweep.problems import Path, Problems

SWEEP_FIELDS = (
    "sweep", "title", "models", "variants", "targets", "seeds", "protocol", "params", "measure", "timeout",
    "leave_out",
)  # fmt: skip
MODEL_FIELDS = ("variants", "more_variants", "params")
DEFINITION_FIELDS = ("name", "summary", "base", "params", "teacher", "trunk", "then")
PROTOCOLS = ("full", "quick", "mlperf", "off")
TASK_KINDS = ("build", "evaluate", "measure")
NOT_APPLICABLE = "n/a:"
MAX_NAME = 120
MAX_SEEDS = 1000


@dataclass(frozen=True)
class Given:
    """A value and the place it was given."""

    value: Any
    path: Path


@dataclass(frozen=True)
class StepUse:
    step: str
    params: dict[str, Given]
    path: Path


@dataclass(frozen=True)
class Definition:
    """A variant that the sweep file defines. Tails are chains, or the reason why there is none."""

    name: str
    path: Path
    summary: str | None = None
    base: str | None = None
    params: dict[str, Given] = field(default_factory=dict)
    teacher: tuple[StepUse, ...] | None = None
    trunk: tuple[StepUse, ...] | None = None
    then: tuple[StepUse, ...] = ()
    tails: dict[str, tuple[StepUse, ...] | str] = field(default_factory=dict)


@dataclass(frozen=True)
class VariantUse:
    """A variant in a list of variants, with overrides (`sparsity` or `prune.sparsity`)."""

    name: str
    path: Path
    overrides: dict[str, Given] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelUse:
    name: str
    path: Path
    variants: tuple[VariantUse, ...] | None = None
    more: tuple[VariantUse, ...] = ()
    params: dict[str, Given] = field(default_factory=dict)


@dataclass(frozen=True)
class TargetUse:
    name: str
    path: Path
    options: dict[str, Given] = field(default_factory=dict)


@dataclass
class Document:
    """What a sweep file says."""

    name: str = ""
    title: str = ""
    models: list[ModelUse] = field(default_factory=list)
    variants: tuple[VariantUse, ...] = ()
    definitions: dict[str, Definition] = field(default_factory=dict)
    targets: list[TargetUse] = field(default_factory=list)
    leave_out: list[Given] = field(default_factory=list)
    seeds: tuple[int, ...] = (0, 1, 2)
    protocol: Protocol = field(default_factory=Protocol)
    #: step or model name -> what is under it; sorted out by bench.sweep.chains
    params: dict[str, Given] = field(default_factory=dict)
    measure_all_seeds: bool = False
    timeouts: dict[str, float] = field(default_factory=dict)


def unsafe_name(name: str) -> str | None:
    """Why a name cannot stand in files, LaTeX, HTML and labels as it is, or None."""
    if not name:
        return "is empty"
    if len(name) > MAX_NAME:
        return f"is longer than {MAX_NAME} characters"
    if name != unicodedata.normalize("NFC", name):
        return "is not in Unicode normal form C"
    bad = sorted({char for char in name if not (char.isalnum() or char in "-_.[]=,")})
    if bad:
        return f"has {' '.join(map(repr, bad[:5]))}; allowed are letters, digits and - _ . [ ] = ,"
    if name[0] in "-." or ".." in name:
        return "starts with '-' or '.', or has '..'"
    return None


class Reader:
    """Reads a `Document`; what is wrong goes to `problems`."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self.document = Document()

    # -- checks of shape ------------------------------------------------------------------------

    def mapping(self, value: object, path: Path, known: Iterable[str] | None = None) -> dict[str, Any]:
        """The mapping without unknown keys; empty if it is none."""
        if not isinstance(value, dict):
            self.wrong_type(path, "a mapping (key: value)", value)
            return {}
        if known is None:
            return value
        names = tuple(known)
        for key in value:
            if key not in names:
                self.problems.unknown((*path, key), "field", key, names)
        return {key: item for key, item in value.items() if key in names}

    def items(self, value: object, path: Path) -> list[tuple[Path, Any]]:
        """Items of a list with their paths; lists in it (from aliases) are laid flat."""
        if not isinstance(value, list):
            self.wrong_type(path, "a list ([a, b] or lines that start with -)", value)
            return []
        found: list[tuple[Path, Any]] = []
        for n, item in enumerate(value):
            found += self.items(item, (*path, n)) if isinstance(item, list) else [((*path, n), item)]
        return found

    def text(self, value: object, path: Path) -> str | None:
        if isinstance(value, str) and value.isprintable():
            return value
        self.wrong_type(path, "one line of text", value)
        return None

    def name(self, value: object, path: Path) -> str | None:
        """A new name, safe everywhere it will stand."""
        text = self.text(value, path)
        reason = unsafe_name(text) if text is not None else None
        if text is None or reason is None:
            return text
        self.problems.add(path, f"the name {text[:MAX_NAME]!r} {reason}")
        return None

    def number(self, value: object, path: Path, *, least: float, most: float, whole: bool) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
            self.wrong_type(path, "a whole number" if whole else "a number", value)
            return None
        if not least <= value <= most:
            self.problems.add(path, f"{value} is not in [{least:g}, {most:g}]")
            return None
        return int(value) if whole else float(value)

    def seconds(self, value: object, path: Path) -> float | None:
        """A time limit."""
        found: float | None = self.number(value, path, least=1, most=1e7, whole=False)
        return found

    def wrong_type(self, path: Path, expected: str, value: object) -> None:
        got = {dict: "a mapping", list: "a list", type(None): "nothing"}.get(type(value), repr(value)[:60])
        self.problems.add(path, f"{expected} was expected, not {got}")

    def single(self, value: object, path: Path, kind: str) -> tuple[str, Any, Path] | None:
        """`name` or `{name: what it gets}` as (name, what, path of what)."""
        if isinstance(value, str):
            return value, {}, path
        if isinstance(value, dict) and len(value) == 1:
            ((name, inner),) = value.items()
            return name, {} if inner is None else inner, (*path, name)
        self.wrong_type(path, f"the name of a {kind}, or {{name: {{...}}}},", value)
        return None

    def given(self, value: object, path: Path) -> dict[str, Given]:
        return {key: Given(item, (*path, key)) for key, item in self.mapping(value, path).items()}

    # -- the parts ------------------------------------------------------------------------------

    def read(self, value: object, default_name: str) -> Document:
        top = self.mapping(value, (), SWEEP_FIELDS)
        document = self.document
        document.name = self.name(top.get("sweep", default_name), ("sweep",)) or ""
        if "title" in top:
            document.title = self.text(top["title"], ("title",)) or ""
        if "params" in top:
            document.params = self.given(top["params"], ("params",))
        for key in ("models", "targets"):
            if not top.get(key):
                self.problems.add((key,) if key in top else (), f"no {key}: a sweep needs at least one")
        if "variants" in top:
            document.variants = self.variants(top["variants"], ("variants",))
        for path, item in self.items(top.get("models") or [], ("models",)):
            self.model(item, path)
        for path, item in self.items(top.get("targets") or [], ("targets",)):
            found = self.single(item, path, "target")
            if found:
                document.targets.append(TargetUse(found[0], path, self.given(found[1], found[2])))
        if "seeds" in top:
            document.seeds = self.seeds(top["seeds"], ("seeds",))
        if "protocol" in top:
            document.protocol = self.protocol(top["protocol"], ("protocol",))
        for path, item in self.items(top.get("leave_out") or [], ("leave_out",)):
            pattern = self.text(item, path)
            if pattern:
                document.leave_out.append(Given(pattern, path))
        if "measure" in top:
            self.measure(top["measure"], ("measure",))
        for key, item in self.mapping(top.get("timeout", {}), ("timeout",), TASK_KINDS).items():
            seconds = self.seconds(item, ("timeout", key))
            if seconds is not None:
                document.timeouts[key] = seconds
        return document

    def model(self, value: object, path: Path) -> None:
        found = self.single(value, path, "model")
        if not found:
            return
        name, inner, at = found
        parts = self.mapping(inner, at, MODEL_FIELDS)
        own = self.variants(parts["variants"], (*at, "variants")) if "variants" in parts else None
        more = self.variants(parts.get("more_variants", []), (*at, "more_variants"))
        params = self.given(parts.get("params", {}), (*at, "params"))
        if any(use.name == name for use in self.document.models):
            self.problems.add(path, f"model {name!r} is there twice")
            return
        self.document.models.append(ModelUse(name, path, own, more, params))

    def variants(self, value: object, path: Path) -> tuple[VariantUse, ...]:
        uses = []
        for at, item in self.items(value, path):
            if isinstance(item, dict) and "name" in item:
                definition = self.definition(item, at)
                if definition:
                    uses.append(VariantUse(definition.name, at))
                continue
            found = self.single(item, at, "variant")
            if found:
                uses.append(VariantUse(found[0], at, self.given(found[1], found[2])))
        return tuple(uses)

    def definition(self, value: dict[str, Any], path: Path) -> Definition | None:
        name = self.name(value["name"], (*path, "name"))
        if name is None:
            return None
        parts: dict[str, Any] = {"name": name, "path": path, "tails": {}}
        for key, item in value.items():
            at = (*path, key)
            if key in ("summary", "base"):
                parts[key] = self.text(item, at)
            elif key == "params":
                parts[key] = self.given(item, at)
            elif key in ("teacher", "trunk", "then"):
                parts[key] = self.steps(item, at)
            elif key != "name":  # a format; bench.sweep.chains knows which there are
                parts["tails"][key] = self.tail(item, at)
        if "trunk" not in parts and "base" not in parts:
            self.problems.add(path, f"variant {name!r} has neither a trunk nor a base: its chain is empty")
        if name in self.document.definitions:
            first = self.problems.where(self.document.definitions[name].path)
            self.problems.add(path, f"variant {name!r} is defined twice (first at {first})")
            return None
        definition = Definition(**parts)
        self.document.definitions[name] = definition
        return definition

    def tail(self, value: object, path: Path) -> tuple[StepUse, ...] | str:
        if isinstance(value, str) and value.startswith(NOT_APPLICABLE):
            reason = value.removeprefix(NOT_APPLICABLE).strip()
            if not reason:
                self.problems.add(path, "n/a needs a reason", 'Write for example "n/a: no int8 in Keras".')
            return self.text(reason, path) or "no reason given"
        if isinstance(value, str):
            self.problems.add(path, 'a chain ([step, ...]) or "n/a: reason" was expected')
            return ()
        return self.steps(value, path)

    def steps(self, value: object, path: Path) -> tuple[StepUse, ...]:
        uses = []
        for at, item in self.items(value, path):
            found = self.single(item, at, "step")
            if found:
                uses.append(StepUse(found[0], self.given(found[1], found[2]), at))
        return tuple(uses)

    def seeds(self, value: object, path: Path) -> tuple[int, ...]:
        """A list of seeds, or how many (from 0)."""
        if not isinstance(value, list):
            count = self.number(value, path, least=1, most=MAX_SEEDS, whole=True)
            return tuple(range(count)) if count else (0,)
        seeds = []
        for at, item in self.items(value, path):
            seed = self.number(item, at, least=0, most=2**31 - 1, whole=True)
            if seed in seeds:
                self.problems.add(at, f"seed {seed} is there twice")
            elif seed is not None:
                seeds.append(seed)
        if not value or len(seeds) > MAX_SEEDS:
            self.problems.add(path, f"between 1 and {MAX_SEEDS} seeds are needed")
        return tuple(seeds)

    def protocol(self, value: object, path: Path) -> Protocol:
        """The name of a preset, or `{preset: quick, rounds: 10, ...}`."""
        if isinstance(value, str):
            if value in PROTOCOLS:
                return Protocol.preset(value)
            self.problems.unknown(path, "protocol", value, PROTOCOLS)
            return Protocol()
        names = [item.name for item in fields(Protocol) if item.name != "name"]
        parts = self.mapping(value, path, ["preset", *names])
        preset = self.protocol(parts.pop("preset", "full"), (*path, "preset")) if parts else Protocol()
        changed: dict[str, Any] = {}
        for key, item in parts.items():
            whole = isinstance(getattr(preset, key), int)
            number = self.number(item, (*path, key), least=0, most=10_000, whole=whole)
            if number is not None:
                changed[key] = number
        if changed.get("min_samples") == 0:
            self.problems.add((*path, "min_samples"), "at least one sample is needed")
        everything = {item: getattr(preset, item) for item in names} | changed
        return Protocol(name=f"{preset.name}-custom" if changed else preset.name, **everything)

    def measure(self, value: object, path: Path) -> None:
        seeds = self.mapping(value, path, ("seeds",)).get("seeds", "first")
        if seeds not in ("first", "all"):
            self.problems.add((*path, "seeds"), f"'first' or 'all' was expected, not {seeds!r}")
        self.document.measure_all_seeds = seeds == "all"
