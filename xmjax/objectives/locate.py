"""Locate: the part of a picture that a sound or a text is of is nearer to it than any part of another picture."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from xmjax.errors import UserError
from xmjax.objectives import base, contrast
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Locate`.

    Attributes:
      first: the modality in which something is found.
      second: the modality that tells what.
      sharpness: between 0, all units of the first count alike, and large, the likest one counts alone.
    """

    stream: str = "frame_audio"
    first: str = "image"
    second: str = "audio"
    sharpness: float = 20.0


@base.OBJECTIVES.register("locate")
class Locate(base.Objective):
    """Contrast of units: learned from pairs alone, with no box (multiple-instance learning; Arandjelovic and
    Zisserman 2018, Objects that Sound).
    """

    Options = Options
    task = "referencing"

    def __init__(self, options, config):
        super().__init__(options, config)
        if options.sharpness <= 0:
            raise UserError(f"config.objectives.locate.sharpness={options.sharpness}: give a positive one, such as 20")

    def flops(self, share):
        o, model = self.options, self.config.model
        each = 2 * flops.tokens(model, o.first) * model.width * (2 * model.width + model.embedding)
        return contrast.encoded_flops(self.config, o, share) | {f"{o.stream}/units/{o.first}": each}

    def loss(self, passes, rng):
        o = self.options
        scores = likest(passes.units(o.first), passes.alone(o.first).valid, passes.tower(o.second), o.sharpness)
        positive = contrast.positives(passes.batch, o.first, o.second)
        loss = contrast.infonce_loss(scores, positive, passes.model.scale())
        best = jnp.argmax(scores, 1)
        return loss, {"accuracy": jnp.mean(positive[jnp.arange(len(best)), best])}


def likest(
    units: Float[Array, "R T E"], valid: Bool[Array, "R T"], vectors: Float[Array, "K E"], sharpness: float
) -> Float[Array, "R K"]:
    """Cosine of each row's units with a vector, as a soft maximum: log-mean-exp at ``sharpness``, over it."""
    cosines = jnp.einsum("rte,ke->rkt", units, vectors).astype(jnp.float32)
    return (
        jax.nn.logsumexp(sharpness * cosines, axis=-1, b=valid[:, None] / jnp.sum(valid, -1)[:, None, None]) / sharpness
    )
