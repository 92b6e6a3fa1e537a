"""Tests of fine-tuning by the launcher: a run goes on from another one's parameters."""

import json

import pytest

from xmjax.training.adapters import WAYS


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_run_begins_from_another(way, smoke, launcher, workdir):
    output = launcher.run(
        f"--config=configs/finetune.py:from={smoke.workdir},task=scene,train={way}", f"--workdir={workdir}",
        "--config.steps=4", "--config.evaluation.samples=20",
    )  # fmt: skip
    assert f"the model begins with {smoke.workdir}, step 12: " in output
    told = json.loads((workdir.path / "weights.json").read_text())["run"]
    assert told["loaded"] and not told["unused"] and not told["reshaped"]
    assert all(name.startswith("lora/") for name in told["missing"]) and bool(told["missing"]) == (way == "lora")
    scores = workdir.evaluations()["step_4.json"]
    assert scores["playroom/finetune/n"] == 20 and 0 <= scores["playroom/finetune/scene"] <= 1
    held = [key for key in smoke.workdir.state() if ".params" in key and "embedders_image" in key]
    before, after = smoke.workdir.state(), workdir.state()
    assert held and all((before[key] == after[key]).all() for key in held) == (way != "all")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "score"),
    [("retrieval", "retrieval/text_to_image/R@1"), ("captioning", "caption/exact"), ("answering", "answer/model")],
)
def test_other_tasks(task, score, smoke, launcher, workdir):
    output = launcher.run(
        f"--config=configs/finetune.py:from={smoke.workdir},task={task},train=lora", f"--workdir={workdir}",
        "--config.steps=4", "--config.evaluation.samples=20",
    )  # fmt: skip
    assert f"the model begins with {smoke.workdir}" in output
    assert 0 <= workdir.evaluations()["step_4.json"][f"playroom/{score}"] <= 1


def test_a_missing_run_is_one_line(launcher):
    for argument, message in (("", "needs a run to begin from"), (":from=nowhere", "nowhere is no workdir of a run")):
        output = launcher.run(f"--config=configs/finetune.py{argument}", code=None)
        assert message in output and "Traceback" not in output
