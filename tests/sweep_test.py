"""Tests of sweeps: arms and errors, what is run again and what is not, the table, and a real interrupted sweep."""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs.semantic import get_config as semantic_config
from xmjax import config as config_module
from xmjax import requirements, sweep, sweep_table
from xmjax.errors import UserError
from xmjax.objectives import OBJECTIVES, options

ROOT = Path(__file__).parents[1]
METRIC = "playroom/fill/image"

# ml_collections loads config files by a method that Python is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

# Stands for launch/pretrain.py: leaves what a run leaves, without training.
FAKE = """
import json, pathlib, sys
given = dict(a.lstrip("-").split("=", 1) for a in sys.argv[1:])
workdir = pathlib.Path(given["workdir"])
with open(workdir.parents[1] / "calls", "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if given["config.optimizer.name"] == "muon" and "config.optimizer.clip" in given:
    sys.exit("the reason why it failed")
(workdir / "eval").mkdir(exist_ok=True)
(workdir / "metrics.jsonl").write_text('{"step": 1, "goodput/total_seconds": 12.5}\\n{"step": 2}\\n')
value = 0.5 + 0.1 * int(given["config.seed"]) + 0.2 * (given["config.optimizer.name"] == "muon")
scores = {"playroom/fill/image": value, "playroom/fill/image/oracle": 1.0, "playroom/fill/chance": 0.125}
(workdir / "eval" / f"step_{given['config.steps']}.json").write_text(json.dumps(scores))
"""


def values(**changes) -> ConfigDict:
    arms = {name: {"optimizer.name": name, "steps": 3} for name in ("adamw", "muon")}
    fields = {"name": "pair", "base": "configs/base.py:smoke", "arms": arms, "seeds": (0, 1), "control": "adamw"}
    return ConfigDict(fields | changes, convert_dict=False)


@pytest.fixture
def launcher(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sweep, "probe_device", lambda: "1 x cpu")
    path = tmp_path / "launcher.py"
    path.write_text(FAKE)
    return path


def make(launcher: Path, **changes) -> tuple[list[str], list[str], Path]:
    """Runs a sweep; returns failures, all calls so far and the file of results."""
    folder = launcher.parent
    results = folder / "results" / "pair.jsonl"
    failures = sweep.run(sweep.build(values(**changes)), launcher, folder / "runs", results, lambda line: None)
    calls = (folder / "runs" / "calls").read_text().splitlines()
    return failures, calls, results


def test_runs_are_lines_that_say_what_was_run(launcher):
    failures, calls, results = make(launcher)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert not failures and len(calls) == 4
    assert [(line["arm"], line["seed"]) for line in lines] == [("adamw", 0), ("muon", 0), ("adamw", 1), ("muon", 1)]
    first = lines[0]
    assert first["scores"][METRIC] == 0.5 and first["seconds"] == 12.5 and first["steps"] == 3
    assert first["parameters"] > 1000 and first["device"] == "1 x cpu"
    assert first["command"] == (
        "python launch/pretrain.py --config=configs/base.py:smoke --workdir=runs/sweeps/pair/adamw/seed_0 "
        "--config.optimizer.name=adamw --config.steps=3 --config.seed=0"
    )
    # The table of requirements reads the same file.
    assert requirements.read_results(results.parent)["pair"] == lines


def test_several_runs_at_a_time_share_the_cores(launcher):
    folder = launcher.parent
    results, wanted = folder / "results" / "pair.jsonl", sweep.build(values())
    cores = sorted(os.sched_getaffinity(0))
    assert not sweep.run(wanted, launcher, folder / "runs", results, lambda line: None, jobs=2)
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert sorted((line["arm"], line["seed"]) for line in lines) == [
        ("adamw", 0), ("adamw", 1), ("muon", 0), ("muon", 1)
    ]  # fmt: skip
    assert all(line["jobs"] == 2 for line in lines)
    assert set().union(*sweep.shares(2)) == set(cores) and not set.intersection(*sweep.shares(2))
    table = sweep_table.write(wanted, sweep.plan(wanted), results.parent)
    assert "2 runs at a time" in table and "All arms: steps=3." in table and table.count("steps=3") == 1
    with pytest.raises(UserError, match="at most one job a core"):
        sweep.shares(len(cores) + 1)


def test_finished_runs_are_not_made_again(launcher):
    make(launcher)
    _, calls, results = make(launcher)
    assert len(calls) == 4
    _, calls, _ = make(launcher, seeds=(0, 1, 2))
    assert len(calls) == 6 and all("--config.seed=2" in call for call in calls[4:])
    shorter = {"adamw": {"optimizer.name": "adamw", "steps": 2}}
    _, calls, _ = make(launcher, arms=shorter)
    assert len(calls) == 8, "other settings are other runs"
    wanted = sweep.build(values(arms=shorter))
    found, others = sweep_table.collect(sweep.plan(wanted), results)
    assert [(line["steps"], line["seed"]) for line in found] == [(2, 0), (2, 1)] and others == 6
    assert "6 runs in pair.jsonl belong to other settings" in sweep_table.write(
        wanted, sweep.plan(wanted), results.parent
    )


def test_a_line_that_a_kill_left_unfinished_is_made_again(launcher):
    _, calls, results = make(launcher)
    text = results.read_text()
    results.write_text(text[:-40])
    _, calls, _ = make(launcher)
    assert len(calls) == 5 and results.read_text() == text


def test_a_failed_arm_is_reported_and_the_others_go_on(launcher):
    arms = {
        "bad arm": {"optimizer.name": "muon", "optimizer.clip": 2.0},
        "good": {"optimizer.name": "muon", "steps": 3},
    }
    failures, calls, results = make(launcher, arms=arms, control="good", seeds=(0,))
    assert len(calls) == 2 and len(results.read_text().splitlines()) == 1
    assert len(failures) == 1 and "bad arm, seed 0: exit status 1" in failures[0]
    assert "the reason why it failed" in failures[0] and "bad_arm/seed_0/log.txt" in failures[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": ()}, "has no seeds"),
        ({"arms": {}}, "has no arms"),
        ({"control": "adam"}, "unknown control arm 'adam': did you mean 'adamw'"),
        ({"base": ""}, "'base' is missing"),
        ({"seed": 3}, "unknown field 'seed' in the config: did you mean 'seeds'"),
        ({"base": "configs/bse.py"}, "arm 'adamw': config file 'configs/bse.py' does not exist"),
        ({"base": "configs/base.py:size=tny"}, "unknown mode 'size=tny'"),
        (
            {"arms": {"adamw": {"optimizer.nme": "a"}}},
            r"config field config\.optimizer\.nme: did you mean 'name'",
        ),
        ({"arms": {"adamw": {"steps.more": 1}}}, r"unknown config field config\.steps\.more"),
        ({"arms": {"adamw": {"steps": "many"}}}, "arm 'adamw': .*many"),
        ({"arms": {"adamw": {"steps": 0}}}, "config.steps=0: must be at least 1"),
        ({"arms": {"adamw": {"seed": 1}}}, "seeds belong in"),
        ({"arms": {"adamw": {}, "a b": {}, "a/b": {}}}, "share the directory"),
    ],
)
def test_mistakes_are_named_before_anything_runs(changes, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=message) as raised:
        sweep.plan(sweep.build(values(**changes)))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("launcher", ["sweep", "bench"])
def test_a_missing_config_is_one_line(launcher):
    command = [sys.executable, f"launch/{launcher}.py", "--config=configs/nope.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and "configs/nope.py" in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_a_finished_run_is_known_by_what_it_computed(make_config, monkeypatch):
    """A changed recipe runs again, wherever the change was made; another mesh or another name does not."""
    first = sweep.recipe(make_config())
    assert first["model.width"] == 16 and first["objectives"] == ["caption", "contrast", "fill"]
    assert sweep.recipe(make_config({"mesh.data": 1, "name": "other", "log_every": 3})) == first
    for change in ({"optimizer.clip": 2.0}, {"model.image.patch": 8}, {"steps": 77}, {"evaluation.samples": 7}):
        assert sweep.recipe(make_config(change)) != first
    fill = make_config({"objectives": {"fill": options("fill")}})
    assert sweep.recipe(fill)["objectives"] == ["fill"]
    version = OBJECTIVES["fill"].version
    assert {k: v for k, v in sweep.recipe(fill).items() if k.startswith("objectives.")} == (
        {"objectives.fill.version": version} if version > 1 else {}
    )
    monkeypatch.setattr(OBJECTIVES["fill"], "version", version + 1)
    assert sweep.recipe(fill)["objectives.fill.version"] == version + 1


def test_a_grid_is_crossed():
    grid = {"batch_size": (8, 16), "model.text.ngrams": ((), (2, 3))}
    arms = sweep.build(values(arms={"plain": {}}, grid=grid, control="plain")).arms
    assert list(arms) == [
        "plain",
        "batch_size=8,model.text.ngrams=()",
        "batch_size=8,model.text.ngrams=(2, 3)",
        "batch_size=16,model.text.ngrams=()",
        "batch_size=16,model.text.ngrams=(2, 3)",
    ]
    assert arms["batch_size=16,model.text.ngrams=(2, 3)"] == {"batch_size": 16, "model.text.ngrams": (2, 3)}


def test_values_of_every_type_reach_the_config(monkeypatch):
    monkeypatch.chdir(ROOT)
    overrides = {"model.text.ngrams": (2, 3), "optimizer.learning_rate": 3e-5, "data.grade": "cluttered", "steps": 7}
    config = sweep.load_config("configs/base.py:smoke", overrides | {"objectives.fill.rate": 0.5})
    assert config.model.text.ngrams == (2, 3) and config.optimizer.learning_rate == 3e-5
    assert config.data.grade == "cluttered" and config.steps == 7 and config.objectives["fill"].rate == 0.5


def test_the_table_compares_with_the_control(launcher):
    _, _, results = make(launcher)
    wanted = sweep.build(values(metrics=(METRIC, "playroom/fill/imag")))
    text = sweep_table.write(wanted, sweep.plan(wanted), results.parent)
    cells = json.loads((results.parent / "pair.json").read_text())["metrics"][METRIC]
    assert cells["muon"]["mean"] == pytest.approx(0.75) and cells["muon"]["n"] == 2
    assert cells["muon"]["sd"] == pytest.approx(0.1 / 2**0.5)
    assert cells["muon"]["difference"] == pytest.approx(0.2) and cells["adamw"]["difference"] is None
    assert cells["muon"]["oracle"] == 1.0 and cells["muon"]["baselines"] == {"chance": 0.125}
    assert text == (results.parent / "pair.md").read_text()
    section = text.partition(f"## {METRIC}\n")[2].partition("##")[0]
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section.split("\n") if row.startswith("|")]
    assert rows[0] == ["arm", "mean", "sd", "n", "against adamw", "oracle", "chance"]
    assert rows[2] == ["adamw", "55.0%", "7.1%", "2", "-", "100.0%", "12.5%"]
    assert rows[3] == ["muon", "75.0%", "7.1%", "2", "+20.0 points", "100.0%", "12.5%"]
    assert f"No run has this score: did you mean '{METRIC}'" in text


def test_a_score_that_is_not_finite_is_counted_apart():
    wanted = sweep.build(values(metrics=(METRIC,)))
    lines = [{"arm": "muon", "seed": s, "seconds": 1.0, "scores": {METRIC: v}} for s, v in ((0, None), (1, 0.5))]
    table = sweep_table.summarise(wanted, lines)
    cell = table["metrics"][METRIC]["muon"]
    assert (cell["mean"], cell["sd"], cell["n"], cell["not_finite"], cell["difference"]) == (0.5, None, 1, 1, None)
    assert "1, 1 not finite" in sweep_table.render(wanted, table)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "sweeps").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_shipped_sweeps_can_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    begun = tmp_path / "runs" / "semantic" / "config.json"  # of the finished run that fine-tuning begins with
    begun.parent.mkdir(parents=True)
    begun.write_text(json.dumps(config_module.to_dict(config_module.build(semantic_config()))))
    built = sweep.build(runpy.run_path(str(path))["get_config"]())
    assert built.name == path.stem
    runs = sweep.plan(built)
    assert len(runs) == len(built.arms) * len(built.seeds)
    # A table whose config has moved on, through another that it builds on perhaps, would lose its runs unseen.
    results = ROOT / "docs" / "results" / f"{path.stem}.jsonl"
    assert not results.exists() or sweep_table.collect(runs, results)[0], "no committed run is of these settings"


@pytest.mark.slow
def test_an_interrupted_sweep_goes_on(tmp_path):
    config = tmp_path / "two.py"
    arms = {name: {"optimizer.name": name, "steps": 200, "save_every": 0} for name in ("muon", "adamw")}
    fields = {"name": "two", "base": "configs/base.py:smoke", "arms": arms, "seeds": (0,), "control": "muon"}
    config.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config():\n"
        f"    return ConfigDict({fields!r}, convert_dict=False)\n"
    )
    results, workdir = tmp_path / "results", tmp_path / "runs"
    command = [sys.executable, "launch/sweep.py", f"--config={config}", f"--results={results}", f"--workdir={workdir}"]
    metrics = workdir / "muon" / "seed_0" / "metrics.jsonl"
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not (metrics.exists() and metrics.read_text()):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate()
    assert process.returncode == 2 and "interrupted" in errors
    assert not (results / "two.jsonl").exists()

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (results / "two.jsonl").read_text().splitlines()]
    assert [line["arm"] for line in lines] == ["muon", "adamw"]
    assert all(line["scores"][METRIC] > 0 and line["steps"] == 200 for line in lines)
    log = (workdir / "muon" / "seed_0" / "log.txt").read_text()
    assert "stopped after step" in log, "the first part had saved, the second went on from there"
    assert f"## {METRIC}" in done.stdout

    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert again.returncode == 0 and "2 of them finished before" in again.stdout
