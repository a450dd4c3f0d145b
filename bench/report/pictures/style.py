"""What all pictures share: look of each variant, axes, texts, files.

The same data give the same bytes: no dates, no random ids. matplotlib without a display.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.report.frames.view import CONTROLS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Stands for the colour of text and axes; inside the page it becomes the page's own.
INK = "#1b1f24"
GREY = "#8a8f98"
#: Okabe and Ito's colours, told apart with any kind of colour vision.
ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    *("#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00"),
    "#cc79a7",
)
FONT = "DejaVu Sans"
#: What the SVG asks for: other widths than measured here, but never a serif font.
FONTS = f"'{FONT}', Arial, Helvetica, sans-serif"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    # A list of fonts is gone through for every text.
    "font.family": FONT,
    "font.size": 9,
    "pdf.fonttype": 42,
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
DPI = 160
FORMATS = ("svg", "pdf", "png")
WIDTH = 6.4


class Look(NamedTuple):
    """Colour and marker of a variant, the same in every picture: colours tell how it was compressed."""

    colour: str
    marker: str


_LOOKS = {
    "baseline": Look(INK, "D"),
    "pruned": Look(VERMILION, "o"),
    "pruned_filters": Look(VERMILION, "s"),
    "pruned_2_4": Look(VERMILION, "^"),
    "clustered": Look(PURPLE, "o"),
    "ptq": Look(BLUE, "o"),
    "dq": Look(BLUE, "s"),
    "fiq": Look(BLUE, "^"),
    "ptq_fp16": Look(BLUE, "v"),
    "ptq_16x8": Look(BLUE, "P"),
    "qat": Look(SKY, "o"),
    "qap": Look(ORANGE, "o"),
    "distilled": Look(GREEN, "o"),
    "distilled_online": Look(GREEN, "s"),
    "distilled_self": Look(GREEN, "^"),
    "distilled_qap": Look(GREEN, "P"),
    **dict.fromkeys(CONTROLS, Look(GREY, "X")),
}
#: Variants of others, by what their names say.
_WORDS = (
    *(("distil", GREEN), ("qap", ORANGE), ("qat", SKY), ("prun", VERMILION), ("spars", VERMILION)),
    *(("cluster", PURPLE), ("q", BLUE), ("int", BLUE), ("fp", BLUE)),
)


def look(variant: str) -> Look:
    """By its name without parameters; an unknown one by the words in it."""
    name = variant.partition("[")[0]
    if name in _LOOKS:
        return _LOOKS[name]
    return Look(next((colour for word, colour in _WORDS if word in name.lower()), PURPLE), "p")


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: file name without ending.
        description: what it shows, for those who cannot see it.
        caption: what marks, bars and bands are; what is left out.
        files: format (`svg`, `pdf`, `png`) -> contents; `svg` is always there.
    """

    name: str
    title: str
    description: str
    caption: str
    files: dict[str, bytes]

    @property
    def svg(self) -> str:
        return self.files["svg"].decode()

    def inline(self, prefix: str) -> str:
        """The SVG to be put into a page: page's own text colour, ids of its own, no XML header."""
        text = self.svg
        text = text[text.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        text = re.sub(r'\bid="', f'id="{prefix}-', text)
        text = re.sub(r"url\(#", f"url(#{prefix}-", text)
        text = re.sub(r'href="#', f'href="#{prefix}-', text)
        text = text.replace(INK, "currentColor")
        return text.replace("<svg ", '<svg role="img" ', 1)


@dataclass(frozen=True)
class Plan:
    """A picture that is not drawn yet. Equal plans give the same bytes.

    Attributes:
        main: drawn even where a sweep has very many.
        data: all that `paint` puts into the figure; its `repr` tells everything.
        size: width and height, inches.
    """

    name: str
    model: str
    title: str
    description: str
    caption: str
    data: Any
    paint: Callable[[Figure, Any], None]
    size: tuple[float, float] = (WIDTH, 4.2)
    main: bool = False

    @property
    def key(self) -> str:
        return repr((self.name, self.model, self.title, self.data, self.size))


def draw(plan: Plan, formats: Sequence[str] = ("svg",)) -> tuple[bytes, ...]:
    """One file for each format; the same plan gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure(figsize=plan.size)
        # Plain texts at fixed places: matplotlib's own titles and labels are laid out anew at every
        # drawing, which takes longer than all the rest.
        title = clean(f"{plan.model}: {plan.title}")
        figure.text(0.012, 1 - 0.09 / plan.size[1], title, fontsize=10, fontweight="bold", va="top")
        plan.paint(figure, plan.data)
        with warnings.catch_warnings():
            # A script that the font lacks: the SVG leaves it to the reader's fonts, the PNG shows boxes.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            return tuple(_SAVE[format_](figure) for format_ in formats)


def _svg(figure: Figure) -> bytes:
    out = io.StringIO()
    figure.savefig(out, format="svg", dpi=DPI, transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue().replace(f"'{FONT}'", FONTS)
    # Half of it is indentation, and comments that repeat the texts.
    text = re.sub(r"\s*<!--.*?-->\s*|\n\s*", "\n", text, flags=re.DOTALL)
    return text.encode()


def _png(figure: Figure) -> bytes:
    out = io.BytesIO()
    quick = {"compress_level": 1}
    figure.savefig(
        out, format="png", dpi=DPI, facecolor="white", metadata={"Software": None}, pil_kwargs=quick
    )
    return out.getvalue()


def _pdf(figure: Figure) -> bytes:
    out = io.BytesIO()
    nobody: dict[str, Any] = {"CreationDate": None, "Creator": None, "Producer": None}
    figure.savefig(out, format="pdf", dpi=DPI, transparent=True, metadata=nobody)
    return out.getvalue()


_SAVE: dict[str, Callable[[Figure], bytes]] = {"svg": _svg, "pdf": _pdf, "png": _png}


def panel(
    figure: Figure,
    *,
    left: float = 0.68,
    right: float = 0.12,
    top: float = 0.34,
    bottom: float = 0.52,
    xlabel: str = "",
    ylabel: str = "",
    grid: str = "both",
) -> Axes:
    """Axes with margins in inches, so that texts keep their room at every height."""
    width, height = figure.get_size_inches()
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    axes = figure.add_axes(box)
    if grid:
        axes.grid(True, which="major", axis=grid, color=GREY, alpha=0.25, linewidth=0.6)  # type: ignore[arg-type]
    if xlabel:
        figure.text(box[0] + box[2] / 2, 0.09 / height, clean(xlabel), ha="center")
    if ylabel:
        middle = box[1] + box[3] / 2
        figure.text(max(0.012, box[0] - 0.7 / width), middle, clean(ylabel), va="center", rotation=90)
    return axes


def accuracy_label(target: str, simulated: bool) -> str:
    return f"test accuracy ({target}{', simulated' if simulated else ''}) / %"


def log_ticks(axes: Axes, low: float, high: float) -> None:
    """An axis of logarithms (to base 10) with round numbers on it. Quicker than matplotlib's own."""
    axes.set_xlim(math.log10(low), math.log10(high))
    ticks = round_numbers(low, high)
    axes.set_xticks([math.log10(tick) for tick in ticks], [tick_text(tick) for tick in ticks])


def tick_text(value: float) -> str:
    """`300`, `30,000`, `3M`: nothing that two ticks beside each other have no room for."""
    return f"{value / 1e6:,.10g}M" if value >= 1e6 else f"{value:,.10g}"


def round_numbers(low: float, high: float) -> list[float]:
    """About three to nine round numbers between, for a logarithmic axis."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 4:
            break
    return ticks


def clean(text: str) -> str:
    """Without control characters, which would make the SVG unreadable."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")
