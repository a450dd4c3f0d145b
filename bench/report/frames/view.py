"""The frame of one model, ready to be looked up: what tables, pictures and notes are made from."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from bench.report.metrics import COST, HARDWARE, LINKS, PLACED, STAGES, WORDS, scope_order
from bench.report.records.read import BASELINE

if TYPE_CHECKING:
    import pandas as pd

#: Where a number of a design, board or meter belongs: (scope, stage, origin).
Place = tuple[str, str, str]

CONTROLS = {
    "baseline_longer": "control: the baseline trained for the extra epochs of the fine-tuned variants",
    "student_scratch": "control: the student trained alone, without a teacher",
}


class Number(NamedTuple):
    """One number of the frame, NaN where there is none; `seeds`: how many have it. Its words are columns of
    the frame (`bench.report.metrics.COLUMN_DOCS`)."""

    value: float
    low: float
    high: float
    n: int | None
    status: str
    reason: str
    scope: str = ""
    origin: str = ""
    seeds: int = 0
    missing: str = ""
    failed_step: str = ""
    verdict: str = ""
    comparison: str = ""
    tool: str = ""
    first_difference: str = ""
    caveat: str = ""
    seeds_failed: int = 0

    def __repr__(self) -> str:
        # Pictures are told apart by the `repr` of what they show, and no picture shows a reason.
        fields = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items() if name != "reason")
        return f"Number({fields})"

    @property
    def known(self) -> bool:
        return self.status == "ok" and math.isfinite(self.value)


class ModelView:
    """Numbers of one model in one sweep: aggregated over seeds, and per seed.

    Attributes:
        variants, targets: in the order of the sweep.
    """

    def __init__(self, sweep: str, model: str, table: pd.DataFrame) -> None:
        self.sweep, self.model = sweep, model
        self.variants: list[str] = []
        self.targets: list[str] = []
        self.seeds: list[int] = []
        self._means: dict[tuple[str, str, str], dict[str, Number]] = {}
        self._seeds: dict[tuple[str, str, str, str, int], Number] = {}
        self._hardware: dict[tuple[str, str], dict[Place, dict[str, Number]]] = {}
        places = ("variant", "target", "seed", "metric", "scope", "origin", "stage")
        told = ("value", "low", "high", "n", "status", "reason")
        lists = [table[name].tolist() for name in (*places, *told, *WORDS, "seeds_failed")]
        rows = list(zip(*lists, strict=True))
        many = Counter((*r[:2], *r[3:7]) for r in rows if isinstance(r[2], int) and r[11] == "ok")
        for variant, target, seed, metric, scope, origin, stage, *rest in rows:
            value, low, high, n, status, reason, *words, failed = rest
            seeds = 1 if isinstance(seed, int) else many[variant, target, metric, scope, origin, stage]
            found = int(n) if isinstance(n, int) else None
            number = Number(value, low, high, found, status, reason, scope, origin, seeds, *words)
            if isinstance(failed, int) and failed:
                number = number._replace(seeds_failed=failed)
            if metric in PLACED:
                if not isinstance(seed, int):
                    by_place = self._hardware.setdefault((target, metric), {})
                    by_place.setdefault((scope, stage, origin), {})[variant] = number
            elif isinstance(seed, int):
                self._seeds[variant, target, metric, scope, seed] = number
            else:
                self._means.setdefault((variant, target, metric), {})[scope] = number
        self.variants = list(dict.fromkeys(lists[0]))
        self.targets = list(dict.fromkeys(lists[1]))
        self.seeds = sorted({key[-1] for key in self._seeds})

    def get(self, variant: str, target: str, metric: str, scope: str = "") -> Number | None:
        """The number over all seeds; with one seed an accuracy has the interval of that seed."""
        scopes = self._means.get((variant, target, metric))
        if scopes is None:
            return None
        # A cell without any number has a row without scope: it speaks for every scope.
        number = scopes.get(scope) or scopes.get("")
        if number is not None and number.known and number.n == 1 and metric in ("accuracy", "agreement"):
            single = [self.seed(variant, target, metric, scope, seed) for seed in self.seeds]
            return next((one for one in single if one is not None and one.known), number)
        return number

    def seed(self, variant: str, target: str, metric: str, scope: str, seed: int) -> Number | None:
        return self._seeds.get((variant, target, metric, scope, seed))

    def value(self, variant: str, target: str, metric: str, scope: str = "") -> float:
        """The value alone, NaN where there is none."""
        number = self.get(variant, target, metric, scope)
        return number.value if number is not None and number.known else math.nan

    def scopes(self, target: str) -> list[str]:
        """Scopes of latency on a target, the narrowest first."""
        return self._scopes.get(target, [])

    @cached_property
    def _scopes(self) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        for (_, target, metric), scopes in self._means.items():
            if metric == "latency_p50":
                found.setdefault(target, set()).update(s for s, number in scopes.items() if number.known)
        return {target: sorted(scopes, key=scope_order) for target, scopes in found.items()}

    def known(self, target: str, metric: str, scope: str = "") -> Iterator[tuple[str, Number]]:
        """(variant, number) of all variants that have it on a target."""
        for variant in self.variants:
            number = self.get(variant, target, metric, scope)
            if number is not None and number.known:
                yield variant, number

    def hardware(self, target: str, metric: str) -> dict[Place, dict[str, Number]]:
        """Numbers of a design, board or meter over all seeds: (scope, stage, origin) -> variant -> number,
        by stage."""
        found = self._hardware.get((target, metric), {})
        order = {stage: place for place, stage in enumerate(STAGES)}
        return dict(sorted(found.items(), key=lambda item: (order.get(item[0][1], -1), item[0])))

    def links(self, target: str) -> list[str]:
        """What was compared along the chains of a target, in the order of the chains."""
        scopes: dict[str, None] = {}
        for variant in self.variants:
            found = self._means.get((variant, target, "mismatches"), {})
            scopes.update(dict.fromkeys(scope for scope, number in found.items() if number.known))
        return list(scopes)

    @cached_property
    def fpga_targets(self) -> list[str]:
        """Targets with a number that only designs for FPGAs have."""
        found = {target for target, metric in self._hardware if metric in HARDWARE}
        for (_, target, metric), scopes in self._means.items():
            if metric in COST + LINKS and any(number.known for number in scopes.values()):
                found.add(target)
        return [target for target in self.targets if target in found]

    @cached_property
    def simulated(self) -> list[str]:
        """Targets whose accuracy is that of a simulation."""
        return [
            target
            for target in self.targets
            if any(number.origin == "simulated" for _, number in self.known(target, "accuracy"))
        ]

    @cached_property
    def primary(self) -> str:
        """The target with most scored variants; simulated designs, which have neither file nor time,
        only where nothing else is scored. Where several tie: the last kind of target (deployment
        comes after training), and of its options the first."""
        counts = {target: sum(1 for _ in self.known(target, "accuracy")) for target in self.targets}
        counts |= {
            t: 0 for t in self.fpga_targets if any(n for o, n in counts.items() if o not in self.fpga_targets)
        }
        most = max(counts.values(), default=0)
        best = [target for target in self.targets if counts[target] == most]
        return next((target for target in best if base_name(target) == base_name(best[-1])), "")

    def distinct(self, metric: str) -> list[str]:
        """Targets whose numbers of a metric differ: options such as threads change no accuracy.

        One that has the same numbers as another, only fewer of them, is none of its own.
        """
        found: dict[str, dict[str, float]] = {}
        for target in self.targets:
            values = {variant: self.value(variant, target, metric) for variant in self.variants}
            found[target] = {variant: value for variant, value in values.items() if not math.isnan(value)}

        def covers(other: str, target: str) -> bool:
            mine, theirs = found[target], found[other]
            if base_name(other) != base_name(target) or not mine.items() <= theirs.items():
                return False
            earlier = self.targets.index(other) < self.targets.index(target)
            return len(theirs) > len(mine) or (earlier and other != target)

        return [
            target
            for target in self.targets
            if found[target] and not any(covers(other, target) for other in self.targets)
        ]

    def noise(self, target: str, scope: str) -> float:
        """A/A gap of a target: differences within it are noise. NaN if unknown."""
        return self.value(BASELINE, target, "latency_noise", scope)

    def all_numbers(self) -> Iterator[tuple[str, str, str, Number]]:
        """(variant, target, metric, number) aggregated over seeds."""
        for (variant, target, metric), scopes in self._means.items():
            for number in scopes.values():
                yield variant, target, metric, number


#: targets that are boards, which have names of their own
BOARDS = ("pynq", "pynq_tflite")


def base_name(target: str) -> str:
    return target.partition("[")[0]


def short_name(target: str) -> str:
    """Without options. A board keeps its own, since they say whether it is one or is emulated."""
    name = base_name(target)
    return target if name in BOARDS else name


def views(table: pd.DataFrame) -> list[ModelView]:
    """One view for each sweep and model of a frame, in its order."""
    return [
        ModelView(str(sweep), str(model), part)
        for (sweep, model), part in table.groupby(["sweep", "model"], sort=False)
    ]


def role(variant: str) -> str:
    """`reference`, `control`, `student` or empty."""
    if variant == BASELINE:
        return "reference"
    if variant in CONTROLS:
        return "control"
    return "student" if variant.startswith("distilled") else ""


#: a share of a cost that is no difference on a front: gzip gives so many bytes more or less by chance
SAME_COST = 0.01


def pareto(points: list[tuple[str, float, float]], same: float = 0.0) -> set[str]:
    """Names on the front of (name, cost, gain): none gains more at the same cost or less, or as much at less.

    Args:
        same: costs that differ by no more than this share are the same.
    """
    ordered = sorted(points, key=lambda point: point[1])
    costs = [cost for _, cost, _ in ordered]
    best = list(accumulate((gain for *_, gain in ordered), max))  # of all that cost as much or less
    front: set[str] = set()
    for name, cost, gain in ordered:
        here = best[bisect_right(costs, cost * (1 + same)) - 1]
        cheaper = bisect_left(costs, cost / (1 + same))
        if gain >= here and (cheaper == 0 or gain > best[cheaper - 1]):
            front.add(name)
    return front


def candidates(view: ModelView) -> list[str]:
    """Variants that one might deploy: all but the controls."""
    return [variant for variant in view.variants if role(variant) != "control"]


def size_front(view: ModelView) -> set[str]:
    """Pareto members of accuracy against gzip bytes, on the primary target."""
    target = view.primary
    sizes = dict(view.known(target, "gzip_bytes"))
    scored = dict(view.known(target, "accuracy"))
    return pareto(
        [(v, sizes[v].value, scored[v].value) for v in candidates(view) if v in sizes and v in scored],
        SAME_COST,
    )


def latency_front(view: ModelView, target: str, scope: str) -> set[str]:
    """Pareto members of accuracy against latency; only numbers whose verdict is ok take part, and what is
    within the A/A gap is no difference."""
    gap = view.noise(target, scope)
    scored = dict(view.known(target, "accuracy"))
    times = {v: n for v, n in view.known(target, "latency_p50", scope) if n.scope == scope and not n.verdict}
    return pareto(
        [(v, times[v].value, scored[v].value) for v in candidates(view) if v in times and v in scored],
        max(SAME_COST, gap) if math.isfinite(gap) else SAME_COST,
    )
