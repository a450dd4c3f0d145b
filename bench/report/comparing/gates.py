"""Limits on what a comparison may show: `accuracy drops 1pt`, `latency +10%`. For CI.

A gate fails where a number is worse by the limit or more *and* the change is beyond the noise (verdict
`worse`); where a number is gone; where latencies cannot be compared; and where there is nothing to judge.
Never because of a number that is merely noisy: that is told, and undecided.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from bench.errors import ConfigError, did_you_mean
from bench.report.comparing.compare import EXACT, SIZES, Change, Comparison
from bench.report.frames import formats

#: Word in an expression -> metrics that it speaks of.
WORDS: dict[str, tuple[str, ...]] = {
    "accuracy": ("accuracy",),
    "latency": ("latency_p50",),
    "size": SIZES,
    "file": ("file_bytes",),
    "gzip": ("gzip_bytes",),
    **{name: (name,) for name in EXACT},
}
#: Numbers that are not decided, told for each limit.
SHOWN = 5
_DOWN, _UP, _ANY = ("drops", "drop", "falls", "-", "−"), ("rises", "rise", "grows", "+"), ("worse", "worsens")
_POINTS, _PERCENT = ("pt", "pts", "point", "points", "pp"), ("%", "percent")
_FORM = re.compile(
    r"\s*(?P<word>\w+)(?P<way>\s*[+\-−]|\s+[a-z]+)\s*(?:by\s+)?"
    r"(?P<amount>\d+(?:\.\d*)?|\.\d+)?\s*(?P<unit>%|[a-z]*)\s*",
    re.IGNORECASE,
)
_MEND = "Write a number and how much worse it may get: 'accuracy drops 1pt', 'latency +10%', 'size +5%'."


@dataclass(frozen=True)
class Gate:
    """One limit.

    Attributes:
        text: as it was written.
        limit: smallest change for the worse that fails: a difference for accuracy (0.01 is one point),
            a ratio for all else (1.1 is 10 % more). No limit (0, 1): every change beyond the noise.
    """

    text: str
    metrics: tuple[str, ...]
    limit: float

    def exceeded(self, change: Change) -> bool:
        if change.metric == "accuracy":
            return change.verdict == "worse" and -change.change >= self.limit - 1e-12
        return change.verdict == "worse" and change.change >= self.limit - 1e-12


@dataclass
class Outcome:
    """What a gate says to a comparison: one line for each number that fails it, or is undecided."""

    gate: Gate
    failures: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        lines = [f"{'passed' if self.passed else 'FAILED'}: {self.gate.text}"]
        lines += [f"  {line}" for line in self.failures]
        lines += [f"  not decided: {line}" for line in self.undecided[:SHOWN]]
        if len(self.undecided) > SHOWN:
            lines.append(f"  not decided: {len(self.undecided) - SHOWN} more")
        return "\n".join(lines)


def parse(text: str) -> Gate:
    """One expression.

    Raises:
        ConfigError: it is none; the message says what was not understood.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ConfigError("not understood", where=f"--fail-if {text!r}", mend=_MEND)
    word, way, amount, unit = (found[name] or "" for name in ("word", "way", "amount", "unit"))
    word, way, unit = word.lower(), way.strip().lower(), unit.lower()

    def wrong(what: str, mend: str = _MEND) -> ConfigError:
        return ConfigError(what, where=f"--fail-if {text!r}", mend=mend)

    if word not in WORDS:
        raise wrong(f"no number {word!r} is compared", did_you_mean(word, WORDS))
    accuracy = word == "accuracy"
    if way in _ANY:
        if amount or unit:
            raise wrong(f"{way!r} takes no amount")
        return Gate(text.strip(), WORDS[word], 0.0 if accuracy else 1.0)
    if way not in _DOWN + _UP:
        raise wrong(f"{way!r} is no change")
    if (way in _DOWN) != accuracy:
        raise wrong(f"a {'higher' if accuracy else 'lower'} {word} is no failure")
    if not amount:
        raise wrong("without an amount")
    if unit not in (_POINTS if accuracy else _PERCENT):
        told = "percentage points, such as 1pt" if accuracy else "percent, such as 10%"
        raise wrong(f"the amount has to be in {told}")
    share = float(amount) / 100
    return Gate(text.strip(), WORDS[word], share if accuracy else 1 + share)


def judge(gates: Sequence[Gate], found: Comparison) -> list[Outcome]:
    """What each gate says."""
    return [_judge(gate, found) for gate in gates]


def _judge(gate: Gate, found: Comparison) -> Outcome:
    outcome = Outcome(gate, [f"{model}: not in the new run" for model in found.gone])
    judged = 0
    for change in found.changes:
        if change.metric not in gate.metrics:
            continue
        place = " ".join(
            filter(None, (change.model, change.variant, change.target, _name(change), change.scope))
        )
        if change.verdict == "removed":
            outcome.failures.append(f"{place}: gone ({change.note or 'not in the new run'})")
        elif change.verdict == "not comparable":
            outcome.failures.append(f"{place}: cannot be judged, measured on different machines")
        elif change.verdict == "unclear":
            judged += 1
            outcome.undecided.append(f"{place}: {_told(change)} ({change.note or 'within the noise'})")
        elif change.verdict != "added":
            judged += 1
            if gate.exceeded(change):
                outcome.failures.append(f"{place}: {_told(change)}")
    if not judged and not outcome.failures:
        outcome.failures.append("no such number in both runs: nothing to judge")
    return outcome


def _name(change: Change) -> str:
    return change.metric if change.metric != "latency_p50" else "latency"


def _told(change: Change) -> str:
    known = math.isfinite(change.low)
    if change.metric == "accuracy":
        value = formats.plus_minus(*(100 * x for x in (change.change, change.low, change.high)), sign=True)
        return f"{value} points"
    percent = [100 * (x - 1) for x in (change.change, change.low, change.high)]
    return f"{percent[0]:+.1f} %" + (f" [{percent[1]:+.1f}, {percent[2]:+.1f}]" if known else "")


def to_json(found: Comparison, outcomes: Sequence[Outcome]) -> str:
    """Everything that was found, for programs; numbers that are not there are null."""
    changes = [
        {
            name: None if isinstance(x, float) and not math.isfinite(x) else x
            for name, x in asdict(one).items()
        }
        for one in found.changes
    ]
    limits = [
        {"limit": o.gate.text, "passed": o.passed, "failures": o.failures, "undecided": o.undecided}
        for o in outcomes
    ]
    value = {"statements": found.statements, "gone": found.gone, "changes": changes, "limits": limits}
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
