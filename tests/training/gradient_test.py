"""Tests of microbatches: losses that compare rows with each other are still those of the whole batch."""

from functools import partial

import jax
import numpy as np
import pytest

from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.objectives import make, options
from xmjax.training.step import jit_init, jit_update, update

LOSSES = {
    "infonce": options("contrast"),
    "chunked": options("contrast", chunk=4),
    "variable": options("contrast", margin=0.2, variable=True),
    "sigmoid": options("contrast", loss="sigmoid"),
    "ranking": options("contrast", loss="ranking", margin=0.2),
}


def check_same(found, expected) -> None:
    """Compares losses, and AdamW's first moments after one step, which are the gradient times 1 - b1."""
    (state, metrics), (whole, whole_metrics) = found, expected
    for name in (n for n in whole_metrics if n.endswith(("loss", "accuracy"))):
        np.testing.assert_allclose(metrics[name], whole_metrics[name], rtol=1e-5, err_msg=name)
    moments = [jax.tree.map(np.asarray, s.opt_state[1][0].mu) for s in (state, whole)]
    for part, leaf in zip(*map(jax.tree.leaves, moments), strict=True):
        np.testing.assert_allclose(part, leaf, rtol=0, atol=1e-5 * np.abs(leaf).max())
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moments[1]["towers_image"])) > 1e-3


@pytest.fixture(scope="module")
def stepped(make_config, batch_at, tiny_state):
    """Function from changes of the tiny config to the state and the metrics after one step."""

    def run(changes):
        config = make_config({"optimizer.clip": 1e9, "optimizer.warmup": 0} | changes)  # such a clip does nothing
        objectives = make(config)
        state = tiny_state.replace(ema=tiny_state.params) if config.optimizer.ema else tiny_state
        return jax.jit(lambda state, batch: update(config, objectives, state, batch))(state, batch_at(config))

    return run


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n == "infonce" else pytest.mark.slow) for n in LOSSES])
def test_contrast_in_microbatches_is_that_of_the_whole_batch(stepped, name):
    changes = {"objectives": {"contrast": LOSSES[name]}, "optimizer.ema": 0.5 if name == "infonce" else 0.0}
    found, whole = stepped(changes | {"optimizer.accumulate": 4}), stepped(changes)
    check_same(found, whole)
    if name != "ranking":
        assert np.abs(whole[0].opt_state[1][0].mu["log_scale"]) > 1e-5
    if name == "infonce":
        average, whole_average = (np.asarray(s.ema["towers_image"]["out"]) for s, _ in (found, whole))
        np.testing.assert_allclose(average, whole_average, atol=1e-5)


@pytest.mark.slow
def test_two_streams_in_microbatches_on_a_mesh(make_sound_config, batch_at):
    """Contrast of pictures with texts and with sounds, in chunks round four devices, beside captions."""
    both = {name: options(name, chunk=1) for name in ("contrast", "sound")}
    changes = {"objectives": both | {"caption": options("caption", captions=1)}, "optimizer.clip": 1e9}
    found = {}
    for parts, sizes in ((1, (1, 1, 1)), (2, (2, 2, 1))):
        config = make_sound_config(changes | {"optimizer.accumulate": parts})
        mesh = sharding.make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
        with jax.set_mesh(mesh):
            step, batch = jit_update(config, make(config), mesh), batch_at(config)
            found[parts] = step(jit_init(config, mesh)(), sharding.place(batch, mesh, config.batch_size))
    check_same(found[2], found[1])


def test_only_what_compares_rows_is_taken_over_the_whole_batch(make_sound_config):
    names = ("fill", "caption", "contrast", "sound", "locate")
    config = make_sound_config({"objectives": {name: options(name) for name in names}})
    towers = {name: objective.towers for name, objective in make(config).items() if objective.towers}
    assert towers == {"contrast": ("image", "text"), "sound": ("image", "audio")}


@pytest.mark.slow
def test_no_more_than_vectors_is_kept_of_the_whole_batch(make_config, abstract_batch, tiny_state):
    """Of eight times as many rows in eight times as many microbatches, memory grows by much less than twice."""
    temporary = {}
    for parts in (1, 8):
        config = make_config(
            {"objectives": {"contrast": options("contrast", chunk=8)}, "batch_size": 64 * parts,
             "optimizer.accumulate": parts}
        )  # fmt: skip
        step = jax.jit(partial(update, config, make(config)))
        compiled = step.lower(tiny_state, abstract_batch(config)).compile()
        temporary[parts] = compiled.memory_analysis().temp_size_in_bytes
    assert temporary[8] < 1.5 * temporary[1], temporary
