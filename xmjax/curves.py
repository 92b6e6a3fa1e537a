"""Curves over steps, each a small picture of its own, so that a page can lay them out for any width."""

import base64
import io
import itertools
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from xmjax.scores import Row, rows

Points = list[tuple[int, float]]
"""(step, value) pairs in the order of steps."""

COLORS = ("#2563eb", "#d97706", "#059669", "#c026d3", "#dc2626", "#0891b2", "#65a30d", "#64748b")
_TRAINING = {  # key of metrics.jsonl -> title and unit
    "contrast/accuracy": ("contrast: nearest is right", "% of the batch"),
    "learning_rate": ("learning rate", "learning rate"),
    "gradient_norm": ("gradient norm", "global norm"),
    "guard/skipped": ("updates not applied", "updates"),
    "perf/examples_per_second": ("speed", "examples per second"),
}


def series(lines: Sequence[Mapping[str, Any]], key: str) -> Points:
    """A metric's finite values over steps; lines without it are passed over."""
    return [(line["step"], float(line[key])) for line in lines if is_number(line.get(key))]


def is_number(value: Any) -> bool:
    """Whether a value read from JSON is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def evaluation_curves(evaluations: Mapping[int, Mapping[str, Any]]) -> list[dict[str, str]]:
    """One panel for each group of scores of one unit, with oracle and baselines of its first score as lines.

    Args:
      evaluations: step -> scores, see `xmjax.scores.rows`.

    Returns:
      The panels' titles, and their images as data URIs.
    """
    panels: dict[tuple[str, str], list[Row]] = {}
    points: dict[str, Points] = {}
    for step, scores in evaluations.items():
        for row in rows(scores):
            # Words of the data are too many for lines, and of scripts that the font may not have.
            if not math.isfinite(row.value) or row.group.endswith(("/by_word", "/seen")):
                continue
            points.setdefault(row.key, []).append((step, row.value))
            panels.setdefault((row.group, row.unit), [])
            if row.key not in [r.key for r in panels[row.group, row.unit]]:
                panels[row.group, row.unit].append(row)
    curves = []
    for (group, unit), members in panels.items():
        lines = {row.label.split(": ")[-1]: points[row.key] for row in members}
        first, alone = members[0], len(members) == 1
        # Baselines and oracle of arms are drawn once; those of R@1, R@5, ... differ, and the first stands for all.
        own = "" if alone or not first.key.startswith(f"{group}/R@") else f" of {first.key.rpartition('/')[2]}"
        guides = {name + own: value for name, value in first.baselines.items()}
        if first.oracle is not None:
            guides[f"oracle{own}"] = first.oracle
        title = f"{group.replace('/', ' / ').replace('_', ' ')}" + (
            f" / {first.key.rpartition('/')[2].replace('_', ' ')}" if alone else ""
        )
        label = {"%": "% of items", "rank": "median rank"}.get(unit, unit)
        curves.append({"title": title, "image": _plot(lines, label, guides, markers=True)})
    return curves


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Panels, as of `evaluation_curves`, of losses and code lengths of all objectives, and of what else is of interest.

    Args:
      metrics: lines of metrics.jsonl.
    """
    keys = list(dict.fromkeys(key for line in metrics for key in line))
    wanted = {"loss": ("weighted sum of losses", "nats")}
    wanted |= {key: (f"{key.split('/')[0]}: loss", "nats") for key in keys if re.fullmatch(r"[^/]+/loss", key)}
    wanted |= {
        key: (f"{key.split('/')[0]}: code length", "bits per byte")
        for key in keys
        if re.fullmatch(r"[^/]+/bits_per_byte", key)
    }
    curves = []
    for key, (title, unit) in (wanted | _TRAINING).items():
        points = series(metrics, key)
        if points and not (key == "guard/skipped" and not any(value for _, value in points)):
            scale = "log" if unit in ("nats", "global norm") else "linear"
            curves.append({"title": title, "image": _plot({title: points}, unit, {}, scale=scale)})
    return curves


def _plot(
    lines: Mapping[str, Points], unit: str, guides: Mapping[str, float], markers: bool = False, scale: str = "linear"
) -> str:
    """A small picture of curves over steps, as a data URI."""
    # Half a second to import, for what the end of a run draws.
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    percent = unit.startswith("%")
    factor = 100 if percent else 1
    style: dict[Any, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False,
                             "axes.edgecolor": "#94a3b8", "text.color": "#334155", "axes.labelcolor": "#334155",
                             "xtick.color": "#64748b", "ytick.color": "#64748b", "svg.hashsalt": "xmjax",
                             "text.parse_math": False}  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(4.2, 2.7), layout="constrained")
        axes = figure.add_subplot()
        for (label, points), color in zip(lines.items(), itertools.cycle(COLORS)):
            steps, values = [step for step, _ in points], [factor * value for _, value in points]
            if markers:
                axes.plot(steps, values, color=color, label=label, marker="o", markersize=3.5, linewidth=1.6)
                continue
            window = len(values) // 30
            axes.plot(steps, values, color=color, linewidth=1.6 if window < 2 else 0.8, alpha=1 if window < 2 else 0.3)
            if window >= 2:
                axes.plot(steps, _smooth(values, window), color=color, linewidth=1.6)
        for (label, value), dashes in zip(guides.items(), itertools.cycle(((4, 2), (1, 1), (6, 2, 1, 2)))):
            axes.axhline(factor * value, color="#94a3b8", linewidth=1, dashes=dashes, label=label.replace("_", " "))
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        every = [value for points in lines.values() for _, value in points]
        if scale == "log" and min(every) > 0 and max(every) > 8 * min(every):
            axes.set_yscale("log")
            axes.set_ylabel(f"{unit} (log scale)")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_locator(NullLocator())
        elif percent:
            axes.set_ylim(-3, 103)
        elif min(every) >= 0:
            axes.set_ylim(0, 1.08 * max(*every, *guides.values(), 1e-12) * factor)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.grid(axis="y", color="#e2e8f0", linewidth=0.7)
        axes.set_axisbelow(True)
        if len(lines) + len(guides) > 1:
            names = [*lines, *guides]
            columns = 4 if sum(map(len, names)) < 30 else 3 if max(map(len, names)) < 14 else 2
            figure.legend(loc="outside lower center", ncols=columns, frameon=False, fontsize=8, handlelength=1.6)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None}, transparent=True)
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def _smooth(values: Sequence[float], window: int) -> list[float]:
    """Centred running mean, over fewer values at the ends."""
    return [statistics.fmean(values[max(0, i - window) : i + window + 1]) for i in range(len(values))]
