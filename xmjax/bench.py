"""Benchmarks: step, loader and compilation of configs that differ in batch size, model, mesh or attention.

Each case runs in a process of its own, so that its peak of memory is its own and running out of it ends no other case.
"""

import dataclasses
import datetime
import json
import os
import platform
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import xmjax
from xmjax import files
from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.measure import MEASURES, measure
from xmjax.registry import suggest
from xmjax.sweep import Overrides, check_fields, combine, load_config, run_logged, tail
from xmjax.sweep_table import markdown


@dataclasses.dataclass(frozen=True)
class Bench:
    """What is measured.

    Attributes:
      name: of the benchmark and its file.
      base: path of the config of every case, with its mode.
      cases: name -> what the case changes in the config; "base" takes another one, such as another size.
      repeats: of every measure, alternating.
      steps: in each repeat.
      measure: of `MEASURES`.
    """

    name: str
    base: str
    cases: Mapping[str, Overrides]
    repeats: int = 5
    steps: int = 10
    measure: tuple[str, ...] = MEASURES


def build(values: ConfigDict) -> Bench:
    """The benchmark that a config file describes; its cases are written as a sweep's arms are.

    Raises:
      UserError: a field is unknown or missing, or there is nothing to measure.
    """
    given = check_fields(values, {f.name for f in dataclasses.fields(Bench)} | {"grid"}, ("name", "base"))
    cases = combine(given.pop("cases", {}), given.pop("grid", {}))
    bench = Bench(**given | {"cases": cases, "measure": tuple(given.get("measure", MEASURES))})
    for kind in bench.measure:
        if kind not in MEASURES:
            raise UserError(f"benchmark {bench.name}: unknown measure {kind!r}: {suggest(kind, MEASURES)}")
    if not cases or not bench.measure:
        raise UserError(f"benchmark {bench.name} has no cases or no measure")
    if min(bench.repeats, bench.steps) < 1:
        raise UserError(f"benchmark {bench.name}: repeats={bench.repeats} and steps={bench.steps} must be at least 1")
    return bench


def case_config(bench: Bench, name: str) -> Config:
    """The config of one case.

    Raises:
      UserError: there is no such case, or its config cannot work.
    """
    if name not in bench.cases:
        raise UserError(f"unknown case {name!r}: {suggest(name, bench.cases)}")
    overrides = dict(bench.cases[name])
    try:
        return load_config(str(overrides.pop("base", bench.base)), overrides)
    except UserError as error:
        raise UserError(f"case {name!r}: {error}") from None


def run(bench: Bench, launcher: Sequence[str], output: Path, show: Callable[[str], Any] = print) -> dict[str, Any]:
    """Measures every case in a process of its own and writes the file after each.

    Args:
      bench: what to measure.
      launcher: command that measures one case, where it is given --case=NAME and --output=FILE.
      output: the file.
      show: takes lines of progress.

    Returns:
      What the file holds.
    """
    for name in bench.cases:
        case_config(bench, name)
    report: dict[str, Any] = {
        "name": bench.name,
        "base": bench.base,
        "repeats": bench.repeats,
        "steps": bench.steps,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "launch/bench.py", *launcher[2:]]),
        "machine": {"platform": platform.platform(), "cpus": os.cpu_count()},
        "versions": {"python": platform.python_version(), "xmjax": xmjax.__version__}
        | {package: metadata.version(package) for package in ("jax", "jaxlib", "flax")},
        "cases": {},
    }
    files.make_directory(output.parent, "--output")
    for number, (name, overrides) in enumerate(bench.cases.items(), 1):
        show(f"[{number}/{len(bench.cases)}] {name}")
        with tempfile.TemporaryDirectory() as scratch:  # where no earlier case can have left anything
            found, log = Path(scratch) / "case.json", Path(scratch) / "log.txt"
            status = run_logged([*launcher, f"--case={name}", f"--output={found}"], log)
            if found.exists():
                result = json.loads(found.read_text())
            else:
                lines = tail(log, 1).strip()
                result = {"error": f"the process ended with status {status}" + (f": {lines}" if lines else "")}
        if "error" in result:
            show(f"  {result['error']}")
        report["machine"] |= result.pop("machine", {})
        report["cases"][name] = {"overrides": overrides} | result
        output.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    return report


def run_case(bench: Bench, name: str) -> dict[str, Any]:
    """Measures one case in this process; what fails is in the result as "error", in one line."""
    config = case_config(bench, name)
    devices = jax.devices()
    machine = {"device": devices[0].device_kind, "devices": len(devices), "backend": jax.default_backend()}
    try:
        return {"machine": machine} | measure(config, bench.measure, bench.repeats, bench.steps)
    except Exception as error:  # out of memory, a kernel that a device lacks: what a benchmark is there to find out
        text = " ".join(str(error).split())
        return {"machine": machine, "error": f"{type(error).__name__}: {text[:500]}"}


COLUMNS = (
    "case", "compile s", "step ms", "with loader ms", "ratio", "loader rows/s", "rows/s", "MB/s", "TFLOP/s", "MFU",
    "peak GiB", "temp GiB",
)  # fmt: skip


def table(report: Mapping[str, Any]) -> str:
    """The cases as a table, medians of the repeats; what was not measured is "-"."""
    lines: list[Sequence[str]] = [COLUMNS]
    for name, case in report["cases"].items():
        if "error" in case:
            lines.append((name, "failed", *["-"] * (len(COLUMNS) - 2)))
            continue
        step, real = case.get("random_data_step", {}), case.get("real_loader_step", {})
        best, memory = step or real, case.get("memory", {})
        lines.append(
            (
                name,
                _number(case.get("compile_seconds"), 1),
                _number(step.get("seconds", {}).get("median"), 1e3),
                _number(real.get("seconds", {}).get("median"), 1e3),
                _number(case.get("loader_ratio", {}).get("median"), 1),
                _number(case.get("loader_only", {}).get("examples_per_second"), 1),
                _number(best.get("examples_per_second"), 1),
                _number(best.get("bytes_per_second"), 1e-6),
                _number(best.get("flops_per_second"), 1e-12),
                _number(best.get("mfu"), 1),
                _number(memory.get("peak_bytes"), 2**-30),
                _number(memory.get("temp_bytes"), 2**-30),
            )
        )
    failed = [f"{name}: {case['error']}" for name, case in report["cases"].items() if "error" in case]
    return "\n".join([markdown(lines), *failed])


def _number(value: float | None, factor: float) -> str:
    """Three digits, "-" for nothing."""
    if value is None:
        return "-"
    value *= factor
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
