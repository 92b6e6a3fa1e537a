"""Contrast: pooled vectors of what belongs together are near, of everything else in the batch far."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import repeat
from jaxtyping import Array, Bool, Float, Integer

from xmjax import sharding
from xmjax.config import Config
from xmjax.errors import UserError
from xmjax.models.passes import origins
from xmjax.objectives import base, chunks
from xmjax.objectives.chunks import Side, Totals
from xmjax.training import flops

LOSSES = ("infonce", "sigmoid", "ranking")

Share = Float[Array, " _"] | float
"""How much each row counts."""


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Contrast`.

    Attributes:
      loss: "infonce" (softmax over the batch, both directions), "sigmoid" (every pair by itself) or "ranking" (hinge).
      margin: by which what belongs together must be nearer than what does not; for "infonce" and "ranking".
      variable: whether the margin of an image and another image's partner shrinks as the two images are alike.
      first: one modality.
      second: the other one.
      chunk: records of the second modality that a device compares with its own of the first at a time; 0 compares the
        whole batch at once, and holds the scores of all of its pairs. The loss is the same.
    """

    loss: str = "infonce"
    margin: float = 0.0
    variable: bool = False
    first: str = "image"
    second: str = "text"
    chunk: int = 0


class Known(NamedTuple):
    """What tells which rows of a modality belong to rows of another.

    Attributes:
      ids: of each row's record, and, where one of the modalities is the image, of its picture.
      captions: ids of the captions that a row has, where equal captions count; else none.
      share: one over how often the batch has a row's record, so that a loss does not change where one is repeated.
      images: vectors of the records' images, without a gradient, where the margin varies with them.
    """

    ids: Integer[Array, "R N"]
    captions: Integer[Array, "R C"]
    share: Float[Array, " R"] | float = 1.0
    images: Float[Array, "B E"] | None = None


@base.OBJECTIVES.register("contrast")
class Contrast(base.Objective):
    """Contrastive loss with several positives: rows of one record, and rows of one caption, belong together."""

    Options = Options
    task = "matching"

    def __init__(self, options, config, name: str = ""):
        super().__init__(options, config)
        name = name or next((name for name, known in config.objectives.items() if known is options), "contrast")
        self._field = field = f"config.objectives.{name}"
        if options.loss not in LOSSES:
            raise UserError(f"{field}.loss={options.loss!r}: choose one of {', '.join(LOSSES)}")
        if options.margin < 0 or (options.loss == "ranking" and not options.margin):
            raise UserError(f"{field}.margin={options.margin}: give a positive one for a ranking loss, such as 0.2")
        if options.margin and options.loss == "sigmoid":
            raise UserError(f"{field}.margin={options.margin}: the sigmoid loss has none; choose infonce or ranking")
        if options.variable and (not options.margin or "image" not in (options.first, options.second)):
            raise UserError(f"{field}.variable=True needs a margin, and images on one side")
        if options.chunk < 0 or (options.chunk and options.loss == "ranking"):
            raise UserError(f"{field}.chunk={options.chunk}: give 0, or records for the losses infonce and sigmoid")

    @property
    def towers(self):
        return self.options.first, self.options.second

    def flops(self, share):
        return encoded_flops(self.config, self.options, share)

    def loss(self, passes, rng):
        o, scale = self.options, passes.model.scale()
        first, second = self._side(passes, o.first, o.second), self._side(passes, o.second, o.first)
        if o.loss == "ranking":  # an image with several captions is an anchor of each
            x, y, positive, *shares = squared(first, second, belong(first.about, second.about))
            scores = x @ y.T
            loss = ranking_loss(scores, positive, *self._margins(first.about, second.about, scores.shape), *shares)
            best = maxima(scores, positive)
            together = jnp.sum(belong(first.about, second.about), 1)
        else:
            scalars = scale, passes.model.bias
            if o.chunk:
                parts = self._chunks(len(passes.batch["id"]))
                rows, columns = chunks.compare(self._block, parts, first, second, scalars)
            else:
                rows, columns = self._block(first, second, scalars)
            shares = first.about.share, second.about.share
            loss = sigmoid_of(rows, shares[0]) if o.loss == "sigmoid" else infonce_of(rows, columns, *shares)
            best, together = rows.maxima, rows.sums[-1]
        own = len(second.vectors) // len(passes.batch["id"])  # of what is in the other modality
        # What belongs together though it is of different rows of the batch; without ids it would be pushed apart.
        repeated = jnp.mean(together - own) / max(1, len(second.vectors) - own)
        return loss, {"accuracy": jnp.mean(best[0] > best[1]), "false_negatives": repeated, "scale": scale}

    def _side(self, passes, modality: str, other: str) -> Side:
        """Vectors of a modality, with what tells which rows of the other belong to them."""
        images = jax.lax.stop_gradient(passes.tower("image")) if self.options.variable else None
        vectors, ids = passes.tower(modality), passes.batch["id"]
        share = jnp.repeat(1 / occurrences(ids), len(vectors) // len(ids))
        return Side(vectors, known(passes.batch, modality, other)._replace(images=images, share=share))

    def _chunks(self, records: int) -> int:
        """Into how many chunks the records of a device are divided."""
        chunk, held = self.options.chunk, records // sharding.batch_devices()
        if held > chunk and held % chunk:
            raise UserError(
                f"{self._field}.chunk={chunk} does not divide the {held} records of a device; give a divisor"
            )
        return max(1, held // chunk)

    def _block(self, first: Side, second: Side, scalars: Any) -> tuple[Totals, Totals]:
        """Totals of the rows and columns of a block of pairs."""
        scores, positive = first.vectors @ second.vectors.T, belong(first.about, second.about)
        scale, bias = scalars
        if self.options.loss == "sigmoid":
            rows, columns = sigmoid_totals(scores, positive, scale, bias, second.about.share), Totals()
        else:
            margins = self._margins(first.about, second.about, scores.shape)
            rows, columns = infonce_totals(scores, positive, scale, *margins, first.about.share, second.about.share)
        return rows._replace(maxima=maxima(scores, positive)), columns

    def _margins(self, first: Known, second: Known, shape: tuple[int, ...]) -> tuple[Array | float, Array | float]:
        """Margins from the rows' side and from the columns': a variable one for images as anchors only."""
        o = self.options
        if first.images is None or second.images is None:
            return o.margin, o.margin
        margins = variable_margin(first.images, o.margin, second.images)
        margins = jnp.repeat(margins, shape[0] // len(margins), 0)
        margins = jnp.repeat(margins, shape[1] // margins.shape[1], 1)
        return margins if o.first == "image" else o.margin, margins.T if o.second == "image" else o.margin


def encoded_flops(config: Config, options: Any, share: float) -> dict[str, float]:
    """Operations of encoding one row of the two modalities of ``options``, by the name of the pass."""
    captions = config.stream(options.stream).captions
    rows = {m: captions if m == "text" else 1 for m in (options.first, options.second)}
    own = "" if options.stream == "image_text" else f"{options.stream}/"  # another stream's passes are its own
    found = {
        f"{own}encode/{m}": n * flops.encode(config.model, m, share if m == "text" else 1.0) for m, n in rows.items()
    }
    for m, n in rows.items():  # one without layers of its own passes the fusion layers alone
        if not config.model.modalities[m].unimodal_layers:
            length = flops.tokens(config.model, m) * (share if m == "text" else 1.0)
            found[f"{own}alone/{m}"] = n * flops.fuse(config.model, {m: length})
    return found


def positives(batch, first: str, second: str) -> Bool[Array, "R K"]:
    """Which rows of two modalities belong together, by equal record id, equal picture or equal caption.

    Equal captions of different records count because each is true of both pictures, and so do equal pictures.
    """
    return belong(known(batch, first, second), known(batch, second, first))


def known(batch, modality: str, other: str) -> Known:
    """What tells which rows of a modality belong to which rows of another."""
    count = batch["text"].shape[1] if modality == "text" else 1
    ids = origins(batch) if "image" in (modality, other) else batch["id"][:, None]
    ids = repeat(ids, "b n -> (b c) n", c=count)
    if {modality, other} != {"image", "text"}:
        return Known(ids, jnp.zeros((len(ids), 0), jnp.int32))
    return Known(ids, batch["caption_id"].reshape(len(ids), -1))  # an image has all of its record's, a text one


def belong(rows: Known, columns: Known) -> Bool[Array, "R K"]:
    """Which rows and columns belong together."""
    shared = rows.captions[:, None, :, None] == columns.captions[None, :, None, :]
    return jnp.any(rows.ids[:, None] == columns.ids[None, :], 2) | jnp.any(shared, (2, 3))


def maxima(scores: Float[Array, "R K"], positive: Bool[Array, "R K"]) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
    """Each row's highest score, and that of what does not belong to it. Where they are equal the row is no hit."""
    scores = jax.lax.stop_gradient(scores)
    return jnp.max(scores, 1), jnp.max(jnp.where(positive, -jnp.inf, scores), 1)


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
    return infonce_of(*infonce_totals(scores, positive, scale, margin, margin_back))


def infonce_totals(
    scores: Float[Array, "R K"],
    positive: Bool[Array, "R K"],
    scale: Float[Array, ""],
    margin: Float[Array, "R K"] | float = 0.0,
    margin_back: Float[Array, "K R"] | float = 0.0,
    share: Share = 1.0,
    share_back: Share = 1.0,
) -> tuple[Totals, Totals]:
    """What `infonce_of` needs of the rows and of the columns; the first arguments are those of `infonce_loss`.

    Args:
      share: how much each row counts, as an anchor and beside others; see `Known`.
      share_back: the same of columns.
    """

    def one_way(scores: Array, positive: Array, margin: Array | float, share: Share) -> Totals:
        logits, counted = (scores + jnp.where(positive, 0, margin)) * scale, jnp.where(positive, share, 0.0)
        sums = jnp.sum(counted * logits, -1), jnp.sum(counted, -1), jnp.sum(positive, -1, dtype=jnp.float32)
        return Totals(logs=(jax.nn.logsumexp(logits + jnp.log(share), -1),), sums=sums)

    scores = scores.astype(jnp.float32)
    return one_way(scores, positive, margin, share_back), one_way(scores.T, positive.T, margin_back, share)


def infonce_of(rows: Totals, columns: Totals, share: Share = 1.0, share_back: Share = 1.0) -> Float[Array, ""]:
    """The loss, by each row's logarithm of the sum of exponentials, sum of its positives' logits, and their number."""

    def one_way(totals: Totals, share: Share) -> Array:
        (log,), (near, count, _) = totals.logs, totals.sums
        return mean(log - near / count, share)

    return (one_way(rows, share) + one_way(columns, share_back)) / 2


def occurrences(ids: Integer[Array, " B"]) -> Integer[Array, " B"]:
    """How often each id is among all of them: by sorting, for comparing all pairs takes memory of the batch squared."""
    ordered = jnp.sort(ids)
    return jnp.searchsorted(ordered, ids, side="right") - jnp.searchsorted(ordered, ids)


def mean(x: Float[Array, " R"], share: Share) -> Float[Array, ""]:
    """Mean of what rows come to, each counted by its share."""
    return jnp.sum(x * share) / jnp.sum(jnp.broadcast_to(share, x.shape))


def ranking_loss(
    scores: Float[Array, "N N"],
    positive: Bool[Array, "N N"],
    margin: Float[Array, "N N"] | float,
    margin_back: Float[Array, "N N"] | float,
    share: Share = 1.0,
    share_back: Share = 1.0,
) -> Float[Array, ""]:
    """Hinge loss of both directions: sum over j of max(0, s_ij - s_ii + margin_ij), mean over anchors i.

    Kim and Yoon, Image-Bridged Multimodal Half-Supervised Learning Model, section 3.2, whose plain sum over i is this
    times N. Pairs are on the diagonal; other positives are no negatives. Shares are as of `infonce_totals`.
    """

    def one_way(scores: Array, positive: Array, margin: Array | float, anchors: Share, others: Share) -> Array:
        hinge = jnp.maximum(0, scores - jnp.diagonal(scores)[:, None] + margin)
        return mean(jnp.sum(jnp.where(positive, 0, hinge * others), -1), anchors)

    scores = scores.astype(jnp.float32)
    there = one_way(scores, positive, margin, share, share_back)
    return there + one_way(scores.T, positive.T, margin_back, share_back, share)


def variable_margin(
    anchors: Float[Array, "N E"], margin: float, others: Float[Array, "M E"] | None = None
) -> Float[Array, "N M"]:
    """margin * sigmoid(-x_i . x_j), without a gradient (Kim and Yoon, 3.2): 0.27 to 0.73 of it for unit vectors."""
    anchors = jax.lax.stop_gradient(anchors)
    others = anchors if others is None else jax.lax.stop_gradient(others)
    return margin * jax.nn.sigmoid(-anchors @ others.T)


def squared(
    first: Side, second: Side, positive: Bool[Array, "R K"]
) -> tuple[Float[Array, "N E"], Float[Array, "N E"], Bool[Array, "N N"], Share, Share]:
    """Rows of the side that has fewer repeated, so that row i of one belongs to row i of the other, and all shares."""
    size = max(positive.shape)
    rows, columns = size // len(first.vectors), size // len(second.vectors)
    return (
        jnp.repeat(first.vectors, rows, 0),
        jnp.repeat(second.vectors, columns, 0),
        jnp.repeat(jnp.repeat(positive, rows, 0), columns, 1),
        jnp.repeat(first.about.share, rows),
        jnp.repeat(second.about.share, columns),
    )


def sigmoid_loss(
    scores: Float[Array, "R K"], positive: Bool[Array, "R K"], scale: Float[Array, ""], bias: Float[Array, ""]
) -> Float[Array, ""]:
    """Sum over all pairs of the binary cross-entropy, over the number of rows (Zhai et al. 2023)."""
    return sigmoid_of(sigmoid_totals(scores, positive, scale, bias))


def sigmoid_totals(
    scores: Float[Array, "R K"],
    positive: Bool[Array, "R K"],
    scale: Float[Array, ""],
    bias: Float[Array, ""],
    share_back: Share = 1.0,
) -> Totals:
    """What `sigmoid_of` needs of the rows."""
    logits = scores.astype(jnp.float32) * scale + bias
    nats = -jnp.sum(jax.nn.log_sigmoid(jnp.where(positive, logits, -logits)) * share_back, -1)
    return Totals(sums=(nats, jnp.sum(positive, -1, dtype=jnp.float32)))


def sigmoid_of(rows: Totals, share: Share = 1.0) -> Float[Array, ""]:
    """The loss, by the sum of each row's cross-entropies."""
    return mean(rows.sums[0], share)
