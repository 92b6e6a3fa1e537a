"""Tests of the kinds of fusion: who sees whom, against references written out by hand, and what a layer costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax.contrib import MuonDimensionNumbers

from xmjax.config import ModelConfig
from xmjax.models import layers
from xmjax.models.fusion import FUSIONS, fusion
from xmjax.objectives import make, options, total_loss
from xmjax.training.optimizer import muon_dimensions
from xmjax.training.step import init, make_model

CONFIG = ModelConfig(width=16, heads=2, mlp_ratio=4.0, fusion_layers=2, bottleneck=3, attention="xla")
KINDS = tuple(FUSIONS.items)


@pytest.fixture(scope="module")
def inputs():
    """Three rows of four tokens of a picture and of five of a text, with padding."""
    rng = np.random.default_rng(0)
    parts = {
        "image": jnp.asarray(rng.standard_normal((3, 4, 16)), jnp.float32),
        "text": jnp.asarray(rng.standard_normal((3, 5, 16)), jnp.float32),
    }
    valid = {
        "image": jnp.asarray([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 0]], bool),
        "text": jnp.asarray([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool),
    }
    return parts, valid


@pytest.fixture(scope="module")
def made(inputs):
    """Kind -> its function of parameters and inputs, and parameters of which none is zero."""

    def build(kind):
        module = fusion(dataclasses.replace(CONFIG, fusion=kind))
        params = jax.jit(module.init)(jax.random.key(0), *inputs)
        leaves, structure = jax.tree.flatten(params)
        keys = jax.random.split(jax.random.key(1), len(leaves))
        moved = [leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
        return jax.jit(module.apply), jax.tree.unflatten(structure, moved)

    return {kind: build(kind) for kind in KINDS}


def scopes(params, layer, names=("attention", "mlp")):
    return {
        scope: {n.removeprefix(f"{scope}_"): x[layer] for n, x in params.items() if n.startswith(f"{scope}_")}
        for scope in names
    }


def looked(p, x, memory, valid):
    memory = memory / jnp.sqrt(jnp.mean(memory**2, -1, keepdims=True) + 1e-6)
    return x + layers.cross_attention(p["cross"], x, memory, valid, "xla")


def own(p, x, valid):
    x = x + layers.self_attention(p["attention"], x, valid, False, "xla")
    return x + layers.mlp(p["mlp"], x)


def by_hand(kind, params, parts, valid):
    """Two modalities through two layers, as the papers have it."""
    (image, text), (image_valid, text_valid) = ([x[m] for m in ("image", "text")] for x in (parts, valid))
    if kind == "merged":
        x, seen = jnp.concatenate([image, text], 1), jnp.concatenate([image_valid, text_valid], 1)
        for i in range(2):
            x = own(scopes(params, i), x, seen)
        x = layers.rms_norm(x, params["norm"])
        return {"image": x[:, :4], "text": x[:, 4:]}
    if kind == "cross":
        for i in range(2):
            p = scopes(params["stack"], i, ("attention", "cross", "mlp"))
            text = text + layers.self_attention(p["attention"], text, text_valid, False, "xla")
            text = looked(p, text, image, image_valid)
            text = text + layers.mlp(p["mlp"], text)
        return {"image": image, "text": layers.rms_norm(text, params["stack"]["norm"])}
    sides = params["streams_image"], params["streams_text"]
    if kind == "coattention":
        for i in range(2):
            p, q = (scopes(side, i, ("cross", "cross_mlp", "attention", "mlp")) for side in sides)
            image, text = looked(p, image, text, text_valid), looked(q, text, image, image_valid)
            image, text = image + layers.mlp(p["cross_mlp"], image), text + layers.mlp(q["cross_mlp"], text)
            image, text = own(p, image, image_valid), own(q, text, text_valid)
    else:
        between = jnp.broadcast_to(params["tokens"], (3, 3, 16))
        there = jnp.ones((3, 3), bool)
        for i in range(2):
            p, q = (scopes(side, i) for side in sides)
            image, text = (
                own(p, jnp.concatenate([x, between], 1), jnp.concatenate([v, there], 1))
                for p, x, v in ((p, image, image_valid), (q, text, text_valid))
            )
            image, text, between = image[:, :4], text[:, :5], (image[:, 4:] + text[:, 5:]) / 2
    return {m: layers.rms_norm(x, side["norm"]) for m, x, side in zip(parts, (image, text), sides, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_papers_layers_written_out(kind, made, inputs):
    apply, params = made[kind]
    found, expected = apply(params, *inputs), by_hand(kind, params["params"], *inputs)
    for m in ("image", "text"):
        np.testing.assert_allclose(found[m], expected[m], atol=5e-6, err_msg=m)


@pytest.mark.parametrize("kind", KINDS)
def test_text_sees_the_picture_and_padding_is_seen_by_nobody(kind, made, inputs):
    apply, params = made[kind]
    parts, valid = inputs
    before = apply(params, parts, valid)
    seen = apply(params, {**parts, "image": parts["image"] + 1}, valid)
    assert float(jnp.abs(seen["text"] - before["text"]).max()) > 1e-3
    noise = {m: jnp.where(valid[m][..., None], x, 100 * x + 7) for m, x in parts.items()}
    after = apply(params, noise, valid)
    for m in parts:
        np.testing.assert_array_equal(np.asarray(after[m])[valid[m]], np.asarray(before[m])[valid[m]])


def test_who_sees_the_text(made, inputs):
    parts, valid = inputs
    moved = {}
    for kind, (apply, params) in made.items():
        before = apply(params, parts, valid)["image"]
        after = apply(params, {**parts, "text": parts["text"] + 1}, valid)["image"]
        moved[kind] = float(jnp.abs(after - before).max()) > 1e-3
    assert moved == {"merged": True, "cross": False, "coattention": True, "bottleneck": True}


def test_a_layers_parameters_are_as_stated(made):
    width, layers_ = CONFIG.width, CONFIG.fusion_layers
    matrices = {"merged": 12, "cross": 16, "coattention": 48, "bottleneck": 24}
    for kind, (_, params) in made.items():
        held = sum(x.size for x in jax.tree.leaves(params) if x.ndim > 2)
        assert held == matrices[kind] * layers_ * width**2, kind
        # Muon takes all of them, or kinds would be compared under two optimizers.
        taken = jax.tree.leaves(muon_dimensions(params), is_leaf=lambda x: isinstance(x, MuonDimensionNumbers))
        assert len(taken) == sum(x.ndim > 2 for x in jax.tree.leaves(params)), kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_trains_with_it_also_without_a_modality(kind, make_config, batch_at):
    config = make_config({
        "model.fusion": kind, "model.fusion_layers": 1, "model.matching": True,
        "objectives": {"fill": options("fill", drop=0.5), "match": options("match")},
    })  # fmt: skip
    batch = jax.tree.map(jnp.asarray, batch_at(config))
    params = jax.jit(lambda: init(config).params)()

    def loss(params):
        model = make_model(config).bind({"params": params})
        return total_loss(make(config), model, batch, jnp.int32(0), jax.random.key(0))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(float(value))
    still = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, g in jax.tree_util.tree_leaves_with_path(gradient["fusion"])
        if not np.abs(g).max() > 0
    }
    assert not still  # both sides are read, by the decoder and by the identifier
