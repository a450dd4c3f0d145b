"""Identity of code: a digest of what a plugin does, wherever its files lie.

From a plugin's class or object on, every definition that it can reach is followed: functions, classes,
constants and the loose statements of their modules, in the packages whose code changes numbers. Names of
modules, import lines, comments, docstrings and layout do not count, so a file may be moved or split, and a
module renamed, without a result being made again. Files that the code reads beside itself
(`Path(__file__).with_name("simulate.cpp")`) and modules that it starts as programs count with their contents.

Code that was rewritten without changing any result keeps its digest by an entry in `same_code.json`.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

#: packages whose code changes numbers; the package of a plugin is added to them
PACKAGES = (
    "models",
    "targets",
    "bench.core.agreement",
    "bench.core.intervals",
    "bench.core.size",
    "bench.formats",
    "bench.objectives",
    "bench.scoring",
    "bench.steps",
    "bench.timing",
)
#: they say what a plugin looks like and compute nothing
CONTRACTS = frozenset({"models.base", "targets.base", "bench.core.step"})
SAME_CODE = Path(__file__).with_name("same_code.json")

#: fields of syntax nodes that say nothing about what runs, or that some Pythons lack
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def identity(*places: str) -> str:
    """sha256 of what code does.

    Args:
        places: `module:attribute`, or `module` for all that is in it.

    Returns:
        The digest under which results of this code are on record: that of `digest`, unless `same_code.json`
        says that the code was only rewritten since.
    """
    today = digest(*places)
    return _known().get(today, today)


def digest(*places: str) -> str:
    """sha256 of the definitions that the places reach, as they are today."""
    reach = _Reach(_scope(places))
    for place in places:
        module, _, attribute = place.partition(":")
        if attribute:
            reach.definition(module, attribute.partition(".")[0])
        else:
            reach.module(module)
    return hashlib.sha256("\n".join(sorted(reach.code)).encode()).hexdigest()


def same_code() -> dict[str, dict[str, str]]:
    """Entries of `same_code.json`: `{what: {"code": digest, "known_as": digest on record}}`."""
    entries: dict[str, dict[str, str]] = json.loads(SAME_CODE.read_text(encoding="utf-8"))
    return entries


@cache
def _known() -> dict[str, str]:
    return {entry["code"]: entry["known_as"] for entry in same_code().values()}


def _scope(places: tuple[str, ...]) -> tuple[str, ...]:
    modules = [place.partition(":")[0] for place in places]
    return (*PACKAGES, *(m if m.startswith("bench.") else m.partition(".")[0] for m in modules))


@dataclass(frozen=True)
class _Target:
    """What an imported name stands for: a module, or an attribute of one."""

    module: str
    attribute: str | None = None


@dataclass
class _Module:
    """The top level of one source file.

    Attributes:
        definitions: statements that bind each name.
        loose: statements that bind none.
        imports: what imported names stand for, wherever in the file they are imported.
    """

    name: str
    path: Path
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    loose: list[ast.stmt] = field(default_factory=list)
    imports: dict[str, _Target] = field(default_factory=dict)


class _Reach:
    """Collects the code that is reached."""

    def __init__(self, scope: tuple[str, ...]) -> None:
        self.scope = scope
        self.code: set[str] = set()
        self._seen: set[tuple[str, str]] = set()

    def inside(self, module: str) -> bool:
        return module not in CONTRACTS and any(
            module == package or module.startswith(package + ".") for package in self.scope
        )

    def module(self, name: str) -> None:
        """Everything in a module."""
        parsed = _parsed(name) if self.inside(name) and (name, "<all>") not in self._seen else None
        self._seen.add((name, "<all>"))
        if parsed is not None:
            self._loose(parsed)
            for definition in parsed.definitions:
                self.definition(name, definition)
            for target in parsed.imports.values():
                self.target(target)

    def resolved(self, target: _Target) -> _Target:
        """`from package import name`: a module, where the package has one of that name and binds no other."""
        if target.attribute is None or not self.inside(f"{target.module}.{target.attribute}"):
            return target
        package = _parsed(target.module)
        if package is not None and target.attribute in package.definitions:
            return target
        inner = f"{target.module}.{target.attribute}"
        return _Target(inner) if _parsed(inner) is not None else target

    def target(self, target: _Target) -> None:
        target = self.resolved(target)
        if target.attribute is None:
            self.module(target.module)
        else:
            self.definition(target.module, target.attribute)

    def definition(self, module: str, name: str) -> None:
        """One name of a module, and all that it refers to."""
        if (module, name) in self._seen or not self.inside(module):
            return
        self._seen.add((module, name))
        parsed = _parsed(module)
        if parsed is None:
            return
        self._loose(parsed)
        for statement in parsed.definitions.get(name, ()):
            self._statement(parsed, statement)
        if name not in parsed.definitions and name in parsed.imports:
            self.target(parsed.imports[name])  # passed on

    def _loose(self, parsed: _Module) -> None:
        if (parsed.name, "<loose>") not in self._seen:
            self._seen.add((parsed.name, "<loose>"))
            for statement in parsed.loose:
                self._statement(parsed, statement)

    def _statement(self, parsed: _Module, statement: ast.stmt) -> None:
        writer = _Writer(parsed, self)
        self.code.add(writer.text(statement))
        if writer.reads_itself:
            self._resources(parsed, statement)
        for target in writer.targets:
            self.target(target)
        for name in writer.names:
            self.definition(parsed.name, name)

    def _resources(self, parsed: _Module, statement: ast.stmt) -> None:
        """Files beside the module that a statement with `__file__` names; the module itself where none is."""
        names = [node.value for node in ast.walk(statement) if isinstance(node, ast.Constant)]
        files = [parsed.path.parent / name for name in names if isinstance(name, str) and _plain(name)]
        files = [path for path in files if path.is_file()]
        for path in files:
            sibling = f"{parsed.name.rpartition('.')[0]}.{path.stem}"
            if path.suffix == ".py":
                self.target(_Target(sibling))
            else:
                self.code.add(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}")
        if not files and any(isinstance(node, ast.List) for node in ast.walk(statement)):
            self.target(_Target(parsed.name))  # started as a program


def _plain(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..") and len(name) < 200


class _Writer:
    """Text of a statement without what does not count; notes what it refers to on the way."""

    def __init__(self, parsed: _Module, reach: _Reach) -> None:
        self.parsed, self.reach = parsed, reach
        self.targets: list[_Target] = []
        self.names: list[str] = []
        self.reads_itself = False

    def text(self, node: ast.AST) -> str:
        if isinstance(node, ast.Attribute | ast.Name):
            return self._reference(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self._string(node.value)
        if isinstance(node, ast.Constant):
            return repr(node.value)
        fields = []
        for name, value in ast.iter_fields(node):
            if name in _SILENT or value is None or value == []:
                continue
            if name == "body" and isinstance(node, _Definition):
                value = _without_docstring(value)
            fields.append(f"{name}={self._value(value)}")
        return f"{type(node).__name__}({','.join(fields)})"

    def _value(self, value: object) -> str:
        if isinstance(value, ast.AST):
            return self.text(value)
        if isinstance(value, list):
            kept = [item for item in value if not isinstance(item, ast.Import | ast.ImportFrom)]
            return f"[{','.join(self._value(item) for item in kept)}]"
        return repr(value)

    def _string(self, value: str) -> str:
        """A string; one that names a module of ours stands for what is in it."""
        dotted = "." in value and value.replace(".", "").isidentifier() and self.reach.inside(value)
        if not dotted or _parsed(value) is None:
            return repr(value)
        self.targets.append(_Target(value))
        return "module"

    def _reference(self, node: ast.Attribute | ast.Name) -> str:
        """A name, or a dotted one: modules in front of it are left out."""
        chain: list[str] = []
        root: ast.AST = node
        while isinstance(root, ast.Attribute):
            chain.insert(0, root.attr)
            root = root.value
        if not isinstance(root, ast.Name):
            assert isinstance(node, ast.Attribute)
            return f"{self.text(node.value)}.{node.attr}"
        if root.id == "__file__":
            self.reads_itself = True
        target = self.parsed.imports.get(root.id)
        if target is None:
            self.names.append(root.id)
            return ".".join([root.id, *chain])
        target = self.reach.resolved(target)
        while target.attribute is None and chain:
            deeper = f"{target.module}.{chain[0]}"
            is_module = self.reach.inside(deeper) and _parsed(deeper) is not None
            target = _Target(deeper) if is_module else _Target(target.module, chain[0])
            chain.pop(0)
        if target.attribute == "__file__":
            target = _Target(target.module)
        self.targets.append(target)
        if target.attribute is None and not self.reach.inside(target.module):
            return ".".join([target.module, *chain])
        outside = "" if self.reach.inside(target.module) else _package(target.module)
        return ".".join(filter(None, [outside, target.attribute or "module", *chain]))


def _package(module: str) -> str:
    """Of a module of another package, which it is; nothing of ours that computes no numbers."""
    return "" if module.partition(".")[0] in ("bench", "models", "targets") else module


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest or [ast.Pass()]
    return body


@cache
def _parsed(module: str) -> _Module | None:
    """A module's top level; None where there is no such source file."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_bytes())
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    parsed = _Module(module, Path(spec.origin), imports=dict(_imports(tree, package)))
    for statement in _without_docstring(tree.body):
        if isinstance(statement, ast.Import | ast.ImportFrom | ast.Pass) or _for_types_only(statement):
            continue
        names = set(_bound(statement))
        for name in names:
            parsed.definitions.setdefault(name, []).append(statement)
        if not names:
            parsed.loose.append(statement)
    return parsed


def _for_types_only(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.If)
        and isinstance(statement.test, ast.Name)
        and statement.test.id == "TYPE_CHECKING"
    )


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement of the top level binds."""
    if isinstance(statement, _Definition):
        yield statement.name
        return
    for node in ast.iter_child_nodes(statement):
        if isinstance(node, ast.stmt):
            yield from _bound(node)
        elif isinstance(node, ast.ExceptHandler):
            for inner in node.body:
                yield from _bound(inner)
        else:
            for name in ast.walk(node):
                if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                    yield name.id


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, _Target]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                yield name, _Target(alias.name if alias.asname else name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                yield alias.asname or alias.name, _Target(base, alias.name)
