"""Tests of the launchers, run as a user runs them: in subprocesses."""

import json
import shlex
import shutil
import signal

import pytest

from xmjax import inference

SCORES = {
    *(f"fill/{name}" for name in ("image", "no_image", "shuffled_image", "chance", "n")),
    *(
        f"retrieval/{way}/{name}"
        for way in ("text_to_image", "image_to_text")
        for name in ("R@1", "R@5", "R@10", "MedR", "n")
    ),
    *(f"caption/{name}" for name in ("exact", "bits_per_byte", "shuffled_image/bits_per_byte", "n")),
}


def table(output: str) -> list[str]:
    """The lines of the table that a run ends with."""
    lines = output.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("-----"))
    return [line for line in lines[rule - 1 :] if not line.startswith(("everything is in", "report:"))]


def test_smoke_run_writes_everything(smoke):
    path = smoke.workdir.path
    for name in ("config.json", "metrics.jsonl", "report.html", "eval/step_8.json", "eval/step_12.json"):
        assert (path / name).stat().st_size > 0, name
    assert list((path / "tensorboard").glob("events.out.tfevents.*"))
    assert smoke.workdir.steps() == [8, 12]
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == ["12", "8"]
    assert not list(path.glob("*.tmp"))
    assert inference.read_config(path).steps == 12
    assert f"everything is in {path}; look at {path}/report.html" in smoke.output
    assert "Traceback" not in smoke.output and "Warning" not in smoke.output


def test_scores_have_the_names_of_the_interface(smoke):
    scores = json.loads((smoke.workdir.path / "eval" / "step_12.json").read_text())
    assert {f"playroom/{name}" for name in SCORES} <= scores.keys()
    for name, value in scores.items():
        if name.endswith(("/n", "MedR", "MedR/oracle", "MedR/random", "bits_per_byte", "unigram")):
            assert value > 0, name
        else:
            assert 0 <= value <= 1, name
    assert scores["playroom/retrieval/text_to_image/n"] == 40
    assert scores["playroom/fill/chance"] < scores["playroom/fill/image/oracle"]


def test_metrics_file_has_a_line_for_each_logged_step_and_evaluation(smoke):
    lines = smoke.workdir.lines()
    assert [line["step"] for line in lines if "loss" in line] == [5, 10, 12]
    assert [line["step"] for line in lines if "playroom/fill/image" in line] == [8, 12]
    scores = smoke.workdir.evaluations()["step_12.json"]
    assert {key: lines[-1][key] for key in scores} == scores
    timed = [line for line in lines if "perf/step_seconds" in line]  # the first has the compilation in it
    assert [line["step"] for line in timed] == [10, 12]
    for line in timed:
        assert min(line["perf/flops_per_second"], line["perf/examples_per_second"], line["perf/bytes_per_second"]) > 0
        assert 0 <= line["perf/data_wait_share"] < 1 and "perf/mfu" not in line  # nobody knows the peak of a CPU
    for line in lines:
        buckets = [v for k, v in line.items() if k.startswith("goodput/") and k.endswith("_seconds")]
        total = line["goodput/total_seconds"]
        assert sum(buckets) - total == pytest.approx(total) and line["goodput/lost_seconds"] == 0


def test_finished_run_trains_nothing_and_shows_the_same_table(smoke, launcher, workdir):
    shutil.copytree(smoke.workdir.path, workdir.path)
    output = launcher.run(*smoke.flags, f"--workdir={workdir}")
    assert "step 12 of 12: finished before, nothing is left to train" in output and "compiling" not in output
    assert table(output) == table(smoke.output)
    assert (workdir.path / "metrics.jsonl").read_text() == (smoke.workdir.path / "metrics.jsonl").read_text()
    workdir.assert_equals(smoke.workdir)


@pytest.mark.slow
def test_finished_run_is_evaluated_again_where_that_has_changed(smoke, launcher, workdir):
    shutil.copytree(smoke.workdir.path, workdir.path)
    launcher.run(*smoke.flags, "--config.evaluation.samples=30", f"--workdir={workdir}")
    assert workdir.evaluations()["step_12.json"]["playroom/caption/n"] == 30


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("fill", ["fill/n"]),
        ("sense", ["sense/n"]),
        ("both", ["fill/n", "caption/n", "retrieval/text_to_audio/n"]),
        ("bridge", ["retrieval/text_to_audio/n"]),
        ("semantic", ["match/n", "rerank/text_to_image/n", "objects/n", "mask_predict/n"]),
        ("objects", ["match/n", "objects/n"]),
        ("finetune", ["finetune/n"]),
        ("bind", ["emergent/text_to_audio/n", "retrieval/text_to_image/n"]),
        ("subsets", ["subsets/n", "fill/n"]),
        ("uneven", ["subsets/n"]),
        ("families/clip", ["retrieval/text_to_image/n", "zero_shot/n"]),
        ("families/siglip", ["retrieval/text_to_image/n", "zero_shot/n"]),
        ("families/albef", ["match/n", "retrieval/text_to_image/n"]),
        ("families/vilbert", ["match/n", "objects/n"]),
        ("families/uniter", ["match/n", "objects/n"]),
        ("families/cappa", ["caption/n"]),
    ],
)
def test_smoke_run(name, counts, launcher, workdir):
    """Of the configs on the playroom that no other test runs."""
    output = launcher.run(f"--config=configs/{name}.py:smoke", f"--workdir={workdir}")
    scores = workdir.evaluations()["step_20.json"]
    assert all(scores[f"playroom/{count}"] > 0 for count in counts)
    shares = {k: v for k, v in scores.items() if not any(part in k for part in ("/n", "MedR", "bits"))}
    assert all(0 <= value <= 1 for value in shares.values())
    assert f"playroom / {counts[0].partition('/')[0]}" in output


@pytest.mark.slow
def test_evaluate_gives_the_scores_of_the_run(smoke, launcher, workdir):
    shutil.copytree(smoke.workdir.path, workdir.path)
    before = workdir.evaluations()
    shutil.rmtree(workdir.path / "eval")
    output = launcher.run(f"--workdir={workdir}", script="evaluate")
    assert table(output)[1:] == table(smoke.output)[1:]
    assert workdir.evaluations() == {name: before[name] for name in before if name.startswith("step_12")}
    launcher.run(f"--workdir={workdir}", "--step=8", "--only=retrieval,fill", script="evaluate")
    scores, whole = workdir.evaluations()["step_8.json"], before["step_8.json"]
    assert scores == {key: value for key, value in whole.items() if "/caption/" not in key}
    launcher.run(f"--workdir={workdir}", "--step=8", "--only=caption", script="evaluate")
    assert workdir.evaluations()["step_8.json"] == whole
    others = ("--set=data.grade=cluttered", "--set=evaluation.samples=20", "--name=cluttered")
    launcher.run(f"--workdir={workdir}", "--step=8", "--only=fill", *others, script="evaluate")
    evaluations = workdir.evaluations()
    assert evaluations["step_8.cluttered.json"]["playroom/fill/n"] == 20 and evaluations["step_8.json"] == whole


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_says_how_to_go_on(number, longer, launcher, workdir):
    command = (*longer.flags, f"--workdir={workdir}")
    run = launcher.start(*command)
    assert run.until(lambda: (workdir.path / "metrics.jsonl").exists() and workdir.lines())
    run.process.send_signal(number)
    output = run.wait()
    assert "Traceback" not in output and "error:" not in output
    words = output.splitlines()[-2].split()
    step = int(words[3])
    assert words[:3] == ["stopped", "after", "step"] and 3 <= step < 160
    assert output.splitlines()[-1] == f"  python launch/pretrain.py {shlex.join(command)}"
    assert workdir.steps()[-1] == step
    assert f"step {step} of 160: compiling" in launcher.run(*command)
    workdir.assert_equals(longer.workdir)


@pytest.mark.slow
def test_the_command_to_go_on_is_quoted_for_the_shell(launcher, workdir):
    flag = "--config.data.languages=('ko', 'en')"
    run = launcher.start(*launcher.SMOKE, "--config.steps=1000", "--config.log_every=1", flag, f"--workdir={workdir}")
    assert run.until(lambda: "compiling" in run.output)
    run.process.send_signal(signal.SIGTERM)  # while it compiles
    assert """'--config.data.languages=('"'"'ko'"'"', '"'"'en'"'"')'""" in run.wait()


@pytest.mark.slow
def test_a_second_interrupt_does_not_wait(launcher, workdir):
    run = launcher.start(*launcher.SMOKE, "--config.steps=100000", f"--workdir={workdir}")
    assert run.until(lambda: "compiling" in run.output)
    run.process.send_signal(signal.SIGINT)
    run.process.send_signal(signal.SIGINT)
    output = run.wait(code=None, seconds=120)
    # The second may come after the run has stopped by the first.
    assert run.process.returncode == 0 or output.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in output
