"""Which packages are installed, in which versions."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable
from functools import cache
from importlib import metadata

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
