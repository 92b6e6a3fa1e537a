"""The report of a run: one HTML file with its scores, curves, speed and examples.

``python -m xmjax.report WORKDIR`` writes ``WORKDIR/report.html`` from what stands in the workdir.
"""

import argparse
import base64
import datetime
import io
import itertools
import json
import math
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from xmjax.errors import UserError
from xmjax.scores import Row, baselines_of, rows, summary

__all__ = ["summary", "write"]

_SHOWN = 10  # examples that went right, and as many that went wrong
_COLORS = ("#2563eb", "#d97706", "#059669", "#c026d3", "#dc2626", "#0891b2", "#65a30d", "#64748b")
_EVALUATORS = {
    "fill": "One word of a caption is masked; every word of its class is scored in its place. "
    "Without an image, and with another scene's image, only language is left to go by.",
    "retrieval": "The picture for a text and the text for a picture, among a pool. "
    "R@k: the right one is among the first k. MedR: its median rank.",
    "caption": "The decoder writes a caption of the picture, in the language and style that it is prompted with.",
}
_TRAINING = {  # key of metrics.jsonl -> title and unit
    "contrast/accuracy": ("contrast: nearest is right", "% of the batch"),
    "learning_rate": ("learning rate", "learning rate"),
    "gradient_norm": ("gradient norm", "global norm"),
    "guard/skipped": ("updates not applied", "updates"),
    "perf/examples_per_second": ("speed", "examples per second"),
}

Points = list[tuple[int, float]]


def write(workdir: Path) -> Path:
    """Writes the report of a run.

    Args:
      workdir: the run's folder. Parts that are not there yet are named as missing in the report.

    Returns:
      Path of the report, ``workdir/report.html``. It needs no other file and no network.

    Raises:
      UserError: there is no such folder.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise UserError(f"there is no run in {workdir}: pass the workdir of a run, such as runs/base")
    missing: list[str] = []
    config = _load(workdir / "config.json", missing) or {}
    metrics = _read_metrics(workdir / "metrics.jsonl")
    if not metrics:
        missing.append("metrics.jsonl: no step has been logged yet, so there are no training curves and no speed.")
    files = {
        int(match[1]): path
        for path in workdir.glob("eval/step_*.json")
        if (match := re.fullmatch(r"step_(\d+)\.json", path.name))
    }
    evaluations = {step: _load(files[step], missing) or {} for step in sorted(files)}
    evaluations = {step: scores for step, scores in evaluations.items() if scores}
    newest = max(evaluations, default=None)
    examples: dict[str, dict] = {}
    date = ""
    if newest is None:
        missing.append("eval/: nothing has been evaluated yet, so there are no scores and no examples.")
    else:
        changed = datetime.datetime.fromtimestamp(files[newest].stat().st_mtime, datetime.UTC)
        date = changed.strftime("%Y-%m-%d %H:%M UTC")
        examples = _load(workdir / "eval" / f"step_{newest}.examples.json", missing) or {}
    cards = [_card(name, example) for name, example in examples.items() if isinstance(example, Mapping)]
    if examples and not any(card["image"] for card in cards):
        missing.append("The examples of the newest evaluation hold no pictures.")

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    newest_rows = rows(evaluations[newest]) if newest is not None else []
    html = environment.get_template("report.html.j2").render(
        title=workdir.resolve().name,
        facts=_facts(config, metrics, newest, date),
        command=config.get("command", ""),
        missing=missing,
        sections=_sections(newest_rows),
        step=newest,
        evaluation_curves=_evaluation_curves(evaluations) if len(evaluations) > 1 else [],
        evaluations=len(evaluations),
        training_curves=_training_curves(metrics),
        speed=_speed(metrics),
        goodput=_goodput(metrics),
        right=[card for card in cards if card["right"] is True][:_SHOWN],
        wrong=[card for card in cards if card["right"] is False][:_SHOWN],
        has_examples=bool(cards),
        config=json.dumps(config, indent=2, ensure_ascii=False) if config else "",
    )
    path = workdir / "report.html"
    path.write_text(html, encoding="utf-8")
    return path


def _load(path: Path, missing: list[str]) -> dict[str, Any] | None:
    name = f"{path.parent.name}/{path.name}" if path.parent.name == "eval" else path.name
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        missing.append(f"{name} is not there.")
        return None
    except (OSError, ValueError) as error:
        missing.append(f"{name} cannot be read: {error}.")
        return None
    if not isinstance(values, dict):
        missing.append(f"{name} holds no JSON object.")
        return None
    return values


def _read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines with a step; what a kill left unfinished is passed over."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int):
            lines.append(line)
    return lines


def _series(lines: Sequence[Mapping[str, Any]], key: str) -> Points:
    return [(line["step"], float(line[key])) for line in lines if _is_number(line.get(key))]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _facts(config: Mapping, metrics: Sequence[Mapping], newest: int | None, date: str) -> list[tuple[str, str]]:
    steps = max([line["step"] for line in metrics] + ([newest] if newest is not None else []), default=None)
    seconds = _series(metrics, "goodput/total_seconds") or _elapsed(metrics)
    planned = f" of {config['steps']:,}" if _is_number(config.get("steps")) else ""
    batch = config.get("batch_size")
    return [
        ("config", str(config.get("name", "unknown"))),
        ("newest evaluation", date or "none yet"),
        ("steps", f"{steps:,}{planned}" if steps is not None else "none yet"),
        ("examples seen", f"{steps * batch:,}" if steps is not None and isinstance(batch, int) else "unknown"),
        ("wall time", _duration(seconds[-1][1]) if seconds else "unknown"),
        ("xmjax", str(config.get("xmjax_version", "unknown version"))),
    ]


def _elapsed(metrics: Sequence[Mapping]) -> Points:
    times = _series(metrics, "time/unix_seconds")
    return [(times[-1][0], times[-1][1] - times[0][1])] if len(times) > 1 else []


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.1f} min" if minutes < 100 else f"{hours:.1f} h"


def _sections(found: Sequence[Row]) -> list[dict[str, Any]]:
    sections = []
    for (evaluator, data), group in itertools.groupby(found, lambda row: (row.evaluator, row.data)):
        chosen = list(group)
        baselines = baselines_of(chosen)
        sections.append(
            {"evaluator": evaluator, "data": data, "about": _EVALUATORS.get(evaluator, ""), "rows": chosen,
             "baselines": baselines, "oracle": any(row.oracle is not None for row in chosen)}
        )  # fmt: skip
    return sections


def _evaluation_curves(evaluations: Mapping[int, Mapping[str, Any]]) -> list[dict[str, str]]:
    """One panel for each group of scores of one unit, with oracle and baselines of its first score as lines."""
    panels: dict[tuple[str, str], list[Row]] = {}
    points: dict[str, Points] = {}
    for step, scores in evaluations.items():
        for row in rows(scores):
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
        title = f"{group.replace('/', ' / ').replace('_', ' ')}" + (f" / {first.key.rpartition('/')[2].replace('_', ' ')}" if alone else "")
        label = {"%": "% of items", "rank": "median rank"}.get(unit, unit)
        curves.append({"title": title, "image": _plot(lines, label, guides, markers=True)})
    return curves


def _training_curves(metrics: Sequence[Mapping]) -> list[dict[str, str]]:
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
        points = _series(metrics, key)
        if points and not (key == "guard/skipped" and not any(value for _, value in points)):
            scale = "log" if unit in ("nats", "global norm") else "linear"
            curves.append({"title": title, "image": _plot({title: points}, unit, {}, scale=scale)})
    return curves


def _plot(
    lines: Mapping[str, Points], unit: str, guides: Mapping[str, float], markers: bool = False, scale: str = "linear"
) -> str:
    """A small picture of curves over steps, as a data URI."""
    percent = unit.startswith("%")
    factor = 100 if percent else 1
    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#94a3b8",
             "text.color": "#334155", "axes.labelcolor": "#334155", "xtick.color": "#64748b",
             "ytick.color": "#64748b", "svg.hashsalt": "xmjax", "text.parse_math": False}  # fmt: skip
    with rc_context(style):
        figure = Figure(figsize=(4.2, 2.7), layout="constrained")
        axes = figure.add_subplot()
        for (label, points), color in zip(lines.items(), itertools.cycle(_COLORS)):
            steps, values = zip(*points, strict=True)
            values = [factor * value for value in values]
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
            axes.set_ylim(bottom=0)
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


def _speed(metrics: Sequence[Mapping]) -> list[tuple[str, str]]:
    """Medians over all lines, so that the compiling first steps and a busy moment do not count."""
    found = []
    for key, name, form in (
        ("perf/examples_per_second", "examples per second", lambda v: f"{v:,.1f}"),
        ("perf/step_seconds", "time of a step", lambda v: f"{1000 * v:,.1f} ms"),
        ("perf/data_wait_share", "share spent waiting for data", lambda v: f"{100 * v:.1f}%"),
        ("perf/mfu", "model FLOPs utilisation", lambda v: f"{100 * v:.1f}%"),
    ):
        if points := _series(metrics, key):
            found.append((name, form(statistics.median(value for _, value in points))))
    return found


def _goodput(metrics: Sequence[Mapping]) -> list[dict[str, Any]]:
    """Where the wall time went, by bucket, as of the newest line that says."""
    for line in reversed(metrics):
        seconds = {
            key.removeprefix("goodput/").removesuffix("_seconds").replace("_", " "): float(value)
            for key, value in line.items()
            if key.startswith("goodput/") and key.endswith("_seconds") and _is_number(value)
        }
        seconds.pop("total", None)
        if total := sum(seconds.values()):
            return [
                {"name": name, "time": _duration(value), "share": value / total, "color": color}
                for (name, value), color in zip(seconds.items(), itertools.cycle(_COLORS))
            ]
    return []


def _card(name: str, example: Mapping[str, Any]) -> dict[str, Any]:
    image = example.get("image_png")
    if not isinstance(image, str) or not re.fullmatch(r"[A-Za-z0-9+/]+=*", image):
        image = ""
    answer = example.get("answer")
    candidates = [
        {"word": str(word), "share": min(1.0, max(0.0, float(share))), "answer": word == answer}
        for word, share in example.get("candidates") or []
    ]
    return {
        "name": name,
        "image": image,
        "right": example.get("right"),
        "masked": example.get("masked") or "",
        "answer": answer,
        "candidates": candidates[:5],
        "answer_shown": any(candidate["answer"] for candidate in candidates[:5]),
        "prompt": example.get("prompt") or "",
        "caption": example.get("caption"),
        "exact": example.get("exact"),
        "captions": list(example.get("captions") or []),
        "references": list(example.get("references") or []),
        "nearest": [(str(text), f"{score:.2f}") for text, score in example.get("nearest") or []][:3],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, writes the report and prints where it is; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xmjax.report", description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=Path, help="folder of a run")
    try:
        print(write(parser.parse_args(arguments).workdir))
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
