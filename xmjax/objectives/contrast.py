"""Contrast: pooled vectors of what belongs together are near, of everything else in the batch far."""

import dataclasses

import jax
import jax.numpy as jnp
from einops import repeat
from jaxtyping import Array, Bool, Float

from xmjax.errors import UserError
from xmjax.objectives import base
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Contrast`.

    Attributes:
      loss: "infonce" (softmax over the batch, both directions) or "sigmoid" (every pair by itself).
      first: one modality.
      second: the other one.
    """

    loss: str = "infonce"
    first: str = "image"
    second: str = "text"


@base.OBJECTIVES.register("contrast")
class Contrast(base.Objective):
    """Contrastive loss with several positives: rows of one record, and rows of one caption, belong together."""

    Options = Options

    def __init__(self, options, config):
        super().__init__(options, config)
        if options.loss not in ("infonce", "sigmoid"):
            raise UserError(f"config.objectives.contrast.loss={options.loss!r}: choose one of infonce, sigmoid")

    def flops(self, share):
        model, captions = self.config.model, self.config.stream(self.options.stream).captions
        rows = {m: captions if m == "text" else 1 for m in (self.options.first, self.options.second)}
        return {f"encode/{m}": n * flops.encode(model, m, share if m == "text" else 1.0) for m, n in rows.items()}

    def loss(self, passes, rng):
        o = self.options
        scores = passes.tower(o.first) @ passes.tower(o.second).T
        positive = positives(passes.batch, o.first, o.second)
        scale = passes.model.scale()
        if o.loss == "sigmoid":
            loss = sigmoid_loss(scores, positive, scale, passes.model.bias)
        else:
            loss = infonce_loss(scores, positive, scale)
        best = jnp.argmax(scores, 1)
        return loss, {"accuracy": jnp.mean(positive[jnp.arange(len(best)), best]), "scale": scale}


def positives(batch, first: str, second: str) -> Bool[Array, "R K"]:
    """Which rows of two modalities belong together, by equal record id or equal caption.

    Equal captions of different records count because each is true of both pictures.
    """
    captions = batch["text"].shape[1] if "text" in (first, second) else 1

    def rows(modality: str, value: Array) -> Array:
        return repeat(value, "b -> (b c)", c=captions if modality == "text" else 1)

    same = rows(first, batch["id"])[:, None] == rows(second, batch["id"])[None, :]
    if {first, second} == {"image", "text"}:
        mine, all_captions = batch["caption_id"], batch["caption_id"].reshape(-1)
        shared = jnp.any(mine[:, :, None] == all_captions[None, None, :], 1)
        same |= shared if first == "image" else shared.T
    return same


def infonce_loss(
    scores: Float[Array, "R K"], positive: Bool[Array, "R K"], scale: Float[Array, ""]
) -> Float[Array, ""]:
    """Mean over rows and columns of the cross-entropy, with positives as equal targets (Oord et al. 2018)."""

    def one_way(logits: Array, target: Array) -> Array:
        share = target / jnp.sum(target, -1, keepdims=True)
        return jnp.mean(jnp.sum(-share * jax.nn.log_softmax(logits, -1), -1))

    logits, target = scores.astype(jnp.float32) * scale, positive.astype(jnp.float32)
    return (one_way(logits, target) + one_way(logits.T, target.T)) / 2


def sigmoid_loss(
    scores: Float[Array, "R K"], positive: Bool[Array, "R K"], scale: Float[Array, ""], bias: Float[Array, ""]
) -> Float[Array, ""]:
    """Sum over all pairs of the binary cross-entropy, over the number of rows (Zhai et al. 2023)."""
    logits = scores.astype(jnp.float32) * scale + bias
    return -jnp.sum(jax.nn.log_sigmoid(jnp.where(positive, logits, -logits))) / scores.shape[0]
