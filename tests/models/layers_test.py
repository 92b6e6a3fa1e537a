"""Tests of the mathematics of a block against loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax.models import layers


def attend_by_loop(q, k, v, mask, causal):
    q, k, v = map(np.asarray, (q, k, v))
    b, t, n, h = q.shape
    out = np.zeros_like(q)
    for i in range(b):
        for head in range(n):
            for row in range(t):
                score = [float(q[i, row, head] @ k[i, m, head]) / np.sqrt(h) for m in range(k.shape[1])]
                seen = [mask[i, row, m] and (not causal or m <= row) for m in range(k.shape[1])]
                weight = np.array([np.exp(s) if ok else 0.0 for s, ok in zip(score, seen, strict=True)])
                weight /= weight.sum()
                out[i, row, head] = sum(w * v[i, m, head] for m, w in enumerate(weight))
    return out


def tensors(seed: int, *shapes: tuple[int, ...]):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "keys", "pairs"])
def test_attend_equals_a_loop(causal, kind):
    tokens = 5 if causal else 4
    q, k, v = tensors(0, (2, tokens, 3, 4), (2, 5, 3, 4), (2, 5, 3, 4))
    mask = np.ones((2, tokens, 5), bool)
    if kind == "keys":
        mask[0, :, 2:4] = mask[1, :, 1] = False
    elif kind == "pairs":
        mask = np.random.default_rng(1).random((2, tokens, 5)) < 0.6
        mask[:, np.arange(tokens), np.arange(tokens)] = True
    given = None if kind == "none" else jnp.asarray(mask[:, None])
    found = layers.attend(q, k, v, given, causal=causal, implementation="xla")
    np.testing.assert_allclose(found, attend_by_loop(q, k, v, mask, causal), atol=1e-6)
    library = jax.nn.dot_product_attention(q, k, v, mask=given, is_causal=causal, implementation="xla")
    np.testing.assert_allclose(found, library, atol=1e-6)


LENGTHS = [(128, 128, False), (128, 128, True), (197, 197, False), (64, 261, False), (33, 33, True)]
"""Queries, keys, whether causal: of towers, a ViT with its class token, fused sequences, and of what is written."""


def for_a_gpu(length, memory, masked):
    q, k, v = (x.astype(jnp.bfloat16) for x in tensors(1, (2, length, 4, 64), *[(2, memory, 4, 64)] * 2))
    mask = jnp.asarray(np.arange(memory) < memory - 5)[None, None, None] | jnp.zeros((2, 1, 1, 1), bool)
    return q, k, v, mask if masked else None


@pytest.mark.gpu
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("length", "memory", "causal"), LENGTHS)
def test_attend_on_a_gpu_equals_that_by_hand(length, memory, causal, masked):
    inputs = for_a_gpu(length, memory, masked)

    def summed(q, k, v, mask, name):
        found = layers.attend(q, k, v, mask, causal=causal, implementation=name).astype(jnp.float32)
        return jnp.sum(found**2), found

    run = jax.jit(jax.grad(summed, (0, 1, 2), has_aux=True), static_argnums=4)
    (slopes, found), (their_slopes, theirs) = (run(*inputs, name) for name in ("xla", "cudnn"))
    np.testing.assert_allclose(found, theirs, atol=2e-2)
    for a, b in zip(slopes, their_slopes, strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=4e-2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("length", "memory", "causal"), LENGTHS)
def test_cudnn_is_given_shapes_that_it_trains_with(length, memory, causal, masked, monkeypatch):
    """Its own checks of shapes, which need no GPU."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(layers.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda *_: True)

    def summed(q, k, v, mask):
        return jnp.sum(layers.attend(q, k, v, mask, causal=causal, implementation="cudnn").astype(jnp.float32))

    q, k, v, mask = for_a_gpu(length, memory, masked)
    found = jax.eval_shape(jax.grad(summed, (0, 1, 2)), q, k, v, mask)
    assert [x.shape for x in found] == [q.shape, k.shape, v.shape]


def test_attend_cannot_be_reached_through_a_mask():
    q, k, v = tensors(2, (1, 3, 1, 4), (1, 3, 1, 4), (1, 3, 1, 4))
    mask = jnp.array([True, True, False])[None, None, None]
    before = layers.attend(q, k, v, mask)
    k, v = k.at[:, 2].set(50.0), v.at[:, 2].set(1e6)
    np.testing.assert_array_equal(layers.attend(q, k, v, mask), before)
    assert not np.allclose(layers.attend(q, k, v), before)


def test_rms_norm_equals_a_loop():
    x, scale = tensors(3, (2, 3, 8), (8,))
    x = x.at[0, 0].set(0)
    rows = [row / np.sqrt((row**2).mean() + 1e-6) * (1 + np.asarray(scale)) for row in np.asarray(x).reshape(6, 8)]
    expected = np.stack(rows).reshape(2, 3, 8)
    np.testing.assert_allclose(layers.rms_norm(x, scale), expected, rtol=1e-5, atol=1e-7)


def test_rms_norm_keeps_the_dtype_and_computes_in_float32():
    x = jnp.full((1, 4), 300.0, jnp.float16)  # its square is not finite in float16
    found = layers.rms_norm(x, jnp.zeros(4))
    assert found.dtype == jnp.float16
    np.testing.assert_allclose(found, 1.0, rtol=1e-3)


def test_projections_equal_matrix_products():
    x, kernel, back = tensors(4, (2, 3, 8), (8, 2, 4), (2, 4, 8))
    split = layers.heads(x, kernel)
    np.testing.assert_allclose(split, (x @ kernel.reshape(8, 8)).reshape(2, 3, 2, 4), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        layers.join(split, back), np.asarray(split).reshape(2, 3, 8) @ back.reshape(8, 8), rtol=1e-5, atol=1e-5
    )


def test_unit_vectors_have_length_one():
    (x,) = tensors(5, (4, 7))
    np.testing.assert_allclose(np.linalg.norm(layers.unit(x * 1e3), axis=1), 1, atol=1e-6)
    assert np.isfinite(layers.unit(jnp.zeros((1, 7)))).all()


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_sincos_equals_a_loop(width):
    half = (width + 1) // 2
    expected = np.zeros((5, width))
    for t in range(5):
        for d in range(width):
            angle = t / 10_000 ** ((d // 2) / half)
            expected[t, d] = np.cos(angle) if d % 2 else np.sin(angle)
    found = layers.sincos(5, width)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == jnp.float32 and not found.weak_type
