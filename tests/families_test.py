"""Tests of the published families: what makes each of them that family."""

import importlib

import jax
import numpy as np
import pytest

from configs.base import SIZES
from configs.bind import get_config as bind_config
from configs.families import UNUSED
from xmjax import config as config_module
from xmjax.evaluation.emergent import trained_pairs
from xmjax.training.step import init

NAMES = ("clip", "siglip", "albef", "vilbert", "uniter", "cappa")

LAYER = 7_087_872
"""Parameters of a layer of BERT-base and ViT-B: 12 * 768^2 in matrices, the rest are shifts and norms."""

CROSS = 2_363_904
"""Those of its cross-attention, where it has one."""


def built(name: str, arg: str = ""):
    return config_module.build(importlib.import_module(f"configs.families.{name}").get_config(arg))


def held(config) -> dict[str, int]:
    """Parameters of every part of a config's model."""
    params = jax.eval_shape(lambda: init(config).params)
    return {name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(part)) for name, part in params.items()}


@pytest.mark.parametrize("arg", ["", "smoke", *(f"size={size}" for size in SIZES)])
@pytest.mark.parametrize("name", NAMES)
def test_every_mode_builds(name, arg):
    config = built(name, arg)
    assert config.name.startswith(name) and config.name.endswith("smoke") == (arg == "smoke")
    widths = {"": 768, "size=base": 768, "size=large": 1024, "size=huge": 1280, "smoke": 32, "size=tiny": 64}
    assert config.model.width == widths.get(arg, 128)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("clip", {"unimodal_image": 12 * LAYER}),
        ("siglip", {"unimodal_image": 12 * LAYER, "unimodal_text": 12 * LAYER}),
        ("albef", {"unimodal_image": 12 * LAYER, "unimodal_text": 6 * LAYER, "fusion": 6 * (LAYER + CROSS)}),
        # Text: 12 layers, and in six of them a block that looks at the picture; that has an MLP too.
        ("vilbert", {"unimodal_text": 6 * LAYER, "fusion": 2 * 6 * 2 * LAYER}),
        ("uniter", {"fusion": 12 * LAYER}),
        ("cappa", {"unimodal_image": 12 * LAYER, "decoder": 6 * (LAYER + CROSS)}),
    ],
)
def test_layers_have_the_papers_parameters(name, parts):
    found = held(built(name))
    for part, expected in parts.items():
        tables = 768 * 384 * 2 if part == "decoder" else 0  # of bytes, in and out
        assert found[part] == pytest.approx(expected + tables, rel=0.002), part


def test_objectives_are_the_papers():
    found = {name: built(name).objectives for name in NAMES}
    assert {name: set(objectives) for name, objectives in found.items()} == {
        "clip": {"contrast"},
        "siglip": {"contrast"},
        "albef": {"contrast", "match", "mask_predict"},
        "vilbert": {"match", "mask_predict", "regions"},
        "uniter": {"match", "mask_predict", "regions"},
        "cappa": {"caption"},
    }
    assert found["clip"]["contrast"].loss == "infonce" and found["siglip"]["contrast"].loss == "sigmoid"
    assert found["albef"]["match"].hard == 1.0 and found["uniter"]["match"].hard == 0.0
    assert found["cappa"]["caption"].parallel == 0.75


def test_the_way_of_the_tokens_is_the_papers():
    models = {name: built(name).model for name in NAMES}
    ways = {
        name: (
            m.image.unimodal_layers,
            m.text.unimodal_layers,
            m.fusion if m.fusion_layers else "none",
            m.fusion_layers,
        )
        for name, m in models.items()
    }
    assert ways == {
        "clip": (12, 12, "none", 0),
        "siglip": (12, 12, "none", 0),
        "albef": (12, 6, "cross", 6),
        "vilbert": (0, 6, "coattention", 6),
        "uniter": (0, 0, "merged", 12),
        "cappa": (12, UNUSED, "none", 0),
    }
    assert models["uniter"].regions.count == models["vilbert"].regions.count == 36
    assert not models["albef"].regions.count and models["albef"].image.size == 256


def test_imagebind_binds_all_to_pictures_and_nothing_else():
    config = config_module.build(bind_config())
    assert set(config.model.modalities) == {"text", "image", "audio", "depth", "thermal", "inertial", "tags"}
    assert trained_pairs(config) == {frozenset(("image", m)) for m in config.model.modalities if m != "image"}
    assert config.objectives["bind"].loss == config.objectives["contrast"].loss == "infonce"
