"""Pictures: accuracy against size, latency and the cost of a design, with Pareto front and error bars.

The same data give the same bytes: no dates, no random ids. matplotlib without a display.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.report import formats
from bench.report.metrics import METRICS
from bench.report.view import ModelView, Number, candidates, latency_front, pareto, role

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Stands for the colour of text and axes; inside the page it becomes the page's own.
INK = "#1b1f24"
FRONT, REFERENCE, CONTROL, STUDENT, OTHER = "#d55e00", "#1b1f24", "#8a8f98", "#009e73", "#0072b2"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    # Names are shown as they are: no mathematics between dollar signs.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
MARKERS = {"reference": "D", "control": "x", "student": "^", "": "o"}
COLOURS = {"reference": REFERENCE, "control": CONTROL, "student": STUDENT, "": OTHER}
SIZE = (6.4, 4.2)
DPI = 160
FAST = {"compress_level": 1}


@dataclass(frozen=True)
class Point:
    name: str
    role: str
    cost: Number
    accuracy: Number
    noisy: bool


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: file name without ending.
        description: what it shows, for those who cannot see it.
        svg, png: file contents.
    """

    name: str
    title: str
    description: str
    svg: str
    png: bytes

    def inline(self, prefix: str) -> str:
        """The SVG to be put into a page: page's own text colour, ids of its own, no XML header."""
        text = self.svg[self.svg.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'\bid="', f'id="{prefix}-', text)
        text = re.sub(r"url\(#", f"url(#{prefix}-", text)
        text = re.sub(r'href="#', f'href="#{prefix}-', text)
        text = text.replace(INK, "currentColor")
        return text.replace("<svg ", '<svg role="img" ', 1)


@dataclass(frozen=True)
class Plan:
    """A picture that is not drawn yet."""

    name: str
    model: str
    title: str
    target: str
    points: list[Point]
    front: set[str]
    label: str
    scale: formats.Scale

    @property
    def description(self) -> str:
        best = ", ".join(point.name for point in self.points if point.name in self.front)
        return (
            f"{self.model}: {self.title}; {len(self.points)} variants. On the Pareto front: {best or 'none'}."
        )


def plans(view: ModelView, slug: str) -> list[Plan]:
    """Accuracy against gzip size, against latency on each target, and against the cost of designs for
    FPGAs (EBOPs, else weight bits). None for fewer than two points."""
    found: list[Plan] = []

    def add(
        name: str, title: str, target: str, points: list[Point], front: set[str], unit: str, label: str
    ) -> None:
        scale = formats.scale_for(unit, [point.cost.value for point in points])
        label += f" / {scale.unit}" if scale.unit else ""
        found.append(Plan(f"{slug}-{name}", view.model, title, target, points, front, label, scale))

    target = view.primary
    points = _points(view, target, "gzip_bytes", "")
    if len(points) > 1:
        title, label = "accuracy against size", f"gzip size ({target})"
        add("accuracy-size", title, target, points, _cheapest(view, points), "bytes", label)
    for place in view.targets:
        for scope in view.scopes(place)[:1]:
            points = _points(view, place, "latency_p50", scope)
            if len(points) > 1:
                title = f"accuracy against latency, {place}"
                label = f"latency, median of one call ({place}, {scope})"
                front = latency_front(view, place, scope)
                add(f"accuracy-latency-{_slug(place)}", title, place, points, front, "s", label)
    for metric in ("ebops", "weight_bits"):
        costs = [place for place in view.distinct(metric) if place in view.fpga_targets]
        costs = [place for place in costs if len(_points(view, place, metric, "")) > 1]
        for place in costs:
            points, named = _points(view, place, metric, ""), METRICS[metric].title
            title = f"accuracy against {named}, {place}"
            front = _cheapest(view, points)
            add(f"accuracy-{_slug(named)}-{_slug(place)}", title, place, points, front, "1", named)
        if costs:
            break
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def _cheapest(view: ModelView, points: list[Point]) -> set[str]:
    """Pareto members of accuracy against cost."""
    deployable = candidates(view)
    return pareto([(p.name, p.cost.value, p.accuracy.value) for p in points if p.name in deployable])


def _points(view: ModelView, target: str, metric: str, scope: str) -> list[Point]:
    scored = dict(view.known(target, "accuracy"))
    return [
        Point(variant, role(variant), number, scored[variant], bool(number.verdict))
        for variant, number in view.known(target, metric, scope)
        if variant in scored and number.value > 0
    ]


def draw(plan: Plan) -> tuple[str, bytes]:
    """SVG and PNG of one picture; the same plan gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes((0.105, 0.125, 0.875, 0.795))
        # Plain texts at fixed places: matplotlib's own titles and labels are laid out anew at every
        # drawing, which takes longer than all the rest.
        figure.text(0.105, 0.945, _text(f"{plan.model}: {plan.title}"), fontsize=10, fontweight="bold")
        figure.text(0.542, 0.02, _text(plan.label), ha="center")
        figure.text(0.012, 0.52, _text(f"test accuracy ({plan.target}) / %"), va="center", rotation=90)
        axes.grid(True, which="major", color="#8a8f98", alpha=0.25, linewidth=0.6)
        points, front, factor = plan.points, plan.front, plan.scale.factor
        for kind in dict.fromkeys((point.role, point.noisy) for point in points):
            _draw(axes, [p for p in points if (p.role, p.noisy) == kind], factor)
        _limits(axes, points, factor)
        line = _front_line(axes, points, front, factor)
        _labels(figure, axes, points, front, factor, line)
        return _saved(figure)


def _saved(figure: Figure) -> tuple[str, bytes]:
    svg, png = io.StringIO(), io.BytesIO()
    with warnings.catch_warnings():
        # A script that the font lacks: the SVG leaves it to the reader's fonts, the PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        figure.savefig(
            png, format="png", dpi=DPI, facecolor="white", metadata={"Software": None}, pil_kwargs=FAST
        )
    return svg.getvalue(), png.getvalue()


def _draw(axes: Axes, points: list[Point], factor: float) -> None:
    """Points of one kind with their error bars."""
    colour = COLOURS[points[0].role]
    axes.errorbar(
        [point.cost.value * factor for point in points],
        [point.accuracy.value * 100 for point in points],
        xerr=_bars([point.cost for point in points], factor),
        yerr=_bars([point.accuracy for point in points], 100),
        fmt=MARKERS[points[0].role],
        color=colour,
        # A hollow mark is a latency that is not to be trusted.
        markerfacecolor="none" if points[0].noisy else colour,
        markersize=6,
        elinewidth=0.8,
        zorder=3,
    )


def _bars(numbers: list[Number], factor: float) -> list[list[float]]:
    """Lengths of the error bars, (2, n): below and above; zero without an interval."""
    ends = [(n.value - n.low, n.high - n.value) for n in numbers]
    return [[max(0.0, end[i]) * factor if math.isfinite(end[i]) else 0.0 for end in ends] for i in (0, 1)]


def _limits(axes: Axes, points: list[Point], factor: float) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    xs = [point.cost.value * factor for point in points]
    low, high = min(xs), max(xs)
    axes.set_xscale("log")
    room = max(1.25, (high / low) ** 0.09)
    axes.set_xlim(low / room, high * room)
    axes.xaxis.set_major_locator(FixedLocator(_ticks(low / room, high * room)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ends = [
        100 * end
        for p in points
        for end in (p.accuracy.value, p.accuracy.low, p.accuracy.high)
        if math.isfinite(end)
    ]
    bottom, top = min(ends), min(max(ends), 100.0)
    room = max(0.08 * (top - bottom), 0.05)
    axes.set_ylim(bottom - room, top + room)


def _ticks(low: float, high: float) -> list[float]:
    """About three to nine round numbers on a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            break
    return ticks


def _front_line(
    axes: Axes, points: list[Point], front: set[str], factor: float
) -> list[tuple[float, float, float]]:
    """Draw the front; returns its level parts as (from, to, height) in data coordinates."""
    members = sorted((p.cost.value * factor, p.accuracy.value * 100) for p in points if p.name in front)
    if not members:
        return []
    xs, ys = zip(*members, strict=True)
    edge = axes.get_xlim()[1]
    axes.step([*xs, edge], [*ys, ys[-1]], where="post", color=FRONT, linewidth=1.1, alpha=0.8, zorder=2)
    axes.plot(
        xs,
        ys,
        "o",
        markersize=11,
        markerfacecolor="none",
        markeredgecolor=FRONT,
        markeredgewidth=1.1,
        zorder=2,
    )
    return list(zip(xs, [*xs[1:], edge], ys, strict=True))


def _labels(
    figure: Figure,
    axes: Axes,
    points: list[Point],
    front: set[str],
    factor: float,
    line: list[tuple[float, float, float]],
) -> None:
    """Names beside their points, each where it covers least of what is already there."""
    spots = axes.transData.transform([(p.cost.value * factor, p.accuracy.value * 100) for p in points])
    box = axes.get_window_extent()
    unit = figure.dpi / 72
    taken = [(x - 5 * unit, y - 5 * unit, x + 5 * unit, y + 5 * unit) for x, y in spots]
    for point, (x, _) in zip(points, spots, strict=True):
        ends = [end * 100 for end in (point.accuracy.low, point.accuracy.high) if math.isfinite(end)]
        if ends:
            bottom, top = (float(axes.transData.transform((1, end))[1]) for end in ends)
            taken.append((x - unit, bottom, x + unit, top))
    for start, end, height in line:
        (x0, y0), (x1, _) = axes.transData.transform([(start, height), (end, height)])
        taken.append((x0 + 6 * unit, y0 - unit, x1, y0 + unit))
    order = sorted(range(len(points)), key=lambda i: (points[i].name not in front, i))
    for index in order:
        point, (x, y) = points[index], spots[index]
        wide, tall = 4.9 * unit * len(point.name), 9.5 * unit
        best: tuple[float, tuple[float, float, float, float], str, str, float, float] | None = None
        for reach in (7.0, 15.0, 24.0, 34.0):
            if best is not None and best[0] <= 3 * reach:
                break
            for right, up in ((1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1)):
                dx, dy = right * reach, up * reach
                left = x + dx * unit - (0 if right > 0 else wide if right < 0 else wide / 2)
                low = y + dy * unit - (tall / 2 if up == 0 else 0 if up > 0 else tall)
                area = (left, low, left + wide, low + tall)
                outside = max(0.0, box.x0 - left) + max(0.0, left + wide - box.x1)
                outside += max(0.0, box.y0 - low) + max(0.0, low + tall - box.y1)
                cost = sum(_overlap(area, other) for other in taken) + 50 * outside + 3 * reach
                if best is None or cost < best[0]:
                    sides = "left" if right > 0 else "right" if right < 0 else "center"
                    vertical = "center" if up == 0 else "bottom" if up > 0 else "top"
                    best = (cost, area, sides, vertical, dx, dy)
        assert best is not None
        _, area, side, vertical, dx, dy = best
        taken.append(area)
        far = max(abs(dx), abs(dy)) > 10
        axes.annotate(
            _text(point.name),
            (point.cost.value * factor, point.accuracy.value * 100),
            xytext=(dx, dy),
            textcoords="offset points",
            ha=side,
            va=vertical,
            fontsize=8,
            fontweight="bold" if point.name in front else "normal",
            arrowprops={"arrowstyle": "-", "color": "#8a8f98", "linewidth": 0.6} if far else None,
        )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    tall = min(a[3], b[3]) - max(a[1], b[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def _text(text: str) -> str:
    """Without control characters, which would make the SVG unreadable."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
