"""The table of requirements: which of them are shown by a committed figure, and which are open.

``python -m xmjax.requirements`` writes ``docs/requirements.md`` from ``docs/requirements.toml`` and the finished runs
in ``docs/results/*.jsonl``. No figure is typed in by hand.
"""

import argparse
import dataclasses
import json
import math
import statistics
import sys
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmjax.errors import UserError
from xmjax.registry import suggest
from xmjax.scores import format_value, unit_of

DOCS = Path(__file__).parents[1] / "docs"
STATUSES = ("met", "measured", "tested", "partly", "below target", "open")
"""The figure reaches its target and its controls stay at chance; there is a figure and no target; a test shows it; one
of these holds but a part is not shown yet; the figure or a control misses; there is neither figure nor test."""

CONTROL_MARGIN = 0.05
"""How far above chance a control may be."""


@dataclasses.dataclass(frozen=True)
class Requirement:
    """A row of the table.

    Attributes:
      id: its name, such as "S12".
      source: key of the document that it comes from.
      text: what must work, in one line.
      issue: number of the issue that it belongs to, 0 where none does yet.
      command: what makes the figure; "" shows the command of the runs.
      result: name of the file of results, without its ending.
      arm: the arm of the sweep; "" for a file with one arm only.
      metric: name of the score that shows it.
      target: what the mean over seeds must reach.
      also: further scores that must reach the target too.
      better: "higher" or "lower".
      baselines: names of scores to print beside it.
      oracle: name of the score of a scorer that reads the truth.
      controls: scores that must stay within five points of `chance`, as without the picture.
      chance: name of the score they are held against.
      remaining: what of the requirement is not shown yet; the row is then at best "partly".
      test: path of the test that shows it, from the repository's root.
    """

    id: str
    source: str
    text: str
    issue: int = 0
    command: str = ""
    result: str = ""
    arm: str = ""
    metric: str = ""
    target: float | None = None
    also: tuple[str, ...] = ()
    better: str = "higher"
    baselines: tuple[str, ...] = ()
    oracle: str = ""
    controls: tuple[str, ...] = ()
    chance: str = ""
    remaining: str = ""
    test: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What is known about a requirement.

    Attributes:
      status: one of `STATUSES`.
      runs: the finished runs that the figures are of.
    """

    status: str
    runs: Sequence[Mapping[str, Any]] = ()


def load(path: Path) -> tuple[dict[str, str], list[Requirement]]:
    """Reads the list.

    Args:
      path: of requirements.toml.

    Returns:
      Source key -> title, and the requirements in their order.

    Raises:
      UserError: the file is missing or not TOML, a field is unknown or of the wrong type, an id is listed twice.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    sources, listed = document.get("sources", {}), {}
    for values in document.get("requirement", []):
        requirement = _requirement(values, f"{path}, {values.get('id', 'a row without id')}")
        if requirement.id in listed:
            raise UserError(f"{path}: {requirement.id} is listed twice")
        if requirement.source not in sources:
            raise UserError(
                f"{path}, {requirement.id}: source {requirement.source!r}: {suggest(requirement.source, sources)}"
            )
        listed[requirement.id] = requirement
    return sources, list(listed.values())


def _requirement(values: Mapping[str, Any], place: str) -> Requirement:
    fields = {field.name: field for field in dataclasses.fields(Requirement)}
    hints = typing.get_type_hints(Requirement)
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise UserError(f"{place}: unknown field {name!r}: {suggest(name, fields)}")
        if name in ("also", "baselines", "controls"):
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            value = tuple(value) if good else value
        elif name == "target":
            good = isinstance(value, int | float) and not isinstance(value, bool)
        else:
            good = type(value) is hints[name]
        if not good:
            raise UserError(f"{place}: {name} = {value!r} is not of the right type")
        given[name] = value
    for name in ("id", "source", "text"):
        if not given.get(name):
            raise UserError(f"{place}: {name} is missing")
    requirement = Requirement(**given)
    if requirement.better not in ("higher", "lower"):
        raise UserError(f"{place}: better = {requirement.better!r} must be 'higher' or 'lower'")
    if requirement.result and not requirement.metric:
        raise UserError(f"{place}: result without metric; name the score that shows the requirement")
    return requirement


def read_results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Finished runs by the name of their file.

    Raises:
      UserError: a line is not a run.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        runs = results.setdefault(path.stem, [])
        for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not text.strip():
                continue
            try:
                run = json.loads(text)
            except ValueError as error:
                raise UserError(f"{path}, line {number}: not JSON ({error})") from error
            if not isinstance(run, dict) or not isinstance(run.get("scores"), dict) or "seed" not in run:
                raise UserError(f"{path}, line {number}: not a finished run, which has at least seed and scores")
            runs.append(run)
    return results


def judge(requirement: Requirement, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> Finding:
    """What the committed results say about a requirement.

    A run without the metric does not count. One whose metric is not finite does, and misses every target.

    Raises:
      UserError: the runs cannot be averaged: they are of several arms, or one seed stands there twice.
    """
    shown = "partly" if requirement.remaining else ""
    if not requirement.metric:
        return Finding((shown or "tested") if requirement.test else "open")
    runs = [
        run
        for run in results.get(requirement.result, ())
        if requirement.metric in run["scores"] and requirement.arm in ("", run.get("arm", ""))
    ]
    if not runs:
        return Finding("open")
    arms = sorted({str(run.get("arm", "")) for run in runs})
    if len(arms) > 1:
        raise UserError(f"{requirement.id}: results/{requirement.result}.jsonl has the arms {', '.join(arms)}: set arm")
    seeds = [run["seed"] for run in runs]
    if len(set(seeds)) < len(seeds):
        raise UserError(
            f"{requirement.id}: results/{requirement.result}.jsonl has a seed twice; remove one of the runs"
        )
    if requirement.target is None:
        return Finding(shown or "measured", runs)
    scores = [_values(runs, name) for name in (requirement.metric, *requirement.also)]
    if not all(values and all(map(math.isfinite, values)) for values in scores):
        return Finding("below target", runs)
    sign = 1 if requirement.better == "higher" else -1
    reached = all(sign * (statistics.fmean(values) - requirement.target) >= 0 for values in scores)
    for control in requirement.controls:
        above = statistics.fmean(_values(runs, control)) - statistics.fmean(_values(runs, requirement.chance))
        reached = reached and above <= CONTROL_MARGIN
    return Finding((shown or "met") if reached else "below target", runs)


def _values(runs: Sequence[Mapping[str, Any]], metric: str) -> list[float]:
    """A score of those runs that have it; null stands for what JSON cannot hold."""
    values = [run["scores"][metric] for run in runs if metric in run["scores"]]
    return [math.nan if value is None else float(value) for value in values]


def figure(runs: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Mean ± standard deviation of a score over runs, "" where no run has it."""
    values = _values(runs, metric)
    if not values:
        return ""
    if broken := sum(not math.isfinite(value) for value in values):
        return f"not finite in {broken} of {len(values)} runs"
    unit = unit_of(metric)
    mean = format_value(statistics.fmean(values), unit)
    if len(values) == 1:
        return mean
    deviation = format_value(statistics.stdev(values), unit)
    return f"{mean.removesuffix('%')} ± {deviation}"


def render(sources: Mapping[str, str], requirements: Sequence[Requirement], results: Mapping[str, Sequence]) -> str:
    """The Markdown of the table."""
    findings = {r.id: judge(r, results) for r in requirements}
    counts = {status: sum(f.status == status for f in findings.values()) for status in STATUSES}
    lines = [
        "# Requirements",
        "",
        "<!-- Generated by `python -m xmjax.requirements` from requirements.toml and results/*.jsonl. Do not edit. -->",
        "",
        f"{len(requirements)} rows: {', '.join(f'{count} {status}' for status, count in counts.items() if count)}.",
        "",
        "A figure is the mean ± standard deviation over the seeds of the committed runs in `results/`. Beside it stand",
        "the *oracle*, a scorer that reads the truth, and what needs no learning or lacks the picture.",
        "*met*: the figure reaches the target, and controls stay within five points of chance. *below target*: not so.",
        "*measured*: there is no target. *tested*: a test shows it. *partly*: what is shown holds, but a part is open.",
        "*open*: there is neither a committed figure nor a test.",
    ]
    for key, title in sources.items():
        chosen = [r for r in requirements if r.source == key]
        lines += ["", f"## {title}", "", _line(_COLUMNS), _line(["---"] * len(_COLUMNS))]
        lines += [_line(_cells(r, findings[r.id])) for r in chosen]
    return "\n".join(lines) + "\n"


_COLUMNS = ("", "requirement", "issue", "status", "figure", "target", "oracle", "baselines", "command", "test")


def _cells(requirement: Requirement, finding: Finding) -> list[str]:
    r, runs = requirement, finding.runs
    seeds = f" ({len(runs)} seed{'s' if len(runs) > 1 else ''})" if runs else ""
    bound = "≥" if r.better == "higher" else "≤"
    baselines = [f"{name.rpartition('/')[2].replace('_', ' ')} {figure(runs, name)}" for name in r.baselines if runs]
    command = r.command or next((str(run["command"]) for run in runs if run.get("command")), "")
    return [
        r.id,
        f"{r.text} Open: {r.remaining}" if r.remaining else r.text,
        f"#{r.issue}" if r.issue else "",
        finding.status,
        ", ".join(f"`{name}` {figure(runs, name)}" for name in (r.metric, *r.also)) + seeds if runs else "",
        "" if r.target is None else f"{bound} {format_value(r.target, unit_of(r.metric))}",
        figure(runs, r.oracle) if runs else "",
        ", ".join(baselines),
        f"`{command}`" if command else "",
        f"`{r.test}`" if r.test else "",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def generate(docs: Path = DOCS) -> str:
    """The text of requirements.md as its inputs stand now.

    Args:
      docs: the folder of requirements.toml and results.

    Raises:
      UserError: an input is wrong, or a test that a row names does not exist.
    """
    sources, requirements = load(docs / "requirements.toml")
    for r in requirements:
        if r.test and not (docs.parent / r.test.partition("::")[0]).is_file():
            raise UserError(f"{docs / 'requirements.toml'}, {r.id}: there is no test {r.test}")
    return render(sources, requirements, read_results(docs / "results"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the table, or with ``--check`` only tells whether it is up to date; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xmjax.requirements", description="Writes requirements.md.")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of requirements.toml and results")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if requirements.md is out of date"
    )
    options = parser.parse_args(arguments)
    path = options.docs / "requirements.md"
    try:
        text = generate(options.docs)
    except UserError as error:
        print(f"requirements: {error}", file=sys.stderr)
        return 2
    if options.check:
        current = path.read_text(encoding="utf-8") if path.is_file() else ""
        if current != text:
            print(f"requirements: {path} is out of date: run python -m xmjax.requirements", file=sys.stderr)
        return int(current != text)
    path.write_text(text, encoding="utf-8")
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
