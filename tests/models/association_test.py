"""Tests of the association: a distribution over units, its controls, and that it is the only way to the word."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import vocab
from xmjax.errors import UserError
from xmjax.models.association import KINDS, Association, replaced, sentinel_tokens
from xmjax.models.embedders import Tokens
from xmjax.models.passes import masked_memory
from xmjax.training.step import init, make_model


@pytest.fixture(scope="module")
def pointing(make_config):
    """A tiny model with an association, its parameters, and a compiled pass over pictures and masked texts."""
    config = make_config({"model.association": True, "model.fusion_layers": 1})
    params = jax.jit(lambda: init(config).params)()
    model = make_model(config)

    def read(params, image, ids, absent, kind):
        bound = model.bind({"params": params})
        other, text = bound.encode("image", image), bound.encode("text", ids)
        memory, valid = masked_memory(bound, {"image": other}, ids, text, {"image": absent}, 2, kind)
        fused = bound.fuse({"image": other, "text": text}, {"image": absent})
        return memory, valid, bound.associate(fused["text"], fused["image"]), other.vectors

    return config, params, jax.jit(read, static_argnames="kind")


def inputs(config, rows: int = 4):
    rng = np.random.default_rng(0)
    side, length = config.model.image.size, config.model.text.max_bytes
    image = rng.integers(0, 256, (rows, side, side, 3), np.uint8)
    text = vocab.padded(b"a ? bat left of a ? cup", length)
    text[2], text[18] = vocab.sentinel(0), vocab.sentinel(1)
    return image, np.tile(text, (rows, 1)), np.zeros(rows, bool)


def test_weights_are_distributions(pointing):
    config, params, read = pointing
    image, text, absent = inputs(config)
    _, _, found, _ = read(params, image, text, absent, kind="learned")
    np.testing.assert_allclose(found.weights.sum(-1), 1, rtol=1e-5)
    assert (np.asarray(found.strength) > 0).all() and (np.asarray(found.strength) < 1).all()
    _, _, found, _ = read(params, image, text, ~absent, kind="learned")
    assert np.asarray(found.strength).max() < 1e-6, "nothing is spoken of where the picture is absent"


def test_nothing_but_the_association_leads_from_the_picture_to_the_word(pointing):
    config, params, read = pointing
    image, text, absent = inputs(config)
    memory, valid, found, units = read(params, image, text, absent, kind="learned")
    other = read(params, image[::-1].copy(), text, absent, kind="learned")[0]
    assert memory.shape == (8, 2, config.model.width) and valid.all()
    # The text's slot is the same with any picture; the picture's slot is the weighted sum of its units and "absent".
    np.testing.assert_array_equal(memory[:, 0], other[:, 0])
    assert not np.allclose(memory[:, 1], other[:, 1])
    at = [2 // 4, 18 // 4]
    weighted = np.einsum("bsm,bmd->bsd", found.weights[:, at], units) * np.asarray(found.strength)[:, at, None]
    rest = (1 - np.asarray(found.strength)[:, at, None]) * np.asarray(params["absent_image"])
    np.testing.assert_allclose(memory[:, 1].reshape(4, 2, -1), weighted + rest, rtol=2e-4, atol=1e-5)
    gone = read(params, image, text, ~absent, kind="learned")[0]
    np.testing.assert_allclose(gone[:, 1], np.broadcast_to(params["absent_image"], gone[:, 1].shape), rtol=1e-4)


def test_controls():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(3), (4, 5)).astype(np.float32)
    found = Association(jnp.asarray(weights), jnp.asarray(rng.random((4, 5), np.float32)))
    valid = jnp.array([[True] * 3, [True] * 3, [True, True, False], [False] * 3])
    assert replaced(found, valid, "learned") is found
    even = np.asarray(replaced(found, valid, "uniform").weights)
    np.testing.assert_allclose(even[0], 1 / 3)
    np.testing.assert_allclose(even[2], np.tile([0.5, 0.5, 0], (5, 1)))
    assert (even[3] == 0).all()
    shuffled = np.asarray(replaced(found, valid, "shuffled").weights)
    assert all((shuffled[i] != weights[i]).any() for i in range(4))
    assert sorted(row.tobytes() for row in shuffled) == sorted(row.tobytes() for row in weights)
    assert KINDS == ("learned", "uniform", "shuffled")


def test_sentinels_are_found_in_the_tokens_that_hold_them():
    ids = np.full((2, 16), vocab.PAD, np.uint16)
    ids[0, :6], ids[0, 3], ids[0, 5] = ord("a"), vocab.sentinel(0), vocab.sentinel(1)
    ids[1, :9], ids[1, 8] = ord("b"), vocab.sentinel(0)
    start = jnp.arange(4, dtype=jnp.float32) * 4
    spans = jnp.broadcast_to(jnp.stack([start, start + 4], -1), (2, 4, 2))
    tokens = Tokens(jnp.zeros((2, 4, 8)), jnp.ones((2, 4), bool), spans)
    assert sentinel_tokens(jnp.asarray(ids), tokens, 2).tolist() == [[0, 1], [2, 0]]


@pytest.mark.parametrize("objective", ["fill", "sense"])
def test_what_the_model_does_not_have_is_refused(make_config, objective):
    from xmjax.objectives import make, options

    for changes, message in (
        ({"association": "learned"}, f"objectives.{objective}.association='learned' needs config.model.association"),
        ({"association": "shufled"}, f"objectives.{objective}.association='shufled': choose one of learned"),
    ):
        config = make_config({"objectives": {objective: options(objective, **changes)}})
        with pytest.raises(UserError, match=message):
            make(config)
