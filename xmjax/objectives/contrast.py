"""Contrast: pooled vectors of what belongs together are near, of everything else in the batch far."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from einops import repeat
from jaxtyping import Array, Bool, Float

from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.objectives import base
from xmjax.training import flops

LOSSES = ("infonce", "sigmoid", "ranking")


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Contrast`.

    Attributes:
      loss: "infonce" (softmax over the batch, both directions), "sigmoid" (every pair by itself) or "ranking" (hinge).
      margin: by which what belongs together must be nearer than what does not; for "infonce" and "ranking".
      variable: whether the margin of an image and another image's partner shrinks as the two images are alike.
      first: one modality.
      second: the other one.
    """

    loss: str = "infonce"
    margin: float = 0.0
    variable: bool = False
    first: str = "image"
    second: str = "text"


@base.OBJECTIVES.register("contrast")
class Contrast(base.Objective):
    """Contrastive loss with several positives: rows of one record, and rows of one caption, belong together."""

    Options = Options

    def __init__(self, options, config):
        super().__init__(options, config)
        name = next((name for name, known in config.objectives.items() if known is options), "contrast")
        field = f"config.objectives.{name}"
        if options.loss not in LOSSES:
            raise UserError(f"{field}.loss={options.loss!r}: choose one of {', '.join(LOSSES)}")
        if options.margin < 0 or (options.loss == "ranking" and not options.margin):
            raise UserError(f"{field}.margin={options.margin}: give a positive one for a ranking loss, such as 0.2")
        if options.margin and options.loss == "sigmoid":
            raise UserError(f"{field}.margin={options.margin}: the sigmoid loss has none; choose infonce or ranking")
        if options.variable and (not options.margin or "image" not in (options.first, options.second)):
            raise UserError(f"{field}.variable=True needs a margin, and images on one side")

    def flops(self, share):
        return encoded_flops(self.config, self.options, share)

    def loss(self, passes, rng):
        o = self.options
        first, second = passes.tower(o.first), passes.tower(o.second)
        positive = positives(passes.batch, o.first, o.second)
        if o.loss == "ranking":  # an image with several captions is an anchor of each
            first, second, positive = squared(first, second, positive)
        scores, scale = first @ second.T, passes.model.scale()
        margins = self._margin(o.first, first, len(second)), self._margin(o.second, second, len(first))
        if o.loss == "sigmoid":
            loss = sigmoid_loss(scores, positive, scale, passes.model.bias)
        elif o.loss == "ranking":
            loss = ranking_loss(scores, positive, *margins)
        else:
            loss = infonce_loss(scores, positive, scale, *margins)
        best = jnp.argmax(scores, 1)
        return loss, {"accuracy": jnp.mean(positive[jnp.arange(len(best)), best]), "scale": scale}

    def _margin(self, modality: str, anchors: Float[Array, "R E"], columns: int) -> Float[Array, "R K"] | float:
        """The margin of each anchor and each row of the other modality: a variable one for images as anchors only."""
        if not self.options.variable or modality != "image":
            return self.options.margin
        return jnp.repeat(variable_margin(anchors, self.options.margin), columns // len(anchors), 1)


def encoded_flops(config: Config, options: Any, share: float) -> dict[str, float]:
    """Operations of encoding one row of the two modalities of ``options``, by the name of the pass."""
    captions = config.stream(options.stream).captions
    rows = {m: captions if m == "text" else 1 for m in (options.first, options.second)}
    own = "" if options.stream == "image_text" else f"{options.stream}/"  # another stream's passes are its own
    return {
        f"{own}encode/{m}": n * flops.encode(config.model, m, share if m == "text" else 1.0) for m, n in rows.items()
    }


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
    scores: Float[Array, "R K"],
    positive: Bool[Array, "R K"],
    scale: Float[Array, ""],
    margin: Float[Array, "R K"] | float = 0.0,
    margin_back: Float[Array, "K R"] | float = 0.0,
) -> Float[Array, ""]:
    """Mean over rows and columns of the cross-entropy, with positives as equal targets (Oord et al. 2018).

    Args:
      scores: cosines.
      positive: what belongs together.
      scale: of the cosines.
      margin: added to the scores of what does not belong together, from the rows' side.
      margin_back: the same from the columns' side.
    """

    def one_way(scores: Array, target: Array, margin: Array | float) -> Array:
        share = target / jnp.sum(target, -1, keepdims=True)
        logits = (scores + jnp.where(target > 0, 0, margin)) * scale
        return jnp.mean(jnp.sum(-share * jax.nn.log_softmax(logits, -1), -1))

    scores, target = scores.astype(jnp.float32), positive.astype(jnp.float32)
    return (one_way(scores, target, margin) + one_way(scores.T, target.T, margin_back)) / 2


def ranking_loss(
    scores: Float[Array, "N N"],
    positive: Bool[Array, "N N"],
    margin: Float[Array, "N N"] | float,
    margin_back: Float[Array, "N N"] | float,
) -> Float[Array, ""]:
    """Hinge loss of both directions: sum over j of max(0, s_ij - s_ii + margin_ij), mean over anchors i.

    Kim and Yoon, Image-Bridged Multimodal Half-Supervised Learning Model, section 3.2, whose plain sum over i is this
    times N. Pairs are on the diagonal; other positives are no negatives.
    """

    def one_way(scores: Array, positive: Array, margin: Array | float) -> Array:
        hinge = jnp.maximum(0, scores - jnp.diagonal(scores)[:, None] + margin)
        return jnp.mean(jnp.sum(jnp.where(positive, 0, hinge), -1))

    scores = scores.astype(jnp.float32)
    return one_way(scores, positive, margin) + one_way(scores.T, positive.T, margin_back)


def variable_margin(anchors: Float[Array, "N E"], margin: float) -> Float[Array, "N N"]:
    """margin * sigmoid(-x_i . x_j), without a gradient (Kim and Yoon, 3.2): 0.27 to 0.73 of it for unit vectors."""
    anchors = jax.lax.stop_gradient(anchors)
    return margin * jax.nn.sigmoid(-anchors @ anchors.T)


def squared(
    first: Float[Array, "R E"], second: Float[Array, "K E"], positive: Bool[Array, "R K"]
) -> tuple[Float[Array, "N E"], Float[Array, "N E"], Bool[Array, "N N"]]:
    """Rows of the modality that has fewer repeated, so that row i of one belongs to row i of the other."""
    size = max(positive.shape)
    rows, columns = size // len(first), size // len(second)
    return (
        jnp.repeat(first, rows, 0),
        jnp.repeat(second, columns, 0),
        jnp.repeat(jnp.repeat(positive, rows, 0), columns, 1),
    )


def sigmoid_loss(
    scores: Float[Array, "R K"], positive: Bool[Array, "R K"], scale: Float[Array, ""], bias: Float[Array, ""]
) -> Float[Array, ""]:
    """Sum over all pairs of the binary cross-entropy, over the number of rows (Zhai et al. 2023)."""
    logits = scores.astype(jnp.float32) * scale + bias
    return -jnp.sum(jax.nn.log_sigmoid(jnp.where(positive, logits, -logits))) / scores.shape[0]
