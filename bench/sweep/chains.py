"""Whether the steps of a chain fit together."""

from __future__ import annotations

from collections.abc import Sequence

from bench.core.cells import Chain, StepSpec
from bench.core.registry import STEPS
from bench.errors import ConfigError


def check_chain(chain: Chain, format: str, *, where: str) -> None:
    """See that a chain starts from nothing, that formats fit from step to step and to the target.

    Raises:
        ConfigError: it does not; names `where` and the two that do not fit.
    """
    gives = _check_steps(chain.steps, where)
    if gives != format:
        raise ConfigError(
            f"the chain ends in format {gives!r}, but the target runs {format!r}",
            where=where,
            mend=f"The last step is {chain.steps[-1].step!r}; add a step that gives {format!r}.",
        )
    learners = [spec.step for spec in chain.steps if STEPS.get(spec.step).teacher == "required"]
    if learners and not chain.teacher:
        raise ConfigError(
            f"step {learners[0]!r} needs a teacher",
            where=where,
            mend="Give the variant a `teacher:` chain, for example [train].",
        )
    if chain.teacher:
        inside = f"{where}, teacher"
        gives = _check_steps(chain.teacher, inside)
        if gives != "keras" and gives != STEPS.get(chain.steps[0].step).gives:
            raise ConfigError(f"a teacher cannot have format {gives!r}", where=inside)
        for spec in chain.teacher:
            if STEPS.get(spec.step).teacher == "required":
                raise ConfigError(f"a teacher cannot have a teacher (step {spec.step!r})", where=inside)


def _check_steps(steps: Sequence[StepSpec], where: str) -> str:
    """Format that the steps end in."""
    if not steps:
        raise ConfigError("the chain has no steps", where=where)
    before: str | None = None
    for number, spec in enumerate(steps):
        step = STEPS.get(spec.step)
        if number == 0 and step.takes is not None:
            raise ConfigError(
                f"step {spec.step!r} needs something to start from (format {step.takes!r})",
                where=where,
                mend="Begin the chain with a step that starts one, for example train.",
            )
        if number > 0 and step.takes is None:
            raise ConfigError(f"step {spec.step!r} starts a chain and can only come first", where=where)
        if step.takes != before:
            raise ConfigError(
                f"step {spec.step!r} takes format {step.takes!r}, "
                f"but {steps[number - 1].step!r} before it gives {before!r}",
                where=where,
            )
        before = step.gives
    assert before is not None
    return before
