"""Sweeps: arms times seeds, each one run of launch/pretrain.py. Finished runs are lines of a file that is committed."""

import dataclasses
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

import xmjax
from xmjax import config as config_module
from xmjax import files
from xmjax.config import Config
from xmjax.data import playroom
from xmjax.errors import UserError
from xmjax.objectives import OBJECTIVES
from xmjax.registry import suggest
from xmjax.training.checkpoint import computed, defaults
from xmjax.training.step import init

Overrides = dict[str, Any]
"""Dotted field of a run's config -> value."""

TAIL = 15
"""Lines of a failed run's log that are shown."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is compared.

    Attributes:
      name: of the sweep and its files.
      base: path of the config of every run, with its mode.
      arms: name -> what the arm changes in the config.
      seeds: of the runs of every arm.
      metrics: names of the scores to compare; empty takes all.
      control: arm that the others are compared with; "" for a sweep of one arm or without comparison.
      budget_seconds: what a run may take of the whole machine, so of half of its cores twice that; longer ones are
        reported. 0 sets no limit.
      path: of the sweep's own config, for the table's heading.
    """

    name: str
    base: str
    arms: Mapping[str, Overrides]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...] = ()
    control: str = ""
    budget_seconds: float = 0.0
    path: str = ""


@dataclasses.dataclass(frozen=True)
class Run:
    """One arm with one seed.

    Attributes:
      arm: name of the arm.
      seed: of the run.
      overrides: what the arm changes.
      base: path of the config.
      config: what the run is started with.
      folder: its directory within the sweep's.
    """

    arm: str
    seed: int
    overrides: Overrides
    base: str
    config: Config
    folder: str

    def flags(self, workdir: Path) -> list[str]:
        """Arguments of the launcher for a sweep's workdir."""
        return [
            f"--config={self.base}",
            f"--workdir={workdir / self.folder}",
            *flags_of(self.overrides | {"seed": self.seed}),
        ]

    def key(self) -> str:
        """What makes two runs the same, comparable with `key_of` a line."""
        return key_of({"arm": self.arm, "seed": self.seed, "recipe": recipe(self.config)})


def recipe(config: Config) -> dict[str, Any]:
    """What a run computes: the fields that are not at their defaults, whatever file or flag set them.

    A field that is added later does not change it, as long as its default leaves runs as they were.
    """
    usual = defaults(config.objectives)
    known = computed(usual)
    values = config_module.to_dict(config)
    changed = {key: value for key, value in computed(values).items() if value != known.get(key)}
    # How a run is scored is free to differ for a checkpoint, but its scores are another run's then.
    scoring = values["evaluation"]
    changed |= {f"evaluation.{key}": v for key, v in scoring.items() if v != usual["evaluation"][key]}
    if "playroom" in (config.data.source, config.frame_audio.source):
        changed["playroom.version"] = playroom.VERSION  # another world is another run
    versions = {name: OBJECTIVES[name].version for name in config.objectives}
    changed |= {f"objectives.{name}.version": version for name, version in versions.items() if version != 1}
    return changed | {"objectives": sorted(config.objectives)}


def key_of(line: Mapping[str, Any]) -> str:
    """What makes two finished runs the same."""
    return json.dumps([line.get(field) for field in ("arm", "seed", "recipe")], sort_keys=True)


def build(values: ConfigDict, path: str = "") -> Sweep:
    """The sweep that a config file describes.

    Raises:
      UserError: a field is unknown or missing, there is no seed or no arm, or the control is none of the arms.
    """
    given = check_fields(values, {f.name for f in dataclasses.fields(Sweep)} - {"path"} | {"grid"}, ("name", "base"))
    sweep = Sweep(
        **{key: value for key, value in given.items() if key not in ("arms", "grid", "seeds", "metrics")},
        arms=combine(given.get("arms", {}), given.get("grid", {})),
        seeds=tuple(given.get("seeds", ())),
        metrics=tuple(given.get("metrics", ())),
        path=path,
    )
    if not sweep.seeds:
        raise UserError(f"sweep {sweep.name} has no seeds; write seeds=(0, 1, 2)")
    if not sweep.arms:
        raise UserError(f"sweep {sweep.name} has no arms; write arms={{'base': {{}}}} or a grid")
    if sweep.control and sweep.control not in sweep.arms:
        raise UserError(
            f"sweep {sweep.name}: unknown control arm {sweep.control!r}: {suggest(sweep.control, sweep.arms)}"
        )
    return sweep


def check_fields(values: ConfigDict, known: Iterable[str], required: Iterable[str]) -> dict[str, Any]:
    """The fields of a sweep's or a benchmark's config as plain values.

    Raises:
      UserError: one is unknown, a required one is missing, or the config's file could not be read.
    """
    try:
        given, known = values.to_dict(), set(known)
    except OSError as error:  # a file that is not there is told only when its values are asked for
        raise UserError(f"the config cannot be read: {str(error).strip().splitlines()[-1].strip()}") from None
    for field in given:
        if field not in known:
            raise UserError(f"unknown field {field!r} in the config: {suggest(field, known)}")
    for field in required:
        if not given.get(field):
            raise UserError(f"field {field!r} is missing in the config")
    return given


def combine(arms: Mapping[str, Overrides], grid: Mapping[str, Iterable[Any]]) -> dict[str, Overrides]:
    """The arms, then one arm "field=value,..." for each combination of the grid's values."""
    found = {str(name): dict(overrides) for name, overrides in arms.items()}
    if grid:
        for values in itertools.product(*grid.values()):
            overrides = dict(zip(grid, values, strict=True))
            found[",".join(f"{field}={value}" for field, value in overrides.items())] = overrides
    return found


def flags_of(overrides: Overrides) -> list[str]:
    """Overrides as flags of a launcher."""
    return [f"--config.{field}={value}" for field, value in overrides.items()]


def load_config(base: str, overrides: Overrides) -> Config:
    """The config of a run, read as the launcher reads it.

    Args:
      base: path of a config file, with its mode.
      overrides: what to change.

    Raises:
      UserError: there is no such file or field, or a value does not fit.
    """
    path = base.partition(":")[0]
    if not Path(path).is_file():
        raise UserError(f"config file {path!r} does not exist; ready ones are in configs/")
    known = _parse(base, {})
    for field in overrides:
        if wrong := config_module.unknown_field(known, field):
            raise UserError(wrong)
    return config_module.build(_parse(base, overrides))


def _parse(base: str, overrides: Overrides) -> ConfigDict:
    arguments = ["launcher", f"--config={base}", *flags_of(overrides)]
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "", values, lock_config=True, sys_argv=arguments)
    try:
        values(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        text = " ".join(str(error.args[0] if error.args else error).split())
        raise UserError(f"{' '.join(arguments[1:])}: {text}") from None
    return values.config


def plan(sweep: Sweep) -> list[Run]:
    """All runs of a sweep, every arm with the first seed before any with the second.

    Raises:
      UserError: an arm's config cannot work, or two arms' directories have one name.
    """
    folders: dict[str, str] = {}
    for arm in sweep.arms:
        folder = re.sub(r"[^\w.,=+-]+", "_", arm)
        if folder in folders:
            raise UserError(f"arms {folders[folder]!r} and {arm!r} share the directory {folder!r}; rename one")
        folders[folder] = arm
    runs = []
    for seed, (folder, arm) in itertools.product(sweep.seeds, folders.items()):
        overrides = sweep.arms[arm]
        if "seed" in overrides:
            raise UserError(f"arm {arm!r} sets the seed; seeds belong in the sweep's field 'seeds'")
        try:
            config = load_config(sweep.base, overrides | {"seed": seed})
        except UserError as error:
            raise UserError(f"arm {arm!r}: {error}") from None
        runs.append(Run(arm, seed, overrides, sweep.base, config, f"{folder}/seed_{seed}"))
    return runs


def run(
    sweep: Sweep,
    launcher: Path,
    workdir: Path,
    results: Path,
    show: Callable[[str], Any] = print,
    jobs: int = 1,
) -> list[str]:
    """Makes the runs that are not yet in the file of results. An interrupted one goes on where its workdir stands.

    Args:
      sweep: what to run.
      launcher: launch/pretrain.py.
      workdir: of the sweep; each run has a directory in it.
      results: file of finished runs, to which lines are appended.
      show: takes lines of progress.
      jobs: runs at a time, each on an equal share of the cores. Small models gain by it what threads lose in waiting
        for each other; on accelerators it is 1, since a process takes them all.

    Returns:
      What went wrong, one text for each failed run.

    Raises:
      UserError: there are fewer cores than jobs, or a directory cannot be made.
    """
    files.make_directory(results.parent, "--results")
    files.make_directory(workdir, "--workdir")
    runs = plan(sweep)
    finished = {key_of(line) for line in files.read_lines(results)}
    todo = [r for r in runs if r.key() not in finished]
    show(f"{sweep.name}: {len(runs)} runs, {len(runs) - len(todo)} of them finished before; logs are in {workdir}")
    device, failures = probe_device() if todo else "", []
    free, going = shares(jobs), list[tuple[Run, set[int], subprocess.Popen]]()
    numbered = iter(enumerate(todo, 1))
    try:
        while True:
            while free and (entry := next(numbered, None)):
                number, one = entry
                show(f"[{number}/{len(todo)}] {one.arm}, seed {one.seed}")
                cores, log = free.pop(), workdir / one.folder / "log.txt"
                going.append((one, cores, start([sys.executable, str(launcher), *one.flags(workdir)], log, cores)))
            if not going:
                return failures
            time.sleep(0.2)
            for one, cores, process in [entry for entry in going if entry[2].poll() is not None]:
                going.remove((one, cores, process))
                free.append(cores)
                failures += finish(sweep, one, process.returncode, launcher, workdir, results, show, device, jobs)
    except BaseException:  # an interrupt lets all of them save before it is passed on
        for _, _, process in going:
            process.terminate()
        for _, _, process in going:
            process.wait()
        raise


def shares(jobs: int) -> list[set[int]]:
    """The cores of this process in equal parts, one a job; an empty set, for one job, leaves them as they are."""
    if jobs == 1 or not hasattr(os, "sched_setaffinity"):
        return [set() for _ in range(jobs)]
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= jobs <= len(cores):
        raise UserError(f"--jobs={jobs}: this machine has {len(cores)} cores; give at most one job a core")
    return [set(cores[i::jobs]) for i in range(jobs)]


def start(command: list[str], log: Path, cores: set[int]) -> subprocess.Popen:
    """Starts a command with its output appended to a file, on these cores, or on all where there are none."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if cores:
        command = ["taskset", "--cpu-list", ",".join(map(str, sorted(cores))), *command]
    with log.open("ab") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)


def run_logged(command: list[str], log: Path) -> int:
    """Runs a command with its output appended to a file; an interrupt lets it save before it is passed on."""
    process = start(command, log, set())
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def finish(
    sweep: Sweep,
    one: Run,
    status: int,
    launcher: Path,
    workdir: Path,
    results: Path,
    show: Callable[[str], Any],
    device: str,
    jobs: int,
) -> list[str]:
    """Appends the line of a run that has ended; returns what went wrong with it, if anything."""
    directory = workdir / one.folder
    log = directory / "log.txt"
    scores = directory / "eval" / f"step_{one.config.steps}.json"
    if status or not scores.is_file():
        show(f"  {one.arm}, seed {one.seed}: failed")
        return [f"{one.arm}, seed {one.seed}: exit status {status}; the end of {log}:\n{tail(log)}"]
    line = {
        "name": sweep.name,
        "arm": one.arm,
        "seed": one.seed,
        "overrides": one.overrides,
        "config": sweep.base,
        "steps": one.config.steps,
        "recipe": recipe(one.config),
        "seconds": round(training_seconds(directory / "metrics.jsonl"), 1),
        "parameters": parameters(one.config),
        "scores": json.loads(scores.read_text()),
        "xmjax_version": xmjax.__version__,
        "commit": commit(launcher.parent),
        "jax_version": jax.__version__,
        "device": device,
        **({"jobs": jobs} if jobs > 1 else {}),
        "command": shlex.join(["python", "launch/pretrain.py", *one.flags(Path("runs/sweeps") / sweep.name)]),
    }
    append(results, line)
    limit = sweep.budget_seconds * jobs
    budget = f", over the budget of {limit:g} s" if limit and line["seconds"] > limit else ""
    show(f"  {one.arm}, seed {one.seed}: {line['seconds']} s{budget}")
    return []


def tail(log: Path, lines: int = TAIL) -> str:
    """The last lines of a log, indented."""
    text = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in text[-lines:])


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Adds one line of JSON, on disk when this returns. What a kill left of an unfinished line is cut away before."""
    data = path.read_bytes() if path.exists() else b""
    if not data.endswith(b"\n"):
        path.write_bytes(data[: data.rfind(b"\n") + 1])
    with path.open("ab") as file:
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def training_seconds(path: Path) -> float:
    """Wall time of a run up to its last line of metrics, restarts included; 0 where there is none."""
    return max((line.get("goodput/total_seconds") or 0.0 for line in files.read_lines(path)), default=0.0)


def parameters(config: Config) -> int:
    """Parameters of a run's model, counted without making any."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(partial(init, config)).params))


def commit(directory: Path) -> str:
    """The commit of the code in a directory, with "+" where files differ from it; "" outside a repository."""
    found = []
    for command in (["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]):
        try:
            done = subprocess.run(["git", *command], cwd=directory, capture_output=True, text=True)
        except OSError:  # no git
            return ""
        if done.returncode:
            return ""
        found.append(done.stdout.strip())
    return found[0] + ("+" if found[1] else "")


def probe_device() -> str:
    """Count and kind of the devices that runs will have, asked in a process of its own.

    This process must not take them: a TPU belongs to one process at a time.
    """
    code = "import jax; print(jax.device_count(), jax.devices()[0].device_kind, sep=' x ')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if found.returncode:
        raise UserError(f"no device was found: {(found.stderr.strip().splitlines() or ['?'])[-1]}")
    return found.stdout.strip().splitlines()[-1]
