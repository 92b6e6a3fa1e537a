"""Real processes over gloo do what one does."""

import json
import signal
import socket

import numpy as np
import pytest

pytestmark = pytest.mark.slow

FLAGS = ("--config.steps=16", "--config.save_every=8", "--config.log_every=1", "--config.keep=3")


def start_two(launcher, *flags: str, script: str = "pretrain") -> list:
    """Two processes of one device each that know each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    joined = ("--distributed", f"--coordinator=localhost:{port}", "--processes=2")
    return [launcher.start(*flags, *joined, f"--process={process}", script=script) for process in range(2)]


def run_two(launcher, *flags: str, script: str = "pretrain") -> list[str]:
    return [run.wait() for run in start_two(launcher, *flags, script=script)]


@pytest.fixture(scope="module")
def single(launcher, tmp_path_factory):
    """The same run in one process with one device."""
    from_path = tmp_path_factory.mktemp("single") / "run"
    launcher.run(*launcher.SMOKE, *FLAGS, f"--workdir={from_path}")
    return from_path


def test_two_processes_give_the_losses_of_one(launcher, workdir, single):
    single = type(workdir)(single)
    first, second = run_two(launcher, *launcher.SMOKE, *FLAGS, f"--workdir={workdir}")
    said = [line for line in second.splitlines() if not line.startswith("[Gloo]")]
    assert "everything is in" in first and said == []  # one of them speaks
    assert workdir.losses().keys() == single.losses().keys() and len(single.losses()) == 16
    np.testing.assert_allclose(list(workdir.losses().values()), list(single.losses().values()), rtol=1e-5)
    assert [line["step"] for line in workdir.lines()] == [line["step"] for line in single.lines()]
    assert workdir.steps() == [8, 16]
    assert len(list((workdir.path / "tensorboard").iterdir())) == 1
    ours, theirs = workdir.evaluations(), single.evaluations()
    assert ours.keys() == theirs.keys() and ours["step_16.json"].keys() == theirs["step_16.json"].keys()
    manifests = [w.meta(16)["manifest"] for w in (workdir, single)]
    assert manifests[0] == manifests[1]

    first, second = run_two(launcher, f"--workdir={workdir}", "--only=retrieval", script="evaluate")
    assert "report: " in first and "report: " not in second
    again = workdir.evaluations()["step_16.json"]
    assert again == pytest.approx(ours["step_16.json"], rel=1e-5)


def test_a_stopped_run_of_two_goes_on_in_one(launcher, workdir, single):
    """One of the two is asked to stop; both save the same step. The rest is done by one process, on the same data."""
    single = type(workdir)(single)
    flags = (*launcher.SMOKE, *FLAGS, f"--workdir={workdir}")
    runs = start_two(launcher, *flags)
    metrics = workdir.path / "metrics.jsonl"
    assert runs[0].until(lambda: metrics.exists() and metrics.read_text().count("\n") >= 2), runs[0].output
    runs[1].process.send_signal(signal.SIGTERM)
    outputs = [run.wait() for run in runs]
    step = workdir.steps()[-1]
    if step < 16:
        assert f"stopped after step {step} of 16" in outputs[0]
    assert "Traceback" not in "".join(outputs)
    output = launcher.run(*flags)
    assert f"step {step} of 16" in output
    np.testing.assert_allclose(list(workdir.losses().values()), list(single.losses().values()), rtol=1e-4)
    assert workdir.losses().keys() == single.losses().keys()
    assert json.loads((workdir.path / "config.json").read_text())["steps"] == 16


def test_a_process_that_cannot_join_says_so(launcher, workdir):
    output = launcher.run(*launcher.SMOKE, "--distributed", f"--workdir={workdir}", code=2)
    assert output.startswith("error: ") and output.count("\n") == 1
    assert "--coordinator" in output
