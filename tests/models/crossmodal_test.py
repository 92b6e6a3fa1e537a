"""Tests of the crossmodal model: absent modalities, early and late fusion, towers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax.data.arrays import text_ids
from xmjax.models.crossmodal import clamped, concatenate
from xmjax.objectives import make, total_loss
from xmjax.training.step import init, make_model


@pytest.fixture(scope="module")
def data(tiny_batch):
    """Eight pictures and texts."""
    return tiny_batch["image_text"]["image"], tiny_batch["image_text"]["text"][:, 0]


def _fuse(model, image, text, absent):
    tokens = {"image": model.encode("image", image), "text": model.encode("text", text)}
    fused = model.fuse(tokens, {"image": absent})
    return {m: t.vectors for m, t in fused.items()}, concatenate(fused)[1]


def _text_only(model, text):
    return model.fuse({"text": model.encode("text", text)})["text"].vectors


@pytest.fixture(scope="module")
def fuse(apply_model, tiny_config):
    return apply_model(tiny_config, _fuse)


@pytest.fixture(scope="module")
def text_only(apply_model, tiny_config):
    return apply_model(tiny_config, _text_only)


def test_marked_absent_equals_a_call_without(fuse, text_only, tiny_params, data):
    absent = jnp.arange(8) % 2 == 1
    mixed = fuse(tiny_params, *data, absent)[0]["text"]
    present = fuse(tiny_params, *data, jnp.zeros(8, bool))[0]["text"]
    without = text_only(tiny_params, data[1])
    np.testing.assert_allclose(mixed[1::2], without[1::2], atol=1e-6)
    np.testing.assert_allclose(mixed[::2], present[::2], atol=1e-6)
    assert np.abs(present - without).max() > 0.01


def test_an_absent_picture_changes_nothing(fuse, tiny_params, data):
    image, text = data
    absent = jnp.arange(8) < 4
    before, valid = fuse(tiny_params, image, text, absent)
    after, _ = fuse(tiny_params, 255 - image, text, absent)
    np.testing.assert_array_equal(after["text"][:4], before["text"][:4])
    assert np.abs(after["text"][4:] - before["text"][4:]).max() > 1e-3
    tokens = before["image"].shape[1]
    assert not valid[:4, :tokens].any() and valid[4:, :tokens].all()  # nor may the decoder look at it


def test_an_absent_modality_is_a_learned_token(apply_model, tiny_config, tiny_params, data):
    def output(model, image, text, absent):
        tokens = {"image": model.encode("image", image), "text": model.encode("text", text)}
        return jnp.sum(model.fuse(tokens, {"image": absent})["text"].vectors ** 3)

    gradient = jax.jit(jax.grad(apply_model(tiny_config, output)))
    for absent in (True, False):
        grads = gradient(tiny_params, *data, jnp.full(8, absent))
        learned = np.abs(grads["absent_image"]).max()
        picture = max(np.abs(g).max() for g in jax.tree.leaves(grads["embedders_image"]))
        assert (learned > 1e-4) == absent and (picture > 1e-4) != absent
        assert min(learned, picture) == 0
    moved = tiny_params | {"absent_image": tiny_params["absent_image"] + 1}
    found = [apply_model(tiny_config, _text_only)(p, data[1]) for p in (tiny_params, moved)]
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_towers_have_unit_length_and_read_their_modality(apply_model, tiny_config, tiny_params, data):
    def towers(model, image, text):
        return [model.tower(m, model.alone(m, model.encode(m, d))) for m, d in (("image", image), ("text", text))]

    run = apply_model(tiny_config, towers)
    image, text = run(tiny_params, *data)
    assert image.shape == text.shape == (8, 16) and image.dtype == text.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(text, axis=1), 1, atol=1e-6)
    other_image, other_text = run(tiny_params, 255 - data[0], data[1])
    assert np.abs(other_image - image).max() > 1e-3
    np.testing.assert_array_equal(other_text, text)


@pytest.mark.parametrize(("unimodal", "fusion"), [(0, 1), (1, 0)], ids=["early", "late"])
def test_early_and_late_fusion_run(make_config, batch_at, unimodal, fusion):
    config = make_config(
        {
            "model.image.unimodal_layers": unimodal,
            "model.text.unimodal_layers": unimodal,
            "model.fusion_layers": fusion,
        }
    )
    objectives = make(config)
    params = jax.jit(lambda: init(config).params)()
    stacks = {name for name in params if name.startswith(("unimodal", "fusion"))}
    assert stacks == ({"fusion"} if fusion else {"unimodal_image", "unimodal_text"})

    def loss(params, batch):
        model = make_model(config).bind({"params": params})
        return total_loss(objectives, model, batch, jnp.int32(0), jax.random.key(0))[0]

    run = jax.jit(loss)
    batch = batch_at(config)
    first = run(params, batch)
    assert np.isfinite(first)
    batch["image_text"]["image"] = 255 - batch["image_text"]["image"]
    assert run(params, batch) != first


def test_every_parameter_is_used(tiny_config, tiny_params, tiny_batch):
    """The whole loss has a gradient to every parameter but those of what the batch does not hold."""
    objectives = make(tiny_config)

    def loss(params, batch):
        model = make_model(tiny_config).bind({"params": params})
        return total_loss(objectives, model, batch, jnp.int32(0), jax.random.key(1))[0]

    grads = jax.jit(jax.grad(loss))(tiny_params, tiny_batch)
    unused = {
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]
        if not np.abs(g).max() > 0
    }
    # InfoNCE has no bias, captions are never absent, and with four tokens all is seen.
    assert unused <= {"similarity_bias", "absent_text", "absent_image"}


@pytest.mark.parametrize("reach", [0, 1])
def test_tokens_of_a_picture_see_as_far_as_they_reach(make_config, apply_model, reach):
    config = make_config({"model.image.patch": 4, "model.image.unimodal_layers": 2, "model.image.reach": reach})
    params = jax.jit(lambda: init(config).params)()
    encode = apply_model(config, lambda model, image: model.encode("image", image).vectors)
    image = np.full((1, 32, 32, 3), 90, np.uint8)
    touched = image.copy()
    touched[:, :4, :4] = 200  # the first token's pixels
    moved = np.abs(encode(params, image) - encode(params, touched)).max(-1).reshape(8, 8) > 1e-6
    y, x = np.mgrid[:8, :8]
    # Two layers of a reach of one: two tokens along rows and columns.
    np.testing.assert_array_equal(moved, np.maximum(y, x) <= 2 if reach else np.ones((8, 8), bool))


def test_a_scale_that_has_overshot_comes_back():
    value, pull = jax.value_and_grad(lambda x, to: (clamped(x, 0.0, 1.0) - to) ** 2)(jnp.float32(1.5), 0.5)
    assert value == pytest.approx(0.25) and pull > 0  # a step against it leads inside
    for x, to in ((1.5, 2.0), (-0.5, -1.0)):
        assert jax.grad(lambda x, to: (clamped(x, 0.0, 1.0) - to) ** 2)(jnp.float32(x), to) == 0
    assert jax.grad(lambda x: clamped(x, 0.0, 1.0))(jnp.float32(0.3)) == 1


@pytest.mark.parametrize("embedder", ["bytes", "ngram", "units"])
def test_a_text_is_read_the_same_beside_any_other(make_config, embedder):
    """Also beside one that is longer, and one of nothing is read as numbers."""
    config = make_config({"model.text.embedder": embedder, "model.text.unimodal_layers": 1})
    params = jax.jit(lambda: init(config))().params
    encode = jax.jit(lambda ids: make_model(config).bind({"params": params}).encode("text", ids))
    length = config.model.text.max_bytes
    ids = np.stack([text_ids(text, length) for text in ("a cup", "a red house, two balls", "")])
    found = encode(ids)
    assert np.isfinite(found.vectors).all() and not found.valid[2].any()
    for row in range(len(ids)):
        alone = encode(np.repeat(ids[row : row + 1], len(ids), 0))
        np.testing.assert_allclose(alone.vectors[0], found.vectors[row], atol=1e-5)
