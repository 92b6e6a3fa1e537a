"""Tests of the scanned stack of layers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import repeat

from xmjax.config import ModelConfig
from xmjax.models import layers
from xmjax.models.stack import READING, Stack

CONFIG = ModelConfig(width=16, heads=2, mlp_ratio=2.0, attention="xla")
DEPTH = 3


@pytest.fixture(scope="module")
def inputs():
    """Four rows of five tokens, and two memories of six, each with padding."""
    rng = np.random.default_rng(0)
    x, memory = (rng.standard_normal(s).astype(np.float32) for s in ((4, 5, 16), (2, 6, 16)))
    valid = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 1, 0]], bool)
    memory_valid = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 1, 1]], bool)
    return tuple(map(jnp.asarray, (x, valid, memory, memory_valid)))


@pytest.fixture(scope="module")
def params(inputs):
    """Parameters of a causal stack with cross-attention; norms are no zeros either."""
    made = jax.jit(Stack(CONFIG, DEPTH, READING, causal=True).init)(jax.random.key(0), *inputs)
    keys = jax.random.split(jax.random.key(1), len(jax.tree.leaves(made)))
    leaves, structure = jax.tree.flatten(made)
    return jax.tree.unflatten(
        structure, [leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    )


def full(config=CONFIG, causal=True):
    return jax.jit(Stack(config, DEPTH, READING, causal=causal).apply)


@pytest.mark.parametrize("causal", [True, False])
def test_the_scan_equals_a_loop(params, inputs, causal):
    x, valid, memory, memory_valid = inputs
    p = params["params"]
    expected, shared = x, repeat(memory, "r m d -> (r k) m d", k=2)
    shared_valid = repeat(memory_valid, "r m -> (r k) m", k=2)
    for i in range(DEPTH):
        scopes = {
            scope: {name.removeprefix(f"{scope}_"): leaf[i] for name, leaf in p.items() if name.startswith(f"{scope}_")}
            for scope in ("attention", "cross", "mlp")
        }
        expected = expected + layers.self_attention(scopes["attention"], expected, valid, causal, "xla")
        expected = expected + layers.cross_attention(scopes["cross"], expected, shared, shared_valid, "xla")
        expected = expected + layers.mlp(scopes["mlp"], expected)
    expected = layers.rms_norm(expected, p["norm"])
    np.testing.assert_allclose(full(causal=causal)(params, *inputs), expected, atol=2e-6)


@pytest.mark.slow
def test_unrolling_and_rematerialisation_change_nothing(params, inputs):
    found = {}
    for remat, unroll in (("none", 1), ("full", 1), ("dots", 3)):
        config = dataclasses.replace(CONFIG, remat=remat, unroll=unroll)
        apply = Stack(config, DEPTH, READING, causal=True).apply
        found[remat, unroll] = jax.jit(jax.value_and_grad(lambda p, apply=apply: jnp.mean(apply(p, *inputs) ** 3)))(
            params
        )
    loss, grads = found["none", 1]
    for other_loss, other_grads in found.values():
        np.testing.assert_allclose(other_loss, loss, rtol=1e-6)
        for a, b in zip(jax.tree.leaves(other_grads), jax.tree.leaves(grads), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())
    assert all(np.abs(g).max() > 0 for g in jax.tree.leaves(grads))


def test_rematerialisation_is_asked_for(params, inputs):
    counts = {}
    for remat in ("none", "full", "dots"):
        apply = Stack(dataclasses.replace(CONFIG, remat=remat), DEPTH, READING, causal=True).apply
        counts[remat] = str(jax.make_jaxpr(jax.grad(lambda p, apply=apply: jnp.mean(apply(p, *inputs))))(params)).count(
            "dot_general"
        )
    assert counts["none"] < counts["full"] and counts["dots"] <= counts["full"], counts


def test_rows_that_share_a_memory_equal_repeated_memories(params, inputs):
    x, valid, memory, memory_valid = inputs
    shared = full()(params, x, valid, memory, memory_valid)
    alone = full()(
        params, x, valid, repeat(memory, "r m d -> (r k) m d", k=2), repeat(memory_valid, "r m -> (r k) m", k=2)
    )
    np.testing.assert_allclose(shared, alone, atol=1e-6)
    swapped = full()(params, x, valid, memory[::-1], memory_valid[::-1])
    assert not np.allclose(shared, swapped, atol=1e-2)


def test_what_is_not_valid_is_seen_by_nobody(params, inputs):
    x, valid, memory, memory_valid = inputs
    before = np.asarray(full(causal=False)(params, *inputs))
    other, other_memory = (jnp.where(v[..., None], a, 100 * a + 7) for a, v in ((x, valid), (memory, memory_valid)))
    after = full(causal=False)(params, other, valid, other_memory, memory_valid)
    np.testing.assert_array_equal(np.asarray(after)[valid], before[valid])
    assert not np.allclose(np.asarray(after)[~valid], before[~valid])


def test_causal_tokens_do_not_see_what_follows(params, inputs):
    x, _, memory, memory_valid = inputs
    before = np.asarray(full()(params, x, None, memory, memory_valid))
    later = x.at[:, 3:].add(1)
    after = np.asarray(full()(params, later, None, memory, memory_valid))
    np.testing.assert_array_equal(after[:, :3], before[:, :3])
    assert not np.allclose(after[:, 3:], before[:, 3:])


def test_a_step_with_the_cache_equals_the_full_call(params, inputs):
    x, _, memory, memory_valid = inputs
    expected = np.asarray(full()(params, x, None, memory, memory_valid))
    stack = Stack(CONFIG, DEPTH, READING, causal=True)
    cache = jax.jit(lambda p, m: stack.apply(p, m, 2, 7, method="start"))(params, memory)  # longer than what is written
    step = jax.jit(lambda p, *a: stack.apply(p, *a, method="step"))
    for i in range(x.shape[1]):
        y, cache = step(params, x[:, i], cache, jnp.int32(i), memory_valid)
        np.testing.assert_allclose(y, expected[:, i], atol=2e-6, err_msg=f"token {i}")
