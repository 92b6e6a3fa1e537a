"""Tests of the update: a golden loss, the guard, averaged parameters, optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax.config import GuardConfig
from xmjax.objectives import OBJECTIVES, Objective, make, options
from xmjax.training import optimizer
from xmjax.training.step import Guard, init, update

GOLDEN = [39.037418365478516, 38.517616271972656, 38.711936950683594]
"""Losses of the first three steps of the tiny config. They change with everything that changes what is computed: data,
masks, initialisation, model, losses, optimizer. Where such a change is meant, run this test, look whether the new
values are as plausible (fill and caption near log 384 nats and more), and copy them from the failure's message."""


def jitted(config):
    objectives = make(config)
    return jax.jit(lambda state, batch: update(config, objectives, state, batch))


def same_bits(a, b) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in pairs)


@pytest.fixture(scope="module")
def adamw_run(make_config, batch_at, tiny_state):
    """Losses and metrics of twelve steps of the tiny config on three batches by turns."""
    config = make_config({"steps": 12, "optimizer.learning_rate": 3e-3, "optimizer.warmup": 2})
    state, step, found = tiny_state, jitted(config), []
    batches = [batch_at(config, i) for i in range(3)]
    for i in range(12):
        state, metrics = step(state, batches[i % 3])
        found.append({k: float(v) for k, v in metrics.items()})
    return found, int(state.step)


def test_golden_loss(adamw_run):
    losses = [m["loss"] for m in adamw_run[0][:3]]
    assert losses == pytest.approx(GOLDEN, rel=1e-5), losses


def test_adamw_lowers_the_loss_of_every_objective(adamw_run):
    found, steps = adamw_run
    assert steps == 12
    for name in ("fill/loss", "caption/loss", "contrast/loss", "loss"):
        assert np.mean([m[name] for m in found[-3:]]) < 0.97 * np.mean([m[name] for m in found[:3]]), name
    assert found[0]["learning_rate"] == 0 and max(m["learning_rate"] for m in found) == pytest.approx(3e-3)
    total = [2 * m["fill/loss"] + 0.1 * m["contrast/loss"] + 4 * m["caption/loss"] for m in found]  # configs/base.py
    np.testing.assert_allclose([m["loss"] for m in found], total, rtol=1e-6)


@pytest.mark.slow
def test_muon_lowers_the_loss(make_config, batch_at):
    config = make_config(
        {"optimizer.name": "muon", "optimizer.learning_rate": 3e-3, "optimizer.warmup": 1, "steps": 14,
         "objectives": {"caption": options("caption", captions=1)}}
    )  # fmt: skip
    step, losses = jitted(config), []
    state = first = jax.jit(lambda: init(config))()
    batch = batch_at(config)
    for _ in range(14):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.9 * losses[0], losses
    # Muon's update of a matrix is near orthogonal: all its singular values are of one size, as no gradient's are.
    moved = [
        np.linalg.svd(
            np.asarray(state.params["decoder"]["stack"][name] - first.params["decoder"]["stack"][name])[0].reshape(
                16, -1
            )
        )[1]
        for name in ("mlp_up", "attention_query")
    ]
    assert all(np.median(s) > 0.15 * s.max() for s in moved), moved


@OBJECTIVES.register("times")
class Times(Objective):
    """A small loss, times a factor that stands in the batch."""

    def features(self, example):
        return {"factor": np.float32(1)}

    def loss(self, passes, rng):
        return jnp.mean(passes.batch["factor"]) * jnp.mean((passes.tower("image")[:, 0] - 0.5) ** 2), {}


@pytest.fixture(scope="module")
def guarded(make_config, batch_at, tiny_state):
    """Config, jitted step, first state, and a function from a factor to a batch whose loss is multiplied by it."""
    config = make_config(
        {"objectives": {"times": options("times")}, "optimizer.ema": 0.5, "optimizer.warmup": 1, "guard.window": 4,
         "guard.patience": 3, "steps": 40}
    )  # fmt: skip
    batch = batch_at(config)

    def times(factor: float) -> dict:
        arrays = batch["image_text"]
        return {"image_text": arrays | {"factor": np.full_like(arrays["factor"], factor)}}

    return config, jitted(config), tiny_state.replace(ema=tiny_state.params), times


@pytest.fixture(scope="module")
def warmed(guarded):
    """The state after six sound steps, past the guard's window."""
    _, step, state, times = guarded
    for _ in range(6):
        state, metrics = step(state, times(1.0))
    assert int(metrics["guard/skipped"]) == 0 and int(state.guard.accepted) == 6
    return state


@pytest.mark.parametrize("factor", [np.nan, np.inf, -np.inf, 1e6])
def test_a_bad_step_is_skipped_and_counted(guarded, warmed, factor):
    _, step, _, times = guarded
    state, metrics = step(warmed, times(factor))
    assert int(metrics["guard/skipped"]) == 1, (metrics, warmed.guard)
    assert same_bits(state.params, warmed.params) and same_bits(state.opt_state, warmed.opt_state)
    assert int(metrics["guard/skipped"]) == 1 and int(metrics["guard/in_a_row"]) == 1
    assert int(state.step) == int(warmed.step) + 1
    assert float(state.guard.mean) == float(warmed.guard.mean) and float(state.guard.square) == float(
        warmed.guard.square
    )
    again, metrics = step(state, times(1.0))
    assert not same_bits(again.params, state.params)
    assert int(metrics["guard/skipped"]) == 1 and int(metrics["guard/in_a_row"]) == 0


def test_other_data_is_not_judged_by_the_old(warmed):
    loss = warmed.guard.mean * 100
    assert not warmed.guard.accepts(loss, loss, GuardConfig(window=4))
    guard = warmed.guard.forget(jnp.array(True))
    assert guard.accepts(loss, loss, GuardConfig(window=4))
    guard = guard.update(loss, jnp.array(True), GuardConfig(window=4))
    assert float(guard.mean) == float(loss) and int(guard.accepted) == 1


def test_within_the_window_only_what_is_not_finite_is_skipped(guarded):
    _, step, state, times = guarded
    state, metrics = step(state, times(1.0))
    state, metrics = step(state, times(1e3))
    assert int(metrics["guard/skipped"]) == 0
    state, metrics = step(state, times(np.nan))
    assert int(metrics["guard/skipped"]) == 1


def test_a_lower_loss_is_no_spike(guarded, warmed):
    _, step, _, times = guarded
    assert int(step(warmed, times(0.0))[1]["guard/skipped"]) == 0


def test_after_too_many_bad_steps_nothing_is_applied(guarded, warmed):
    _, step, _, times = guarded
    state = warmed
    for i in range(3):
        state, metrics = step(state, times(np.nan))
        assert int(metrics["guard/in_a_row"]) == i + 1
    for i in range(2):  # sound steps come too late: the host has to see it and stop
        state, metrics = step(state, times(1.0))
        assert int(metrics["guard/in_a_row"]) == 4 + i
    assert same_bits(state.params, warmed.params) and same_bits(state.opt_state, warmed.opt_state)


def test_six_sigma_against_numpy():
    config = GuardConfig(sigma=6.0, window=50, patience=5)
    rng, guard, losses = np.random.default_rng(0), Guard.start(), []
    for _ in range(50):
        loss = rng.normal(3.0, 0.1)
        losses.append(loss)
        accepted = guard.accepts(jnp.float32(loss), jnp.float32(1), config)
        guard = guard.update(jnp.float32(loss), accepted, config)
    assert int(guard.accepted) == 50
    mean, deviation = np.mean(losses), np.std(losses)
    assert float(guard.mean) == pytest.approx(mean, rel=1e-5)
    for sigmas, expected in ((5.8, True), (6.2, False), (-20, True)):
        loss = jnp.float32(mean + sigmas * deviation)
        assert bool(guard.accepts(loss, jnp.float32(1), config)) == expected, sigmas
    assert not guard.accepts(jnp.float32(mean), jnp.float32(jnp.inf), config)  # the gradient's norm counts too
    assert guard.accepts(jnp.float32(1e9), jnp.float32(1), GuardConfig(sigma=0.0))
    assert not guard.accepts(jnp.float32(jnp.nan), jnp.float32(1), GuardConfig(sigma=0.0))


def test_averaged_parameters_follow_the_formula(guarded):
    config, step, state, times = guarded
    assert same_bits(state.ema, state.params)
    expected = jax.tree.map(np.asarray, state.params)
    for i in range(8):
        state, _ = step(state, times(1.0))
        decay = min(config.optimizer.ema, (1 + i) / (10 + i))
        expected = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * np.asarray(p), expected, state.params)
    for e, found in zip(*map(jax.tree.leaves, (expected, state.ema)), strict=True):
        np.testing.assert_allclose(found, e, atol=1e-6)
    kernel = state.ema["towers_image"]["out"] - state.params["towers_image"]["out"]
    assert np.abs(kernel).max() > 1e-5


def test_no_average_is_kept_unless_asked_for(tiny_config):
    assert jax.eval_shape(lambda: init(tiny_config)).ema is None


def test_weight_decay_takes_matrices_only(make_config):
    config = make_config({"model.text.ngrams": (2, 3), "model.image.stem": 8})
    params = jax.eval_shape(lambda: init(config).params)
    decayed = {
        jax.tree_util.keystr(path, simple=True, separator="/"): value
        for path, value in jax.tree_util.tree_flatten_with_path(optimizer.decayed(params))[0]
    }
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]
    }
    free = {name for name, value in decayed.items() if not value}
    for name, shape in shapes.items():
        last = name.rsplit("/")[-1]
        vector = len(shape) < 2 or "norm" in last
        table = "table" in last or "position" in last or last.startswith("ngram")
        assert (name in free) == (vector or table), f"{name} {shape} is {'not ' if name in free else ''}decayed"
    assert {"decoder/table", "log_scale", "absent_image", "decoder/stack/mlp_norm"} <= free
    assert decayed["decoder/head"] and decayed["decoder/stack/mlp_up"] and decayed["embedders_image/stem0"]


@pytest.mark.parametrize("name", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_without_a_gradient_only_decayed_matrices_move(make_config, tiny_state, name):
    config = make_config({"optimizer.name": name, "optimizer.warmup": 0})
    params, transformation = tiny_state.params, optimizer.make(config)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = transformation.update(zeros, transformation.init(params), params)
    moved = jax.tree.map(lambda update: bool(jnp.any(update)), updates)
    assert all(jax.tree.leaves(jax.tree.map(lambda m, d: d or not m, moved, optimizer.decayed(params))))
    assert moved["decoder"]["stack"]["mlp_up"] and not moved["embedders_image"]["position"] and not moved["log_scale"]


@pytest.mark.parametrize("decay", ["cosine", "linear", "step", "constant"])
def test_the_schedule(make_config, decay):
    c = make_config(
        {"optimizer.decay": decay, "optimizer.warmup": 10, "optimizer.learning_rate": 2.0, "optimizer.final": 0.1}
    )
    rate = optimizer.schedule(c.optimizer, 110)
    assert [float(rate(s)) for s in (0, 5, 10)] == pytest.approx([0, 1, 2])
    middle, last = {"cosine": (1.1, 0.2), "linear": (1.1, 0.2), "step": (2, 0.2), "constant": (2, 2)}[decay]
    assert [float(rate(60)), float(rate(110))] == pytest.approx([middle, last], rel=1e-5)
    if decay == "step":  # at three quarters of all steps, whatever the warm-up
        assert [float(rate(s)) for s in (81, 82)] == pytest.approx([2, 0.2])


@pytest.mark.parametrize("decay", ["cosine", "linear", "step", "constant"])
def test_a_run_of_one_step_has_a_schedule(make_config, decay):
    config = make_config({"steps": 1, "optimizer.decay": decay})
    assert np.isfinite(optimizer.schedule(config.optimizer, 1)(0))
