"""Tests of objects: who is grouped with whom, boxes, relations, and that budgets are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax.errors import UserError
from xmjax.models import objects
from xmjax.models.embedders import Tokens
from xmjax.training import flops
from xmjax.training.step import init, make_model

SIDE = 4


def scene(rows: int = 2) -> Tokens:
    """A grid of 16 tokens: two patches of alike tokens on a ground of alike tokens, with some noise."""
    y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
    spans = np.stack([y, x, y + 1, x + 1], -1) / SIDE
    kind = np.zeros(SIDE * SIDE, int)
    kind[[0, 1, 4, 5]], kind[[10, 11, 14, 15]] = 1, 2
    noise = 0.05 * np.random.default_rng(0).standard_normal((rows, SIDE * SIDE, 8))
    vectors = (np.eye(8)[kind] + noise).astype(np.float32)
    return Tokens(
        jnp.asarray(vectors),
        jnp.ones((rows, SIDE * SIDE), bool),
        jnp.broadcast_to(jnp.asarray(spans, jnp.float32), (rows, SIDE * SIDE, 4)),
    )


def labels(groups) -> np.ndarray:
    """The group of every token."""
    return np.asarray(groups).argmax(1)


@pytest.mark.parametrize("method", ["relation", "tome", "grid"])
@pytest.mark.parametrize("keep", [9, 4])
def test_every_token_is_in_one_group(method, keep):
    groups = np.asarray(objects.group(scene(), method, keep))
    assert groups.shape == (2, keep, 16)
    np.testing.assert_array_equal(groups.sum(1), 1)
    assert (groups.sum(-1) > 0).all(), "no group is empty"


def test_alike_tokens_are_merged_before_others():
    for method in ("relation", "tome"):
        for row in labels(objects.group(scene(), method, 8)):
            for patch in ([0, 1, 4, 5], [10, 11, 14, 15]):
                ground = [i for i in range(16) if i not in (0, 1, 4, 5, 10, 11, 14, 15)]
                assert not set(row[patch]) & set(row[ground]), (method, row)


def test_an_object_is_not_merged_with_its_ground():
    kind = np.zeros(SIDE * SIDE, int)
    kind[[0, 1, 4, 5]], kind[[10, 11, 14, 15]] = 1, 2
    for row in labels(objects.group(scene(), "relation", 5)):
        assert all(len(set(kind[row == k])) == 1 for k in set(row))


def test_merging_equals_a_loop():
    rng = np.random.default_rng(1)
    scores = rng.random((3, 7, 7)).astype(np.float32)
    found = np.asarray(objects.merge(jnp.asarray(scores), 2))
    for b in range(3):
        first, second = [0, 2, 4, 6], [1, 3, 5]
        best = {i: max(second, key=lambda j, i=i: scores[b, i, j]) for i in first}
        joining = sorted(first, key=lambda i: -scores[b, i, best[i]])[:2]
        together = {frozenset(np.flatnonzero(row)) for row in found[b]}
        expected = {frozenset([j, *(i for i in joining if best[i] == j)]) for j in second}
        expected |= {frozenset([i]) for i in first if i not in joining}
        assert together == expected


def test_nearness_counts_in_relations():
    tokens = scene()
    vectors = jnp.ones_like(tokens.vectors)  # all alike
    found = np.asarray(objects.relations(vectors, tokens.spans))[0]
    assert found[0, 1] == found[0, 0] == pytest.approx(1), "neighbours touch"
    assert found[0, 1] > found[0, 2] > found[0, 3] > 0
    np.testing.assert_allclose(found, found.T, rtol=1e-6)
    opposite = jnp.stack([vectors[:, 0], -vectors[:, 0]], 1)
    assert np.asarray(objects.relations(opposite, tokens.spans[:, :2]))[0, 0, 1] == pytest.approx(0, abs=1e-6)


def test_boxes_surround_their_members():
    tokens = scene()
    groups = np.zeros((2, 2, 16), np.float32)
    groups[:, 0, [0, 1, 4, 5]] = 1
    groups[:, 1, [11, 14]] = 0.6
    groups[:, 1, 0] = 0.1
    found = np.asarray(objects.boxes(jnp.asarray(groups), tokens.spans))[0]
    np.testing.assert_allclose(found, [[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]])
    mean = np.asarray(objects.pooled(tokens, jnp.asarray(groups)).tokens.vectors)
    np.testing.assert_allclose(mean[:, 0], np.asarray(tokens.vectors)[:, [0, 1, 4, 5]].mean(1), rtol=1e-5)


def test_a_given_box_takes_of_each_unit_what_lies_in_it():
    tokens = scene(1)
    boxes = jnp.array([[[0, 0, 0.25, 0.25], [0, 0, 0.5, 0.375], [0.9, 0.9, 1, 1]]])
    share = np.asarray(objects.inside(tokens.spans, boxes))[0]
    assert share[0] == pytest.approx(np.eye(16)[0], abs=1e-6)
    assert share[1] == pytest.approx(np.isin(np.arange(16), (0, 4)) + 0.5 * np.isin(np.arange(16), (1, 5)), abs=1e-5)
    assert share[2].sum() == pytest.approx(0.16, abs=1e-5) and share[2][15] == pytest.approx(0.16, abs=1e-5)
    found = objects.pooled(tokens, objects.inside(tokens.spans, boxes))
    assert np.asarray(found.tokens.vectors)[0, 0] == pytest.approx(np.asarray(tokens.vectors)[0, 0], abs=1e-5)


def test_dropping_keeps_tokens_as_they_are_and_differs_between_pictures():
    tokens = scene(8)
    groups = np.asarray(objects.group(tokens, "random", 4))
    np.testing.assert_array_equal(groups.sum(-1), 1)
    assert (groups.sum(1) <= 1).all()
    assert len({tuple(np.flatnonzero(row.sum(0))) for row in groups}) > 4
    kept = objects.pooled(tokens, jnp.asarray(groups)).tokens
    for b in range(8):
        chosen = groups[b].argmax(-1)
        np.testing.assert_allclose(kept.vectors[b], tokens.vectors[b, chosen], rtol=1e-6)
        np.testing.assert_allclose(kept.spans[b], tokens.spans[b, chosen])


@pytest.mark.parametrize(
    "method",  # each compiles a model: one is enough for every day
    [m if m == "relation" else pytest.param(m, marks=pytest.mark.slow) for m in objects.METHODS],
)
def test_a_model_reduces_to_its_budget(make_config, method):
    config = make_config({"model.image.reduce": method, "model.image.keep": 4, "model.image.patch": 8})
    params = jax.jit(lambda: init(config).params)()
    image = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)

    def loss(params, image):
        model = make_model(config).bind({"params": params})
        found = model.objects("image", model.encode("image", image))
        return jnp.sum(jnp.square(model.tower("image", model.alone("image", found.tokens)) - 0.1)), found

    (_, found), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, image)
    assert found.tokens.vectors.shape == (2, 4, config.model.width) and found.groups.shape == (2, 4, 16)
    low, high = np.split(np.asarray(found.tokens.spans), 2, -1)
    assert (low >= 0).all() and (high <= 1).all() and (low < high).all() and found.tokens.valid.all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    learned = {name for name in params if name.startswith("reduce")}
    assert bool(learned) == (method in objects.LEARNED)
    assert all(np.abs(g).max() > 0 for name in learned for g in jax.tree.leaves(grads[name]) if g.ndim > 1)
    assert flops.kept(config.model, "image") == 4 and flops.tokens(config.model, "image") == 16


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.image.reduce": "slot"}, "choose one of"),
        ({"model.image.reduce": "grid", "model.image.keep": 3}, "a grid needs a square number"),
        ({"model.image.reduce": "tome", "model.image.keep": 40}, "must be 1 to 4"),
    ],
)
def test_what_cannot_be_reduced_is_refused(make_config, changes, message):
    with pytest.raises(UserError, match=message):
        make_config(changes)
