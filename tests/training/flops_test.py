"""Tests of the count of operations against XLA's, which sees every matrix product of an unrolled forward pass."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from xmjax.models.signals import EMBEDDERS
from xmjax.objectives import make, total_loss
from xmjax.training import flops
from xmjax.training.step import init, make_model

CHANGES = {
    "model.width": 256,
    "model.heads": 2,
    "model.mlp_ratio": 4.0,
    "model.embedding": 256,
    "model.image.patch": 4,
    "model.text.max_bytes": 64,
    "model.text.ngrams": (),
    "model.image.unimodal_layers": 2,
    "model.text.unimodal_layers": 2,
    "model.fusion_layers": 2,
    "model.decoder_layers": 2,
    "model.unroll": 2,
    "batch_size": 2,
}

RESNET = {"model.image.embedder": "resnet18", "model.image.stem": 16, "model.image.size": 64, "model.image.patch": 32}


def counted(function, *arguments) -> float:
    """XLA's count for a function that is lowered, not compiled."""
    return jax.jit(function).lower(*arguments).cost_analysis()["flops"]


def shapes(config):
    return jax.eval_shape(lambda: init(config).params)


@pytest.mark.parametrize(
    ("modality", "changes"),
    [
        ("text", {}),
        ("text", {"model.text.embedder": "bytes"}),
        ("image", {}),
        ("text", {"model.text.embedder": "words", "model.text.unimodal_layers": 0}),
        ("image", {"model.image.stem": 32}),
        *(("image", RESNET | {"model.image.patch": patch}) for patch in (8, 16, 32)),
        ("image", RESNET | {"model.image.stem": 32, "model.image.unimodal_layers": 0}),
        ("image", {"model.image.embedder": "file", "model.image.max_file_bytes": 512}),
        *(("audio", {"model.audio.embedder": name, "model.audio.seconds": 1.0}) for name in ("mel", "frames", "bytes")),
        ("audio", {"model.audio.embedder": "resnet18", "model.audio.seconds": 1.0, "model.audio.patch": 32}),
    ],
)
def test_encoding_equals_the_compilers_count(make_config, abstract_batch, modality, changes):
    config = make_config(CHANGES | changes)
    model, batch = make_model(config), abstract_batch(config)["image_text"]
    sound = jax.ShapeDtypeStruct((len(batch["id"]), 2 * config.model.audio.samples), jnp.uint8)
    data = batch.get(modality, sound)
    data = jax.ShapeDtypeStruct((data.shape[0], data.shape[2]), data.dtype) if modality == "text" else data
    found = counted(lambda p, d: model.bind({"params": p}).encode(modality, d).vectors, shapes(config), data)
    assert 2 * flops.encode(config.model, modality) == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        *((name, {}) for name in ("fill", "caption", "contrast", "all")),
        *(("fill", {"model.fusion": fusion}) for fusion in ("cross", "coattention", "bottleneck")),
    ],
)
def test_an_objective_equals_the_compilers_count(make_config, abstract_batch, name, changes):
    config = make_config(CHANGES | changes)
    objectives = make(config)
    if name != "all":
        objectives = {name: objectives[name]}
    model = make_model(config)

    def loss(params, batch):
        return total_loss(objectives, model.bind({"params": params}), batch, jnp.int32(0), jax.random.key(0))[0]

    found = counted(loss, shapes(config), abstract_batch(config))
    ours = 2 * flops.total(o.flops(1.0) for o in objectives.values()) / 3  # two rows; without the backward pass
    assert ours == pytest.approx(found, rel=0.05)


def test_shared_passes_count_once_and_backward_is_two_forwards():
    assert flops.total([{"a": 1.0, "b": 2.0}, {"b": 2.0, "c": 4.0}]) == 3 * 7
    assert flops.total([]) == 0


def test_padding_is_not_counted(make_config):
    model = make_config(CHANGES).model
    assert flops.encode(model, "text", 0.0) == 0
    half, whole = flops.encode(model, "text", 0.5), flops.encode(model, "text", 1.0)
    assert 2 < whole / half < 2.5  # linear but for attention


def test_a_stack_by_hand(make_config):
    model = dataclasses.replace(make_config(CHANGES).model, width=4, mlp_ratio=2.0)
    one_layer = 2 * (4 * 4 * 4 + 2 * 4 * 8) + 2 * 2 * 3 * 4
    assert flops.stack(model, 5, 3) == 5 * 3 * one_layer


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("TPU7x", 2307e12),
        ("cpu", None),
        ("NVIDIA GeForce RTX 9999", None),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L40", 181e12),
    ],
)
def test_the_peak_of_a_device(kind, expected):
    assert flops.peak(kind) == expected


def test_an_unknown_device_has_no_utilisation():
    assert jax.devices()[0].device_kind == "cpu"
    assert flops.utilisation(1e12) is None


@pytest.mark.parametrize("stem", [0, 8])
@pytest.mark.parametrize("name", ["depth", "inertial", "tags"])
def test_further_modalities_equal_the_compilers_count(make_config, name, stem):
    from configs.bind import further
    from configs.bind import get_config as bind_config

    others = further(bind_config("smoke"))
    others["depth"] |= {"stem": stem, "patch": 4}
    others = {m: o | {"unimodal_layers": 0} for m, o in others.items()}
    config = make_config(CHANGES | {"model.others": others})
    model = make_model(config)
    data = jax.ShapeDtypeStruct(
        (2, *EMBEDDERS[f"any/{others[name]['embedder']}"].shape(config.model.modalities[name])), jnp.uint8
    )
    found = counted(lambda p, d: model.bind({"params": p}).encode(name, d).vectors, shapes(config), data)
    assert 2 * flops.encode(config.model, name) == pytest.approx(found, rel=0.05)
