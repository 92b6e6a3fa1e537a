"""Tests of the preset of the image-bridged model: its networks, its recipe, its losses."""

import jax
import numpy as np
import pytest

from configs.half_supervised import get_config
from xmjax import config as config_module
from xmjax.errors import UserError
from xmjax.evaluation.retrieval import vectors
from xmjax.objectives import make
from xmjax.training import optimizer
from xmjax.training.step import init, make_model, update

MODES = ["", "smoke", "size=small", "size=base", "pairs=1000", "size=base,pairs=180000", "pairs=64,smoke"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_builds(mode):
    config = config_module.build(get_config(mode))
    assert config_module.build(config_module.to_dict(config)) == config
    assert config.name.endswith("-smoke") == ("smoke" in mode) and "pairs" not in config.name


@pytest.mark.parametrize("mode", ["pairs=", "pairs=x", "pairs=0", "pairs=1,pairs=2", "pairs=-3"])
def test_pairs_are_a_number(mode):
    with pytest.raises(UserError, match=r"pairs=.*give the number of pairs once"):
        get_config(mode)


def test_the_recipe_is_the_papers():
    config = config_module.build(get_config("size=base,pairs=180000"))
    epoch = -(-180_000 // 512)
    assert (config.batch_size, config.steps, config.evaluation.every) == (512, 40 * epoch, epoch)
    o = config.optimizer
    assert (o.name, o.weight_decay, o.clip, o.b1, o.b2) == ("adamw", 0.0, 0.0, 0.9, 0.999)
    rate = optimizer.schedule(o, config.steps)
    found = [float(rate(step)) for step in (0, 1, 30 * epoch - 1, 30 * epoch, config.steps - 1)]
    np.testing.assert_allclose(found, [1e-4, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-5)
    assert config.evaluation.best and config.model.image.size == 224 and config.model.audio.seconds == 3.0
    for name in ("contrast", "sound"):
        assert config.objectives[name].loss == "ranking" and config.objectives[name].variable


@pytest.mark.parametrize(("mode", "cells"), [("", (4, 6, 16)), ("size=base", (49, 18, 16))])
def test_networks_end_in_the_tokens_and_vectors_that_they_should(mode, cells):
    config = config_module.build(get_config(mode))
    model = make_model(config)
    params = jax.eval_shape(lambda: init(config).params)
    count = sum(leaf.size for leaf in jax.tree.leaves(params["embedders_image"]))
    assert count == 11_176_512  # ResNet-18 without its classifier, and no projection
    for modality, tokens in zip(("image", "audio", "text"), cells, strict=True):

        def embedded(p, bound=modality):
            m = model.bind({"params": p})
            found = m.alone(bound, m.encode(bound, m.embedders[bound].example(config.model)))
            return found.vectors, m.tower(bound, found)

        found, unit = jax.eval_shape(embedded, params)
        assert found.shape == (1, tokens, 512) and unit.shape == (1, 512)


@pytest.mark.slow
def test_it_learns_in_smoke_mode_and_leaves_the_decoder_alone(batch_at):
    values = get_config("smoke")
    values.optimizer.learning_rate, values.optimizer.decay, values.batch_size = 3e-3, "constant", 8
    config = config_module.build(values)
    objectives, batch = make(config), jax.tree.map(jax.numpy.asarray, batch_at(config))
    first = state = jax.jit(lambda: init(config))()
    step = jax.jit(lambda state: update(config, objectives, state, batch))
    losses = []
    for _ in range(6):
        state, metrics = step(state)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0], losses
    changed = jax.tree.map(lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))), first.params, state.params)
    assert not any(jax.tree.leaves(changed["decoder"]))
    for name, group in changed.items():
        if name.startswith(("embedders", "towers")):
            still = [k for k, moved in group.items() if not moved]
            assert still in ([], ["silence"]), (name, still)
    model = make_model(config)
    data = {m: batch["frame_audio"][m] for m in ("image", "audio")} | {"text": batch["image_text"]["text"][:, 0]}
    for modality, rows in data.items():  # each tower by itself
        found = jax.jit(lambda p, d, m=modality: vectors(model.bind({"params": p}), d, m))(state.params, rows)
        assert found.shape == (8, 32)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
