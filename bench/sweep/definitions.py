"""Variants of a sweep: definitions with their bases resolved, grids laid out, chains that fit together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from bench.core.cells import Chain, StepSpec
from bench.core.registry import STEPS
from bench.errors import ConfigError
from bench.sweep.chains import check_chain
from bench.sweep.document import DEFINITION_FIELDS, Definition, Given, StepUse, VariantUse, unsafe_name
from bench.sweep.parameters import Parameters, takes_list
from bench.sweep.problems import Path, Problems

if TYPE_CHECKING:
    from bench.core.step import Step

MAX_VARIANTS = 10_000
#: (`trunk` or `teacher`, steps, parameter)
Key = tuple[str, tuple[str, ...], str]
#: formats that artifacts have although no target of this installation may run them
FORMATS = ("keras", "tflite", "fixed")


@dataclass(frozen=True)
class Plan:
    """A variant as it will be built, before the parameters that models and sweep set are added.

    Attributes:
        tails: format -> steps after the trunk, or why the variant does not exist there.
        overrides: (`trunk`/`teacher`, steps, parameter) -> value; stronger than all other sources.
            Several steps where each is in another format's chain (`prune` and `qkeras_qap` of `qap`).
    """

    name: str
    summary: str
    path: Path
    teacher: tuple[StepUse, ...]
    trunk: tuple[StepUse, ...]
    tails: Mapping[str, tuple[StepUse, ...] | str]
    overrides: Mapping[Key, Given] = field(default_factory=dict)


def shipped(path: Path = ()) -> dict[str, Plan]:
    """`bench.sweep.variants.VARIANTS` in the form used here."""
    from bench.sweep.variants import VARIANTS, NotApplicable

    def uses(specs: Iterable[StepSpec]) -> tuple[StepUse, ...]:
        return tuple(
            StepUse(spec.step, {name: Given(value, path) for name, value in spec.params.items()}, path)
            for spec in specs
        )

    return {
        name: Plan(
            name,
            variant.summary,
            path,
            uses(variant.teacher),
            uses(variant.trunk),
            {
                format_: tail.reason if isinstance(tail, NotApplicable) else uses(tail)
                for format_, tail in variant.tails.items()
            },
        )
        for name, variant in VARIANTS.items()
    }


class Variants:
    """All variants that a sweep can name: those that ship and those that its file defines."""

    def __init__(
        self,
        definitions: Mapping[str, Definition],
        formats: Iterable[str],
        parameters: Parameters,
        problems: Problems,
    ) -> None:
        self.problems, self.parameters = problems, parameters
        self.formats = {*FORMATS, *formats}
        self.definitions = definitions
        self._plans: dict[str, Plan | None] = dict(shipped())
        self._shipped = set(self._plans)
        for name in definitions:
            self._plans.pop(name, None)
        for name in definitions:
            self._resolve(name, [])

    def names(self) -> list[str]:
        return sorted(self._shipped | set(self.definitions))

    def get(self, name: str) -> Plan | None:
        return self._plans.get(name)

    def expand(self, uses: Iterable[VariantUse]) -> list[Plan]:
        """The variants of a list, grids laid out."""
        found: dict[str, Plan] = {}
        for use in uses:
            if use.name not in self._plans:
                self.problems.unknown(use.path, "variant", use.name, self.names())
                continue
            base = self._plans[use.name]
            if base is None:
                continue
            for plan in self._grid(base, use):
                if plan.name in found:
                    self.problems.add(use.path, f"variant {plan.name!r} is there twice")
                found[plan.name] = plan
        return list(found.values())

    # -- definitions ----------------------------------------------------------------------------

    def _resolve(self, name: str, pending: list[str]) -> Plan | None:
        if name in self._plans:
            return self._plans[name]
        definition = self.definitions[name]
        base: Plan | None = None
        if definition.base is not None:
            at = (*definition.path, "base")
            chain = [*pending, name]
            if definition.base in chain:
                circle = " → ".join([*chain[chain.index(definition.base) :], definition.base])
                self.problems.add(at, f"variants are based on each other in a circle: {circle}")
            elif definition.base in self._plans or definition.base in self.definitions:
                base = self._resolve(definition.base, chain)
            else:
                self.problems.unknown(at, "variant", definition.base, self.names())
            if base is None:
                self._plans[name] = None
                return None
        self._plans[name] = self._build(definition, base)
        return self._plans[name]

    def _build(self, definition: Definition, base: Plan | None) -> Plan | None:
        path = definition.path
        trunk = definition.trunk if definition.trunk is not None else (base.trunk if base else ())
        trunk += definition.then
        teacher = definition.teacher if definition.teacher is not None else (base.teacher if base else ())
        tails = dict(base.tails) if base else {}
        for format_, tail in definition.tails.items():
            if format_ in self.formats:
                tails[format_] = tail
            else:
                known = (*DEFINITION_FIELDS, *self.formats)
                self.problems.unknown((*path, format_), "field", format_, known)
        if None in [self._step(use) for use in (*trunk, *teacher, *_steps_of(tails))]:
            return None
        if trunk:
            tails.setdefault(STEPS.get(trunk[-1].step).gives, ())
        plan = Plan(
            definition.name,
            definition.summary or (base.summary if base else ""),
            path,
            teacher,
            trunk,
            tails,
            base.overrides if base else {},
        )
        if not self._fits(plan):
            return None
        given = self._overrides(plan, {**self._lists_in_chain(definition), **definition.params})
        return None if given is None else replace(plan, overrides={**plan.overrides, **given})

    def _lists_in_chain(self, definition: Definition) -> dict[str, Given]:
        """Grids written in the chain itself (`trunk: [train, {prune: {sparsity: [0.5, 0.8]}}]`)."""
        return {
            f"{use.step}.{name}": item
            for use in (*(definition.trunk or ()), *definition.then, *_steps_of(definition.tails))
            for name, item in use.params.items()
            if (step := self._step(use)) is not None
            and name in step.Params.model_fields
            and self._is_grid(("trunk", (use.step,), name), item.value)
        }

    def _fits(self, plan: Plan) -> bool:
        """Whether each step takes what the one before it gives, in trunk, tails and teacher."""
        good = True
        if not plan.trunk:
            self.problems.add(plan.path, f"variant {plan.name!r} has an empty chain")
            return False
        for format_, tail in plan.tails.items():
            if isinstance(tail, str):
                continue
            chain = Chain(_specs((*plan.trunk, *tail)), _specs(plan.teacher))
            path = (*plan.path, format_) if tail else plan.path
            try:
                check_chain(chain, format_, where=self.problems.where(path))
            except ConfigError as error:
                self.problems.add(path, f"variant {plan.name!r}: {error.what}", error.mend)
                good = False
        learns = [STEPS.get(use.step).teacher != "no" for use in (*plan.trunk, *_steps_of(plan.tails))]
        if plan.teacher and not any(learns):
            self.problems.add(plan.path, f"variant {plan.name!r} has a teacher that no step learns from")
            good = False
        return good

    def _step(self, use: StepUse) -> Step | None:
        return self.parameters.find(STEPS, use.step, use.path)

    # -- overrides and grids --------------------------------------------------------------------

    def _overrides(self, plan: Plan, given: Mapping[str, Given]) -> dict[Key, Given] | None:
        """`sparsity`, `prune.sparsity`, `teacher.train.epochs` as (part, steps, parameter)."""
        found: dict[Key, Given] = {}
        good = True
        for key, item in given.items():
            where = self._locate(plan, key, item.path)
            if where is None:
                good = False
            elif where in found:
                self.problems.add(item.path, f"parameter {key!r} is there twice under two names")
                good = False
            else:
                found[where] = item
        return found if good else None

    def _locate(self, plan: Plan, key: str, path: Path) -> Key | None:
        *scope, name = key.split(".")
        part = "teacher" if scope[:1] == ["teacher"] else "trunk"
        wanted = scope[1:] if part == "teacher" else scope
        uses = plan.teacher if part == "teacher" else (*plan.trunk, *_steps_of(plan.tails))
        found = {use.step: step for use in uses if (step := self._step(use)) is not None}
        steps = list(found)
        known = {name: step.Params.model_fields for name, step in found.items()}
        if wanted and (len(wanted) > 1 or wanted[0] not in steps):
            self.problems.unknown(path, f"step of variant {plan.name!r}", ".".join(wanted), steps)
            return None
        able = [step for step in (wanted or steps) if name in known[step]]
        if len(able) == 1 and sum(use.step == able[0] for use in plan.trunk) > 1:
            self.problems.add(
                path,
                f"variant {plan.name!r} has step {able[0]!r} more than once",
                "Give the parameter in the chain itself.",
            )
            return None
        if len(able) == 1:
            return part, (able[0],), name
        chains = [{use.step for use in (*plan.trunk, *_steps_of({"": tail}))} for tail in plan.tails.values()]
        if able and part == "trunk" and all(len(chain.intersection(able)) <= 1 for chain in chains):
            return part, tuple(able), name
        if able:
            choices = " or ".join(f"{step}.{name}" for step in able)
            self.problems.add(
                path, f"several steps of variant {plan.name!r} have {name!r}", f"Write {choices}."
            )
        else:
            names = {other for step in (wanted or steps) for other in known[step]}
            self.problems.unknown(path, f"parameter of variant {plan.name!r}", key, names)
        return None

    def _grid(self, base: Plan, use: VariantUse) -> list[Plan]:
        """One plan for each combination of listed values; a plain value is a grid of one."""
        given = self._overrides(base, use.overrides)
        if given is None:
            return []
        axes: dict[Key, list[Any]] = {}
        listed = {key: item for key, item in base.overrides.items() if self._is_grid(key, item.value)}
        for key, item in {**listed, **given}.items():
            axes[key] = item.value if self._is_grid(key, item.value) else [item.value]
            if not axes[key]:
                self.problems.add(item.path, "an empty list: nothing to run")
        total = 1
        for axis in axes.values():
            total *= len(axis)
        if total > MAX_VARIANTS:
            self.problems.add(use.path, f"{total:,} variants: more than {MAX_VARIANTS:,}")
            return []
        paths = {key: item.path for key, item in {**listed, **given}.items()}
        shown = {self._key_text(key, axes): key for key in axes}
        plans = []
        for combination in itertools.product(*axes.values()):
            chosen = dict(zip(axes, combination, strict=True))
            name = base.name
            if chosen:
                name += f"[{','.join(f'{text}={_shown(chosen[key])}' for text, key in shown.items())}]"
            reason = unsafe_name(name)
            if reason:
                self.problems.add(
                    use.path,
                    f"the variant's name {name[:80]!r} {reason}",
                    "Define it with a name of your own: {name: ..., base: ..., params: {...}}",
                )
                return []
            overrides = {key: Given(value, paths[key]) for key, value in chosen.items()}
            summary = base.summary
            if chosen:  # the base's own summary may name the value that is replaced
                values = ", ".join(f"{text} = {_shown(chosen[key])}" for text, key in shown.items())
                summary = f"{base.name} with {values}."
            plans.append(
                replace(
                    base,
                    name=name,
                    summary=summary,
                    path=use.path,
                    overrides={**base.overrides, **overrides},
                )
            )
        return plans

    @staticmethod
    def _key_text(key: Key, axes: Iterable[Key]) -> str:
        """The shortest unambiguous spelling of a parameter among those of the grid."""
        part, (step, *_), name = key
        if sum(other[2] == name for other in axes) == 1 and part == "trunk":
            return name
        return f"teacher.{step}.{name}" if part == "teacher" else f"{step}.{name}"

    @staticmethod
    def _is_grid(key: Key, value: object) -> bool:
        _, (step, *_), name = key
        if not isinstance(value, list):
            return False
        return not takes_list(STEPS.get(step).Params, name) or any(isinstance(item, list) for item in value)


def _steps_of(tails: Mapping[str, tuple[StepUse, ...] | str]) -> list[StepUse]:
    return [use for tail in tails.values() if not isinstance(tail, str) for use in tail]


def _specs(uses: Iterable[StepUse]) -> tuple[StepSpec, ...]:
    return tuple(StepSpec(use.step) for use in uses)


def _shown(value: Any) -> str:
    """A value in a variant's name: `0.5`, `true`, `2-4` for `2:4`."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "".join(char if char.isalnum() or char in "-_." else "-" for char in text)
