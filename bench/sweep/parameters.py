"""Parameters of steps and options of targets: checked by their pydantic models, completed, remembered."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bench.core.registry import Registry
from bench.errors import BenchError
from bench.sweep.document import Given
from bench.sweep.problems import Path, Problems

T = TypeVar("T")


def takes_list(model: type[BaseModel], name: str) -> bool:
    """Whether the field's own values are lists (so that a list is no grid)."""
    annotation = model.model_fields[name].annotation
    options = typing.get_args(annotation) or (annotation,)
    kinds = {typing.get_origin(item) or item for item in (annotation, *options)}
    return bool(kinds & {list, tuple, set, frozenset})


class Parameters:
    """Completes parameters with defaults. Each distinct set is validated once."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems
        self._done: dict[tuple[type[BaseModel], str], dict[str, Any] | list[tuple[str, str]]] = {}
        self._objects: dict[tuple[str, str], Any] = {}

    def find(self, registry: Registry[T], name: str, path: Path) -> T | None:
        """A registered object, or None and a problem."""
        known = (registry.kind, name)
        if known not in self._objects:
            self._objects[known] = None
            if name in registry:
                try:
                    self._objects[known] = registry.get(name)
                except Exception as error:  # a plugin that does not import must not look absent
                    reason = (
                        error.what if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
                    )
                    self.problems.add(path, f"{registry.kind} {name!r} cannot be loaded: {reason}")
        if name not in registry:
            self.problems.unknown(path, registry.kind, name, registry.names())
        found: T | None = self._objects[known]
        return found

    def complete(
        self, model: type[BaseModel], given: Mapping[str, Given], path: Path, owner: str
    ) -> dict[str, Any] | None:
        """All fields of `model` as JSON values, defaults filled in; None and problems if wrong.

        Args:
            owner: whose parameters, as the message says it: `step 'prune'`.
        """
        unknown = [name for name in given if name not in model.model_fields]
        for name in unknown:
            self.problems.unknown(given[name].path, f"parameter of {owner}", name, model.model_fields)
        if unknown:
            return None
        text = json.dumps({name: item.value for name, item in given.items()}, sort_keys=True)
        if (model, text) not in self._done:
            self._done[(model, text)] = _validate(model, text)
        result = self._done[(model, text)]
        if isinstance(result, dict):
            return result
        for name, message in result:
            at = given[name].path if name in given else path
            value = f"{json.dumps(given[name].value)[:60]}: " if name in given else ""
            mend = (
                "Lists as grids belong to `variants` and `targets`."
                if (name in given and isinstance(given[name].value, list))
                else None
            )
            whose = f"parameter {name!r} of {owner}" if name else owner  # no name: they do not go together
            self.problems.add(at, f"{whose}: {value}{message}", mend)
        return None


def _validate(model: type[BaseModel], text: str) -> dict[str, Any] | list[tuple[str, str]]:
    """Strict: no text for numbers, no truth values for numbers. JSON mode, so that lists give tuples."""
    try:
        return model.model_validate_json(text, strict=True).model_dump(mode="json")
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        return [
            (str(item["loc"][0]) if item["loc"] else "", item["msg"].removeprefix("Value error, "))
            for item in found
        ]
