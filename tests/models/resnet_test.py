"""Tests of ResNet-18 against a plain NumPy walk through it, and of the norms that it may have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax.config import AudioConfig, ImageConfig, ModelConfig
from xmjax.models import resnet
from xmjax.models.embedders import lean
from xmjax.models.signals import embedder

STEM = 8


def parameters(plan: dict, seed: int = 0) -> dict[str, np.ndarray]:
    rng, p = np.random.default_rng(seed), {}
    for name, one in plan.items():
        shape = (one.kernel, one.kernel, one.inputs, one.outputs)
        p[f"kernel_{name}"] = rng.standard_normal(shape) * (2 / np.prod(shape[:3])) ** 0.5
        p[f"scale_{name}"] = rng.uniform(0.5, 1.5, one.outputs)
        p[f"shift_{name}"] = rng.standard_normal(one.outputs) * 0.1
    return {name: value.astype(np.float32) for name, value in p.items()}


def windows(x: np.ndarray, kernel: int, stride: int, fill: float) -> np.ndarray:
    """[B, y, x, K, K, C] of a padded picture."""
    side = kernel // 2
    x = np.pad(x, ((0, 0), (side, side), (side, side), (0, 0)), constant_values=fill)
    found = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), (1, 2))
    return np.moveaxis(found[:, ::stride, ::stride], 3, 5)


def walked(p: dict, x: np.ndarray, patch: int) -> np.ndarray:
    """The network as the paper's table has it: stem, pooling, eight blocks of two convolutions."""

    def layer(x, name, stride):
        kernel = p[f"kernel_{name}"]
        x = np.einsum("byxklc,klcf->byxf", windows(x, kernel.shape[0], stride, 0), kernel)
        return x * p[f"scale_{name}"] + p[f"shift_{name}"]

    def relu(x):
        return np.maximum(x, 0)

    x = relu(layer(x, "stem", 1 if patch == 8 else 2))
    if patch == 32:
        x = windows(x, 3, 2, -np.inf).max((3, 4))
    for stage, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        for block in (0, 1):
            name, step = f"{stage}_{block}", stride if block == 0 else 1
            shortcut = layer(x, f"{name}_skip", step) if step > 1 else x
            x = relu(layer(relu(layer(x, f"{name}_1", step)), f"{name}_2", 1) + shortcut)
    return x


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_features_are_those_of_a_plain_walk(patch):
    plan = resnet.convolutions(STEM, 3, patch)
    p = parameters(plan)
    x = np.random.default_rng(1).standard_normal((2, 64, 32, 3)).astype(np.float32)
    found = jax.jit(lambda p, x: resnet.features(p, x, plan, patch, frozen=True))(p, x)
    assert found.shape == (2, 64 // patch, 32 // patch, 8 * STEM)
    expected = walked(p, x, patch)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_the_published_sizes():
    plan = resnet.convolutions(64, 3, 32)
    assert len(plan) == 20 and plan["stem"] == (7, 3, 64, 2) and plan["4_1_2"] == (3, 512, 512, 1)
    weights = sum(one.kernel**2 * one.inputs * one.outputs + 2 * one.outputs for one in plan.values())
    assert weights == 11_689_512 - 512 * 1000 - 1000  # torchvision's count, without the classifier
    assert 1.65e9 < resnet.multiply_adds(plan, 224, 224, 32) < 1.82e9  # 1.81 GMACs with the taps on the padding


def test_group_norm_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((2, 3, 4, 96)) * 5 + 2).astype(np.float32)
    scale, shift = rng.standard_normal((2, 96)).astype(np.float32)
    expected = np.empty_like(x)
    for row in range(2):
        for start in range(0, 96, 3):
            part = x[row, :, :, start : start + 3]
            expected[row, :, :, start : start + 3] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    found = resnet.group_norm(jnp.asarray(x), jnp.asarray(scale), jnp.asarray(shift))
    np.testing.assert_allclose(found, expected * scale + shift, atol=1e-4)


AUDIO = AudioConfig("resnet18", seconds=1.0, bands=32, patch=16, stem=STEM)
CONFIG = ModelConfig(width=16, heads=2, image=ImageConfig("resnet18", size=32, patch=8, stem=STEM), audio=AUDIO)


@pytest.mark.parametrize(("modality", "cells"), [("image", 16), ("audio", 12)])
def test_it_is_projected_only_where_widths_differ(modality, cells):
    for width in (16, 8 * STEM):
        config = dataclasses.replace(CONFIG, width=width)
        module = embedder(modality, "resnet18")(config)
        params = jax.eval_shape(module.init, jax.random.key(0), module.example(config))["params"]
        assert ("kernel" in params) == (width == 16)
        tokens = jax.eval_shape(module.apply, {"params": params}, module.example(config))
        assert tokens.vectors.shape == (1, cells, width)


def test_a_random_network_is_normed_by_its_picture_and_a_loaded_one_is_not():
    plan = resnet.convolutions(STEM, 3, 8)
    p = parameters(plan)
    x = jnp.asarray(np.random.default_rng(1).standard_normal((2, 16, 16, 3)), jnp.float32)
    run = jax.jit(lambda p, x, frozen: resnet.features(p, x, plan, 8, frozen), static_argnums=2)
    one, two = (np.asarray(run(p, x * contrast, False)) for contrast in (1, 2))
    np.testing.assert_allclose(two, one, atol=1e-2 * np.abs(one).max())
    one, two = (np.asarray(run(p, x * contrast, True)) for contrast in (1, 2))
    assert np.abs(two - one).max() > 0.3 * np.abs(one).max()


def test_both_have_the_same_parameters():
    shapes = []
    for weights in ("", "a.npz"):
        config = dataclasses.replace(CONFIG, image=dataclasses.replace(CONFIG.image, weights=weights))
        module = embedder("image", "resnet18")(config)
        shapes.append(jax.eval_shape(module.init, jax.random.key(0), module.example(config)))
    assert shapes[0] == shapes[1]


def test_where_the_middle_of_what_a_cell_sees_lies():
    plan = resnet.convolutions(1, 1, 8)
    p = {name: jnp.full_like(value, 0.1) for name, value in parameters(plan).items()}

    def cell(picture):
        return resnet.features(p, picture, plan, 8, frozen=True)[0, 7, 7].sum()

    # Of positive numbers alone all is linear, and a pixel's share in a cell is its gradient; 113 rows are seen.
    share = np.asarray(jax.jit(jax.grad(cell))(jnp.ones((1, 128, 128, 1))))[0, ..., 0].sum(1)
    assert np.flatnonzero(share).tolist() == list(range(113))
    middle = np.sum(share * (np.arange(128) + 0.5)) / share.sum()
    assert middle - 7.5 * 8 == pytest.approx(lean(ImageConfig("resnet18", size=128, patch=8, stem=1)), abs=1e-3)
