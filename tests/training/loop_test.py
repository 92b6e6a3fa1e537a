"""Tests of the loop in this process: what it reads from the device and when, and how it ends."""

import contextlib
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import inference, sharding
from xmjax.errors import UserError
from xmjax.objectives import OBJECTIVES, Objective
from xmjax.objectives import base as objectives
from xmjax.training import loop
from xmjax.training.checkpoint import Checkpoints
from xmjax.training.step import abstract_state


class OnDevice:
    """A metric that stays where it is, except while the loop says that it reads."""

    reads: list[tuple[int, int]] = []  # noqa: RUF012 (all of them share the list)
    queued = 0

    def __init__(self, value: jax.Array, step: int):
        self._value, self._step = value, step

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        OnDevice.reads.append((OnDevice.queued, self._step))
        return np.asarray(self._value, dtype)

    def _refuse(self):
        raise AssertionError(f"a metric of step {self._step} was converted one by one after step {OnDevice.queued}")

    __float__ = __int__ = __bool__ = __index__ = item = tolist = block_until_ready = lambda self: self._refuse()


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_reads_the_device_only_to_log_and_never_the_newest_step(make_config, tmp_path, monkeypatch):
    config = make_config({
        "steps": 13, "log_every": 4, "save_every": 6, "mesh.data": 8, "evaluation.names": (),
    })  # fmt: skip
    jitted = loop.jit_update

    def watched(*arguments):
        update = jitted(*arguments)

        def call(state, batch):
            state, metrics = update(state, batch)
            OnDevice.queued += 1
            return state, {key: OnDevice(value, OnDevice.queued) for key, value in metrics.items()}

        return call

    monkeypatch.setattr(loop, "jit_update", watched)
    monkeypatch.setattr(OnDevice, "reads", [])
    monkeypatch.setattr(OnDevice, "queued", 0)
    loop.train(config, tmp_path)
    assert OnDevice.queued == 13
    # (step just queued, step read): 4 and 8 are logged a step later, when the next is queued. The newest step is
    # read only before it is saved (6, 12) and at the end (13); 12 is logged then, and not again.
    assert sorted(set(OnDevice.reads)) == [(5, 4), (6, 6), (9, 8), (12, 12), (13, 13)]
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12, 13, 13]  # the second of 13 is the evaluation's


@dataclasses.dataclass(frozen=True)
class Options(objectives.Options):
    """Options of `Breaks`.

    Attributes:
      after: step from which on the loss is not a number.
    """

    after: int = 0


class Breaks(Objective):
    """A loss that is a number up to some step only."""

    Options = Options

    def loss(self, passes, rng):
        table = jax.tree.leaves(passes.model.variables["params"])[0]
        learned = jnp.mean(table.astype(jnp.float32) ** 2)
        return jnp.where(passes.batch["after"].max() > 0, jnp.nan, learned), {}

    def features(self, example):
        return {"after": np.int32(0)}


@pytest.mark.slow
def test_a_run_whose_loss_is_not_finite_stops_and_keeps_the_last_good_checkpoint(make_config, tmp_path, monkeypatch):
    """From step 7 on, a batch makes the loss NaN. Three steps are refused; then the run ends, and 6 is the newest."""
    monkeypatch.setitem(OBJECTIVES.items, "breaks", Breaks)
    config = make_config({
        "steps": 40, "log_every": 1, "save_every": 3, "keep": 5, "guard.patience": 3, "evaluation.names": (),
        "mesh.data": 8, "objectives": {"breaks": dataclasses.asdict(Options(after=6))},
    })  # fmt: skip
    place = loop.sharding.place
    placed = []

    def poisoned(batch, *arguments):
        placed.append(len(placed))
        batch = jax.tree.map(lambda x: x, batch)
        batch["image_text"]["after"] = np.full_like(batch["image_text"]["after"], placed[-1] >= 6)
        return place(batch, *arguments)

    monkeypatch.setattr(loop.sharding, "place", poisoned)
    with pytest.raises(UserError) as stopped:
        loop.train(config, tmp_path)
    message = str(stopped.value)
    assert message.startswith("3 steps in a row up to step 9 had a loss or gradient that is not finite")
    assert "the last good checkpoint is of step 6" in message and "config.optimizer.learning_rate" in message
    assert [line["loss"] is None for line in lines(tmp_path)] == [False] * 6 + [True] * 3
    with contextlib.closing(Checkpoints(tmp_path / "checkpoints", 5, read_only=True)) as saved:
        assert saved.steps() == [3, 6]
        restored = saved.restore(abstract_state(config, sharding.make_mesh(config.mesh)), 6)
    assert all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(restored.state))
    # The same command goes on from the last good one.
    with pytest.raises(UserError, match=r"the last good checkpoint is of step \d+"):
        loop.train(config, tmp_path)


@pytest.mark.slow
def test_an_error_in_the_loop_closes_everything(make_config, tmp_path, monkeypatch):
    """What was saved before the error is complete, and the metrics file holds what was logged."""
    config = make_config({"steps": 9, "log_every": 1, "save_every": 2, "mesh.data": 8, "evaluation.names": ()})
    place = loop.sharding.place
    count = []

    def failing(*arguments):
        count.append(1)
        if len(count) == 5:
            raise UserError("the data are gone")
        return place(*arguments)

    monkeypatch.setattr(loop.sharding, "place", failing)
    closed = []
    monkeypatch.setattr(Checkpoints, "close", _recorded(Checkpoints.close, closed, "checkpoints"))
    monkeypatch.setattr(loop.MetricsWriter, "close", _recorded(loop.MetricsWriter.close, closed, "metrics"))
    with pytest.raises(UserError, match="the data are gone"):
        loop.train(config, tmp_path)
    assert closed == ["metrics", "checkpoints"]
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4]
    with contextlib.closing(Checkpoints(tmp_path / "checkpoints", 2, read_only=True)) as saved:
        assert saved.steps() == [2, 4]


@pytest.mark.slow
def test_the_best_survives_later_checkpoints_and_a_resume(make_config, tmp_path, monkeypatch):
    """Scores rise until step 4 and fall from then on; the run stops after step 6 and goes on."""
    config = make_config({
        "steps": 10, "save_every": 3, "keep": 1, "mesh.data": 8, "evaluation.names": (), "evaluation.every": 2,
        "evaluation.best": "x/MedR",
    })  # fmt: skip
    monkeypatch.setattr(loop.Evaluation, "__call__", lambda self, state, step: {"x/MedR": 10.0 + abs(step - 4)})
    place, count = loop.sharding.place, []

    def failing(*arguments):
        count.append(1)
        if len(count) == 8:
            raise UserError("the data are gone")
        return place(*arguments)

    with monkeypatch.context() as broken:
        broken.setattr(loop.sharding, "place", failing)
        with pytest.raises(UserError, match="the data are gone"):
            loop.train(config, tmp_path)

    def saved() -> tuple[list[int], int | None]:
        with contextlib.closing(Checkpoints(tmp_path / "checkpoints", 1, read_only=True)) as checkpoints:
            return checkpoints.steps(), checkpoints.best()

    assert saved() == ([4, 6], 4)
    loop.train(config, tmp_path)
    assert saved() == ([4, 10], 4)
    mesh = sharding.make_mesh(config.mesh)
    assert inference.restore(tmp_path, config, mesh, "best")[1] == 4
    assert inference.restore(tmp_path, config, mesh)[1] == 10
    wrong = make_config({"evaluation.every": 2, "evaluation.best": "MdeR", "mesh.data": 8, "steps": 2})
    with pytest.raises(UserError, match=r"evaluation\.best='MdeR' is no score of this run: did you mean"):
        loop.train(wrong, tmp_path / "wrong")


@pytest.mark.slow
def test_weights_of_files_are_read_before_the_first_step_and_never_again(make_config, tmp_path, monkeypatch, capsys):
    config = make_config({
        "steps": 6, "save_every": 2, "mesh.data": 8, "evaluation.names": (), "log_every": 1,
        "optimizer.learning_rate": 1e-9, "optimizer.weight_decay": 0.0,
    })  # fmt: skip
    asked, place = [], loop.sharding.place

    def read(model, params):
        asked.append(1)
        table = params["towers_text"]["query"]
        told = {"file": "a.npz", "loaded": ["query"], "missing": ["out"], "unused": [], "reshaped": []}
        return {"towers_text/query": np.full(table.shape, 7, np.float32)}, {"text": told}

    def failing(*arguments):
        if len(lines(tmp_path)) == 4 and len(asked) == 1:
            asked.append(0)
            raise UserError("the data are gone")
        return place(*arguments)

    monkeypatch.setattr(loop.weights, "read", read)
    monkeypatch.setattr(loop.sharding, "place", failing)
    with pytest.raises(UserError, match="the data are gone"):
        loop.train(config, tmp_path)
    assert "text begins with a.npz: 1 loaded; 1 missing (out); 0 unused; 0 reshaped" in capsys.readouterr().out
    loop.train(config, tmp_path)
    assert asked == [1, 0] and "begins with" not in capsys.readouterr().out
    assert json.loads((tmp_path / "weights.json").read_text())["text"]["loaded"] == ["query"]
    state, step = inference.restore(tmp_path, config, sharding.make_mesh(config.mesh))
    assert step == 6
    np.testing.assert_allclose(state.params["towers_text"]["query"], 7, atol=1e-5)


def _recorded(method, closed, name):
    def call(self):
        closed.append(name)
        return method(self)

    return call
