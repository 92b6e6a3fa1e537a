"""A run that is killed at random moments and started again ends as if nothing had happened."""

import json
import random
import shutil
import signal
import time

import pytest

pytestmark = pytest.mark.slow

MOMENTS = ("start", "train", "save", "train", "save", "train", "train", "save", "start", "train")


def unfinished(workdir) -> set[str]:
    """Directories of checkpoints that are being written."""
    directory = workdir.path / "checkpoints"
    return {p.name for p in directory.iterdir() if "tmp" in p.name} if directory.is_dir() else set()


def kill(launcher, command: list[str], workdir, moment: str, rng: random.Random) -> bool:
    """Starts the run and kills it at a random moment; whether an unfinished checkpoint was left behind."""
    run = launcher.start(*command)
    if moment == "start":
        time.sleep(rng.uniform(1, 6))
    else:
        assert run.until(lambda: ": compiling" in run.output), run.output
        before, there = len(workdir.lines()), unfinished(workdir)
        if moment == "train":
            assert run.until(lambda: len((workdir.path / "metrics.jsonl").read_text().splitlines()) > before)
            time.sleep(rng.uniform(0, 0.8))
        else:
            assert run.until(lambda: unfinished(workdir) - there)
            time.sleep(rng.uniform(0, 0.05))
    run.process.kill()
    run.process.wait()
    assert run.process.returncode == -signal.SIGKILL, f"ended before it was killed:\n{run.output}"
    return bool(unfinished(workdir))


def test_ten_kills_leave_no_trace(longer, launcher, workdir):
    rng = random.Random(0)
    command = [*longer.flags, f"--workdir={workdir}"]
    mid_save = 0
    for moment in MOMENTS:
        mid_save += kill(launcher, command, workdir, moment, rng)
        if (workdir.path / "config.json").exists():
            for step in workdir.steps():
                assert workdir.state(step) and workdir.meta(step)["clock"]  # every one that is listed can be read
    assert mid_save >= 2, f"only {mid_save} of {len(MOMENTS)} kills came while a checkpoint was written"
    launcher.run(*command)
    workdir.assert_equals(longer.workdir)
    last = workdir.lines()[-1]
    buckets = {k: v for k, v in last.items() if k.startswith("goodput/") and k.endswith("_seconds")}
    total = buckets.pop("goodput/total_seconds")
    assert sum(buckets.values()) == pytest.approx(total)
    assert buckets["goodput/lost_seconds"] > 0


def test_what_a_kill_can_leave_is_survived(smoke, launcher, workdir):
    """A line cut short, an unfinished checkpoint, one half deleted, and files half written."""
    shutil.copytree(smoke.workdir.path, workdir.path)
    checkpoints = workdir.path / "checkpoints"
    text = (workdir.path / "metrics.jsonl").read_text()
    (workdir.path / "metrics.jsonl").write_text(text[: text.rindex("{") + 100])
    shutil.copytree(checkpoints / "8", checkpoints / "4")
    for name in ("_CHECKPOINT_METADATA", "commit_success.txt"):
        (checkpoints / "4" / name).unlink()
    shutil.rmtree(checkpoints / "4" / "meta")
    (checkpoints / "12").rename(checkpoints / "12.orbax-checkpoint-tmp")
    shutil.rmtree(checkpoints / "12.orbax-checkpoint-tmp" / "state")
    (workdir.path / "eval" / "step_12.json").write_text('{"playroom')
    (workdir.path / "config.tmp").write_text("{")
    launcher.run("--workdir", str(workdir), "--only=retrieval", script="evaluate")  # reads the newest complete one
    assert "step 8 of 12: compiling" in launcher.run(*smoke.flags, f"--workdir={workdir}")
    workdir.assert_equals(smoke.workdir)
    assert sorted(p.name for p in checkpoints.iterdir()) == ["12", "8"]


def test_lost_time_is_what_came_after_the_checkpoint(smoke, launcher, workdir):
    shutil.copytree(smoke.workdir.path, workdir.path)
    shutil.rmtree(workdir.path / "checkpoints" / "12")
    lines = workdir.lines()
    ended = lines[-1]["goodput/total_seconds"]
    saved = sum(workdir.meta(8)["clock"].values())
    launcher.run(*smoke.flags, f"--workdir={workdir}")
    assert workdir.lines()[-1]["goodput/lost_seconds"] == pytest.approx(ended - saved)
    assert json.loads((workdir.path / "metrics.jsonl").read_text().splitlines()[0]) == lines[0]
