"""Drawing a chart to bytes: the same data give the same picture."""

import io
import threading
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

Kind = Literal["bar", "line", "scatter"]
Format = Literal["png", "svg"]
Horizontal = str | float

COLOURS = ("#3b6fb6", "#e07b39", "#4f9d69", "#b5495b", "#8064a2", "#5f6b76", "#c9a227", "#2a9d9d")
INK, FAINT = "#333333", "#dddddd"
WIDE_LABEL = 14  # characters; bars with longer labels lie down, so that the labels can be read
MOST_LYING, MOST_TICKS = 40, 30  # bars; labels on an axis

# matplotlib keeps one set of settings and caches for the process, and promises nothing to threads.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """What to draw: the values along the x axis, and each named series beside them (None: nothing there)."""

    kind: Kind
    title: str
    x_label: str
    y_label: str
    xs: list[Horizontal]
    series: dict[str, list[float | None]] = field(default_factory=dict)


def drawn(picture: Picture, *, form: Format) -> bytes:
    """The picture's file. Blocks for some tenths of a second."""
    # Half a second or more to import, and most runs draw nothing.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.hashsalt": "motet",  # else the ids within an SVG are random
        "text.parse_math": False,  # a dollar sign is money
        "font.size": 10,
        "date.converter": "concise",  # each tick says only what is new, so that dates fit side by side
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with _one_at_a_time, matplotlib.rc_context(settings):
        figure = Figure(figsize=(9, 5), dpi=150, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set_axisbelow(True)
        longest = max((len(str(x)) for x in picture.xs), default=0)
        lying = picture.kind == "bar" and longest > WIDE_LABEL and len(picture.xs) <= MOST_LYING
        if picture.kind == "bar":
            _bars(axes, picture, lying=lying)
        else:
            _points(axes, picture)
        if lying:
            figure.set_size_inches(9, max(3.0, 1.2 + 0.32 * len(picture.xs) * max(1, 0.6 * len(picture.series))))
        axes.set_title(_wrapped(picture.title, 70), loc="left", fontsize=13, fontweight="bold", pad=12)
        axes.set_xlabel(picture.y_label if lying else picture.x_label)
        axes.set_ylabel(picture.x_label if lying else picture.y_label)
        axes.grid(axis="x" if lying else "both" if picture.kind == "scatter" else "y", color=FAINT, linewidth=0.8)
        if len(picture.series) > 1:
            axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
        figure.savefig(buffer, format=form, metadata=metadata)
        return buffer.getvalue()


def _bars(axes: Any, picture: Picture, *, lying: bool) -> None:
    count, places = len(picture.series), range(len(picture.xs))
    thickness = 0.8 / count
    draw = axes.barh if lying else axes.bar
    for number, (name, values) in enumerate(picture.series.items()):
        shifted = [place + (number - (count - 1) / 2) * thickness for place in places]
        draw(shifted, [value or 0 for value in values], thickness, label=name, color=COLOURS[number % len(COLOURS)])
    labels = [_short(str(x), 60 if lying else 30) for x in picture.xs]
    _ticks(axes, labels, lying=lying)
    if lying:
        axes.invert_yaxis()  # the first row on top, as in its table
    if any(value is not None and value < 0 for values in picture.series.values() for value in values):
        (axes.axvline if lying else axes.axhline)(0, color=INK, linewidth=0.9)
    _plain_numbers(axes.xaxis if lying else axes.yaxis)


def _points(axes: Any, picture: Picture) -> None:
    numeric = all(isinstance(x, int | float) for x in picture.xs)
    dates = None if numeric else _dates(picture.xs)
    xs: list[Any] = list(picture.xs) if numeric else dates or list(range(len(picture.xs)))
    for number, (name, values) in enumerate(picture.series.items()):
        ys = [float("nan") if value is None else value for value in values]
        colour = COLOURS[number % len(COLOURS)]
        if picture.kind == "line":
            axes.plot(
                xs, ys, label=name, color=colour, linewidth=1.8, marker="o" if len(xs) <= 40 else "", markersize=4
            )
        else:
            axes.scatter(xs, ys, label=name, color=colour, s=28 if len(xs) <= 300 else 8, alpha=0.75, linewidths=0)
    if numeric:
        whole = picture.kind == "line" and all(float(x).is_integer() for x in xs)
        axes.xaxis.get_major_locator().set_params(integer=whole)
        if not all(1000 <= x < 3000 and whole for x in xs):  # years take no thousands separator
            _plain_numbers(axes.xaxis)
    elif not dates:
        _ticks(axes, [_short(str(x), 30) for x in picture.xs], lying=False)
    _plain_numbers(axes.yaxis)


def _ticks(axes: Any, labels: list[str], *, lying: bool) -> None:
    """Labels the places 0, 1, 2 …; where they would run into each other, turned, and every n-th only."""
    step = 1 if lying else -(-len(labels) // MOST_TICKS)
    places = list(range(0, len(labels), step))
    shown = [labels[place] for place in places]
    if lying:
        axes.set_yticks(places, shown)
        axes.set_ylim(-0.6, len(labels) - 0.4)
        return
    width = sum(len(label) + 2 for label in shown)
    steep = 0 if width <= 100 else 45 if len(shown) <= 20 else 90
    anchor = {"ha": "center" if steep in (0, 90) else "right", "rotation_mode": "anchor" if steep == 45 else "default"}
    axes.set_xticks(places, shown, rotation=steep, **anchor)
    margin = 0.6 + max(0, 5 - len(labels)) / 2  # two bars need not fill the page
    axes.set_xlim(-margin, len(labels) - 1 + margin)


def _plain_numbers(axis: Any) -> None:
    """12,000 rather than 1.2e4; beyond a million million, powers."""
    axis.set_major_formatter(lambda value, _place: f"{value:,.10g}".replace("-", "\N{MINUS SIGN}"))


def _dates(xs: list[Horizontal]) -> list[date] | None:
    """The values as days, if every one is an ISO date."""
    try:
        return [date.fromisoformat(str(x)) for x in xs]
    except ValueError:
        return None


def _short(text: str, limit: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _wrapped(text: str, width: int) -> str:
    lines = [""]
    for word in _short(text, 3 * width).split():
        if lines[-1] and len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)
