"""The report of a run: one HTML file with its scores, curves, speed and examples.

``python -m xmjax.report WORKDIR`` writes ``WORKDIR/report.html`` from what stands in the workdir.
"""

import argparse
import datetime
import itertools
import json
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from xmjax import curves, files
from xmjax.curves import COLORS, Points, is_number, series
from xmjax.errors import UserError
from xmjax.scores import Row, baselines_of, rows, summary

__all__ = ["summary", "write"]

_SHOWN = 10  # examples that went right, and as many that went wrong
_EVALUATORS = {
    "fill": "One word of a caption is masked; every word of its class is scored in its place. "
    "Without an image, and with another scene's image, only language is left to go by.",
    "retrieval": "The picture for a text and the text for a picture, among a pool. "
    "R@k: the right one is among the first k. MedR: its median rank.",
    "caption": "The decoder writes a caption of the picture, in the language and style that it is prompted with.",
    "match": "Whether a text and a picture belong together, read off the matching identifier: apart from pairs that do "
    "not, and as the score that finds one for the other.",
    "rerank": "The best of the towers, put in order again by the matching score.",
    "objects": "What a masked object is called, told by the text and what is left of the picture; "
    "and pictures found by the objects that a text makes expect.",
    "mask_predict": "Captions filled in from nothing: what is certain first, what comes first, by a search, and the "
    "one of all these that is chosen (exact).",
    "localize": "Where in the picture the sound comes from: the box around the largest part of the map.",
    "arithmetic": "The picture of one toy, less its name, plus another's, is nearest to the other's picture.",
    "zero_shot": "Which label a picture has, by the texts of the labels alone.",
    "tags": "The tags of a picture, and the pictures of a tag.",
}


def write(workdir: Path) -> Path:
    """Writes the report of a run.

    Args:
      workdir: the run's folder. Parts that are not there yet are named as missing in the report.

    Returns:
      Path of the report, ``workdir/report.html``. It needs no other file and no network.

    Raises:
      UserError: there is no such folder, or it is of no run.
    """
    workdir = Path(workdir)
    if not any((workdir / name).exists() for name in ("config.json", "metrics.jsonl", "eval")):
        raise UserError(f"there is no run in {workdir}: pass the workdir of a run, such as runs/base")
    missing: list[str] = []
    config = _load(workdir / "config.json", missing) or {}
    metrics = [line for line in files.read_lines(workdir / "metrics.jsonl") if isinstance(line.get("step"), int)]
    if not metrics:
        missing.append("metrics.jsonl: no step has been logged yet, so there are no training curves and no speed.")
    found = {
        int(match[1]): path
        for path in workdir.glob("eval/step_*.json")
        if (match := re.fullmatch(r"step_(\d+)\.json", path.name))
    }
    evaluations = {step: _load(found[step], missing) or {} for step in sorted(found)}
    evaluations = {step: scores for step, scores in evaluations.items() if scores}
    newest = max(evaluations, default=None)
    examples: dict[str, dict] = {}
    date = ""
    if newest is None:
        missing.append("eval/: nothing has been evaluated yet, so there are no scores and no examples.")
    else:
        changed = datetime.datetime.fromtimestamp(found[newest].stat().st_mtime, datetime.UTC)
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
        evaluation_curves=curves.evaluation_curves(evaluations) if len(evaluations) > 1 else [],
        evaluations=len(evaluations),
        training_curves=curves.training_curves(metrics),
        speed=_speed(metrics),
        goodput=_goodput(metrics),
        right=[card for card in cards if card["right"] is True][:_SHOWN],
        wrong=[card for card in cards if card["right"] is False][:_SHOWN],
        unjudged=cards[: 2 * _SHOWN] if not any(isinstance(card["right"], bool) for card in cards) else [],
        has_examples=bool(cards),
        config=json.dumps(config, indent=2, ensure_ascii=False) if config else "",
    )
    path = workdir / "report.html"
    path.write_text(html, encoding="utf-8", errors="replace")  # JSON can hold halves of surrogate pairs
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


def _facts(config: Mapping, metrics: Sequence[Mapping], newest: int | None, date: str) -> list[tuple[str, str]]:
    steps = max([line["step"] for line in metrics] + ([newest] if newest is not None else []), default=None)
    seconds = series(metrics, "goodput/total_seconds") or _elapsed(metrics)
    planned = f" of {config['steps']:,}" if is_number(config.get("steps")) else ""
    batch = config.get("batch_size")
    return [
        ("config", str(config.get("name", "unknown"))),
        ("newest evaluation", date or "none yet"),
        ("steps", f"{steps:,}{planned}" if steps is not None else "none yet"),
        ("examples seen", f"{steps * batch:,}" if steps is not None and isinstance(batch, int) else "unknown"),
        ("wall time", _duration(seconds[-1][1]) if seconds else "unknown"),
        *([("xmjax", str(config["xmjax_version"]))] if "xmjax_version" in config else []),
    ]


def _elapsed(metrics: Sequence[Mapping]) -> Points:
    times = series(metrics, "time/unix_seconds")
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


def _speed(metrics: Sequence[Mapping]) -> list[tuple[str, str]]:
    """Medians over all lines, so that the compiling first steps and a busy moment do not count."""
    found = []
    for key, name, form in (
        ("perf/examples_per_second", "examples per second", lambda v: f"{v:,.1f}"),
        ("perf/step_seconds", "time of a step", lambda v: f"{1000 * v:,.1f} ms"),
        ("perf/data_wait_share", "share spent waiting for data", lambda v: f"{100 * v:.1f}%"),
        ("perf/mfu", "model FLOPs utilisation", lambda v: f"{100 * v:.1f}%"),
    ):
        if points := series(metrics, key):
            found.append((name, form(statistics.median(value for _, value in points))))
    return found


def _goodput(metrics: Sequence[Mapping]) -> list[dict[str, Any]]:
    """Where the wall time went, by bucket, as of the newest line that says."""
    for line in reversed(metrics):
        seconds = {
            key.removeprefix("goodput/").removesuffix("_seconds").replace("_", " "): float(value)
            for key, value in line.items()
            if key.startswith("goodput/") and key.endswith("_seconds") and is_number(value)
        }
        seconds.pop("total", None)
        if total := sum(seconds.values()):
            return [
                {"name": name, "time": _duration(value), "share": value / total, "color": color}
                for (name, value), color in zip(seconds.items(), itertools.cycle(COLORS))
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
        "filled_in": [
            (key.removeprefix("unmasked").strip().replace("_", " ") or "chosen", str(text))
            for key, text in example.items()
            if key.startswith("unmasked")
        ],
        "captions": list(example.get("captions") or []),
        "references": list(example.get("references") or []),
        "nearest": [(str(text), f"{score:.2f}") for text, score in example.get("nearest") or []][:3],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, writes the report and prints where it is; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xmjax.report", description="Writes the report of a run.")
    parser.add_argument("workdir", type=Path, help="folder of a run")
    try:
        print(write(parser.parse_args(arguments).workdir))
    except UserError as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
