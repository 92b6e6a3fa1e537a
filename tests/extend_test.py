"""Tests that the package is extended from outside: an objective, a modality and an evaluator, each in under 40 lines.

A modality whose bytes `models.signals` can read needs no code at all (see bind_test.py).
"""

import dataclasses
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from xmjax import sharding
from xmjax.data.arrays import image_bytes
from xmjax.data.playroom import Playroom
from xmjax.data.source import Record
from xmjax.data.sources import SOURCES
from xmjax.evaluation import EVALUATORS, Evaluator, Report
from xmjax.evaluation.run import Evaluation
from xmjax.models.embedders import EMBEDDERS, Tokens, byte_spans
from xmjax.objectives import OBJECTIVES, Objective, Options, make, options
from xmjax.training.step import init, make_model, update


@OBJECTIVES.register("apart")
class Apart(Objective):
    """Keeps each vector from its nearest neighbour in the batch (KoLeo, Sablayrolles et al. 2019)."""

    @dataclasses.dataclass(frozen=True)
    class Options(Options):
        """Options of `Apart`."""

        modality: str = "image"

    def loss(self, passes, rng):
        vectors = passes.tower(self.options.modality)
        cosine = vectors @ vectors.T - 2 * jnp.eye(len(vectors))
        nearest = jnp.sqrt(jnp.maximum(2 - 2 * jnp.max(cosine, -1), 1e-8))
        return -jnp.mean(jnp.log(nearest)), {"nearest": jnp.mean(nearest)}


@EMBEDDERS.register("smell/levels")
class Smell(nn.Module):
    """A nose of a few sensors, a token for each."""

    config: object
    dtype: object = jnp.dtype("float32")

    @staticmethod
    def example(config):
        return jnp.zeros((1, config.others["smell"]["sensors"]), jnp.uint8)

    @nn.compact
    def __call__(self, smell):
        shape = (smell.shape[1], self.config.width)
        level, sensor = (self.param(name, nn.initializers.normal(1.0), shape) for name in ("level", "sensor"))
        x = (smell[..., None] / 255).astype(self.dtype) * level + sensor
        return Tokens(x, jnp.ones(smell.shape, bool), byte_spans(smell.shape[0], smell.shape[1], 1))


@EVALUATORS.register("uniformity")
class Uniformity(Evaluator):
    """How evenly pictures spread over the sphere (Wang and Isola 2020); 0 where all are one, below it else."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        self.image = np.stack([image_bytes(record, config.model.image) for record in self.records])
        self.run = self.compiled(
            lambda model, image: model.tower("image", model.alone("image", model.encode("image", image)))
        )

    def __call__(self, params):
        vectors = self.run(params, self.image)
        apart = np.square(vectors[:, None] - vectors[None]).sum(-1)
        others = ~np.eye(len(vectors), dtype=bool)
        return Report(
            {"uniformity/image": float(np.log(np.exp(-2 * apart[others]).mean())), "uniformity/image/one": 0.0}
        )


class Perfumed(Playroom):
    """The playroom with the smell of its ground."""

    def _read(self, index: int):
        record = super()._read(index)
        assert isinstance(record, Record)
        return dataclasses.replace(record, extra={"smell": np.asarray(record.truth.ground, np.uint8)})


@pytest.mark.parametrize("part", [Apart, Smell, Uniformity])
def test_each_is_short(part):
    assert len(inspect.getsource(part).splitlines()) < 40


@pytest.mark.slow
def test_they_are_chosen_by_their_names_in_a_config(make_config, batch_at, tmp_path):
    SOURCES.register("perfumed")(lambda config, options, split: Perfumed(split, captions_per_record=2))
    config = make_config({
        "data.source": "perfumed", "optimizer.warmup": 0,
        "model.others": {"smell": {"embedder": "levels", "unimodal_layers": 1, "sensors": 3}},
        "objectives": {"apart": options("apart"), "contrast": options("contrast", second="smell")},
        "evaluation.names": ("uniformity",), "evaluation.samples": 12, "evaluation.batch_size": 12,
    })  # fmt: skip
    objectives = make(config)
    state = jax.jit(lambda: init(config))()
    after, metrics = jax.jit(lambda s, b: update(config, objectives, s, b))(state, batch_at(config))
    assert np.isfinite(float(metrics["loss"])) and float(metrics["apart/nearest"]) > 0
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, after.params)
    assert moved["embedders_smell"]["level"] > 0
    model = make_model(config).bind({"params": after.params})
    assert model.encode("smell", jnp.zeros((2, 3), jnp.uint8)).vectors.shape == (2, 3, config.model.width)
    scores = Evaluation(config, sharding.make_mesh(config.mesh), tmp_path)(after, 1)
    assert scores["playroom/uniformity/image"] < scores["playroom/uniformity/image/one"] == 0.0
