"""Identity of code and tools: what must be equal for an old result to stand for a new one.

A plugin's fingerprint covers its own module and, transitively, the modules it imports from the
packages whose code changes numbers. Comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

#: packages whose code changes numbers; the package of a plugin is added to them
PACKAGES = ("models", "targets", "bench.steps", "bench.scoring", "bench.timing", "bench.keras_env")
#: they say what a plugin looks like and compute nothing
CONTRACTS = frozenset({"models.base", "targets.base", "bench.steps.base"})
#: import names whose distribution is called something else
_DISTRIBUTIONS = {"sklearn": "scikit-learn", "tensorflow_model_optimization": "tensorflow-model-optimization"}

#: what is used in the place of a package that is not installed (`targets.tflite.runtime`)
STAND_INS = {"ai_edge_litert": "tensorflow"}


@cache
def installed(module: str) -> bool:
    """Whether a package can be found, without importing it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@cache
def version(module: str) -> str | None:
    """Version of the distribution that an import name comes from; None if it is not installed."""
    try:
        return metadata.version(_DISTRIBUTIONS.get(module, module))
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(module) if installed(module) else None
        return metadata.version(names[0]) if names else None


def usable(module: str) -> bool:
    """Whether a package is installed, or what stands in for it."""
    return installed(module) or installed(STAND_INS.get(module, module))


def lacking(module: str, least: str) -> str | None:
    """`X is not installed`, `X 0.5 is too old (0.6 is needed)`, or None if it is there and new enough."""
    found = version(module)
    if found is None:
        return f"{module} is not installed"
    numbers = [[int(part) for part in re.findall(r"\d+", text)[:2]] for text in (found, least)]
    return f"{module} {found} is too old ({least} is needed)" if numbers[0] < numbers[1] else None


def versions(modules: Iterable[str]) -> dict[str, str | None]:
    """Versions by import name; `tensorflow 2.21.0` where that stands in for the package."""
    return {name: version(name) or _stand_in(name) for name in sorted(set(modules))}


def _stand_in(module: str) -> str | None:
    other = STAND_INS.get(module)
    found = version(other) if other else None
    return f"{other} {found}" if found else None


@cache
def source(module: str) -> str:
    """sha256 over the code of a module and of all it imports from the packages that matter."""
    within = (*PACKAGES, module.partition(".")[0] if not module.startswith("bench.") else module)
    todo, seen = [module], set[str]()
    while todo:
        name = todo.pop()
        if name in seen or name in CONTRACTS or not any(_inside(name, package) for package in within):
            continue
        found = _parsed(name)
        if found is not None:
            seen.add(name)
            todo.extend(found[1])
    listing = "\n".join(f"{name} {_parsed(name)[0]}" for name in sorted(seen))  # type: ignore[index]
    return hashlib.sha256(listing.encode()).hexdigest()


def _inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@cache
def _parsed(module: str) -> tuple[str, tuple[str, ...]] | None:
    """(digest of the code, names it may import) of one module; None if there is no such source."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    tree = ast.parse(Path(spec.origin).read_bytes())
    package = module if spec.submodule_search_locations is not None else module.rpartition(".")[0]
    imported = tuple(_imports(tree, package))
    return hashlib.sha256(_code(tree).encode()).hexdigest(), imported


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _code(tree: ast.Module) -> str:
    """Source text without comments, docstrings and layout. `ast.dump` would differ between Pythons."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(ast.fix_missing_locations(tree))
