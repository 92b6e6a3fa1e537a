"""Objects: tokens of a picture grouped and reduced to a budget, without boxes, and the relations between them.

All ways of reducing are one interface, `Reduce`: tokens in, fewer tokens out, with the share of every token in a group.
Shapes are static. Hard groupings are a matrix of zeros and ones that sums tokens; soft ones are an attention.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float

from xmjax.config import ModelConfig
from xmjax.models.embedders import Tokens
from xmjax.models.layers import linear, rms_norm, unit

METHODS = ("relation", "tome", "queries", "slots", "grid", "random")
"""Merging by relation, merging by likeness (Bolya et al. 2023), learned queries (Jaegle et al. 2021), slots (Locatello
et al. 2020); and the controls, pooling over a grid and dropping at random."""

LEARNED = ("queries", "slots")
"""Methods with parameters; the others also serve a model that was trained without them."""

REACH = 2.0
"""Distance, in sides of a token, over which closeness falls to exp(-1/2)."""

ROUNDS = 3
"""Iterations of slot attention."""


class Objects(NamedTuple):
    """Groups of tokens.

    Attributes:
      tokens: one a group; its span is the box around the tokens that belong to it mostly.
      groups: share of each token in each group; sums to one over the groups where no token is dropped.
    """

    tokens: Tokens
    groups: Float[Array, "B K M"]


def relations(vectors: Float[Array, "B M D"], spans: Float[Array, "B M 4"]) -> Float[Array, "B M M"]:
    """How closely two units belong together, from 0 to 1: likeness of their vectors times nearness of their boxes.

    The free distance between the boxes counts, so that units that touch or overlap are as near as can be.
    """
    like = (1 + jnp.einsum("bmd,bnd->bmn", unit(vectors), unit(vectors))) / 2
    low, high = spans[..., :2], spans[..., 2:]
    free = jnp.maximum(low[:, :, None] - high[:, None], low[:, None] - high[:, :, None])
    distance = jnp.sum(jnp.square(jnp.maximum(free, 0)), -1)
    side = jnp.min(high - low, axis=(1, 2))[:, None, None]
    return like * jnp.exp(-distance / (2 * jnp.square(REACH * side)))


def merge(scores: Float[Array, "B M M"], count: int) -> Float[Array, "B K M"]:
    """Which units become one when ``count`` of them are merged: every second unit may join its best of the others.

    Bipartite matching as of ToMe (Bolya et al. 2023): those pairs are merged that score highest.

    Args:
      scores: how well two units go together.
      count: units that disappear, at most half.

    Returns:
      Zeros and ones; each unit is in one of the K = M - count groups.
    """
    total = scores.shape[1]
    first, second = jnp.arange(0, total, 2), jnp.arange(1, total, 2)
    between = scores[:, first][:, :, second]
    best, partner = jnp.max(between, -1), jnp.argmax(between, -1)
    rank = jnp.argsort(jnp.argsort(-best, -1), -1)  # of every unit that may join: those below count do
    joins = rank < count
    # Groups are the second units in order, then the first ones that stay, by rank.
    group = jnp.where(joins, partner, len(second) + rank - count)
    rows = jax.nn.one_hot(group, total - count, axis=1)  # [B, K, first]
    fixed = jnp.broadcast_to(jnp.eye(total - count, len(second)), (rows.shape[0], total - count, len(second)))
    placed = jnp.zeros((rows.shape[0], total - count, total))
    return placed.at[:, :, first].set(rows).at[:, :, second].set(fixed)


def merged(tokens: Tokens, keep: int, by_relation: bool) -> Float[Array, "B K M"]:
    """Groups that repeated merging ends with, at most a quarter of the units at a time.

    Half at a time would leave every second unit no choice but to join another, a toy its ground (docs/log.md).

    Args:
      tokens: of the picture.
      keep: groups, K.
      by_relation: whether nearness counts besides likeness.
    """
    batch, total = tokens.valid.shape
    groups = jnp.broadcast_to(jnp.eye(total), (batch, total, total))
    vectors, spans = tokens.vectors.astype(jnp.float32), tokens.spans
    while total > keep:
        size = jnp.sum(groups, -1, keepdims=True)
        mean = (groups @ vectors) / size
        if by_relation:
            scores = relations(mean, boxes(groups, spans))
        else:
            scores = jnp.einsum("bmd,bnd->bmn", unit(mean), unit(mean))
        count = min(total - keep, max(1, total // 4))
        groups = merge(jax.lax.stop_gradient(scores), count) @ groups
        total -= count
    return groups


def boxes(groups: Float[Array, "B K M"], spans: Float[Array, "B M 4"]) -> Float[Array, "B K 4"]:
    """The box around the units that belong to each group at least half as much as its strongest one."""
    inside = (groups >= 0.5 * jnp.max(groups, -1, keepdims=True))[..., None]
    low = jnp.min(jnp.where(inside, spans[:, None, :, :2], jnp.inf), 2)
    high = jnp.max(jnp.where(inside, spans[:, None, :, 2:], -jnp.inf), 2)
    return jnp.concatenate([low, high], -1)


def inside(spans: Float[Array, "B M 4"], given: Float[Array, "B K 4"]) -> Float[Array, "B K M"]:
    """Groups by boxes that are given: the share of each unit's area that lies in each box."""
    low = jnp.maximum(spans[:, None, :, :2], given[:, :, None, :2])
    high = jnp.minimum(spans[:, None, :, 2:], given[:, :, None, 2:])
    area = jnp.prod(spans[..., 2:] - spans[..., :2], -1)
    return jnp.prod(jnp.maximum(high - low, 0), -1) / area[:, None]


def grid(spans: Float[Array, "B M 4"], keep: int) -> Float[Array, "B K M"]:
    """Groups by place: a grid of ``keep`` equal cells, a square number."""
    side = round(keep**0.5)
    middle = (spans[..., :2] + spans[..., 2:]) / 2
    cell = jnp.clip(jnp.floor(middle * side), 0, side - 1).astype(jnp.int32)
    return jax.nn.one_hot(cell[..., 0] * side + cell[..., 1], keep, axis=1)


def dropped(vectors: Float[Array, "B M D"], keep: int) -> Float[Array, "B K M"]:
    """``keep`` units drawn at random, by a number that the unit's own vector gives; the others are in no group."""
    direction = jax.random.normal(jax.random.key(0), (vectors.shape[-1],))
    noise = 1e4 * (vectors.astype(jnp.float32) @ direction)
    _, chosen = jax.lax.top_k(noise - jnp.floor(noise), keep)
    return jax.nn.one_hot(jnp.sort(chosen, -1), vectors.shape[1])


def group(tokens: Tokens, method: str, keep: int) -> Float[Array, "B K M"]:
    """Groups by a method without parameters."""
    if method == "grid":
        return grid(tokens.spans, keep)
    if method == "random":
        return dropped(tokens.vectors, keep)
    return merged(tokens, keep, method == "relation")


class Reduce(nn.Module):
    """Reduces a picture's tokens to a budget.

    Attributes:
      config: sizes.
      method: of `METHODS`.
      keep: groups.
    """

    config: ModelConfig
    method: str
    keep: int

    @nn.compact
    def __call__(self, tokens: Tokens) -> Objects:
        if self.method == "slots":
            return self._slotted(tokens)
        return pooled(
            tokens, self._queried(tokens) if self.method == "queries" else group(tokens, self.method, self.keep)
        )

    def _queried(self, tokens: Tokens) -> Float[Array, "B K M"]:
        width = self.config.width
        query = self.param("query", nn.initializers.normal(1.0), (self.keep, width))
        kernel = self.param("key", nn.initializers.normal(width**-0.5), (width, width))
        norm = self.param("norm", nn.initializers.zeros, (width,))
        score = jnp.einsum("kd,bmd->bkm", query, linear(rms_norm(tokens.vectors, norm), kernel)) * width**-0.5
        return jax.nn.softmax(jnp.where(tokens.valid[:, None], score.astype(jnp.float32), -1e9), -1)

    def _slotted(self, tokens: Tokens) -> Objects:
        """Slots compete for tokens: the softmax is over slots (Locatello et al. 2020)."""
        width = self.config.width
        normal = nn.initializers.normal
        x = rms_norm(tokens.vectors, self.param("norm", nn.initializers.zeros, (width,)))
        slots_norm = self.param("slots_norm", nn.initializers.zeros, (width,))
        query, key, value = (
            self.param(name, normal(width**-0.5), (width, width)) for name in ("query", "key", "value")
        )
        start = self.param("slots", normal(1.0), (self.keep, width))
        cell = nn.GRUCell(width, dtype=tokens.vectors.dtype, name="update")
        slots = jnp.broadcast_to(start.astype(x.dtype), (x.shape[0], self.keep, width))
        keys, values = linear(x, key), linear(x, value)
        share = jnp.zeros((x.shape[0], self.keep, x.shape[1]))
        for _ in range(ROUNDS):
            asked = linear(rms_norm(slots, slots_norm), query)
            score = jnp.einsum("bkd,bmd->bkm", asked, keys).astype(jnp.float32) * width**-0.5
            share = jax.nn.softmax(score, 1) * tokens.valid[:, None]
            mean = share / jnp.maximum(jnp.sum(share, -1, keepdims=True), 1e-8)
            slots, _ = cell(slots, (mean.astype(x.dtype) @ values))
        found = pooled(tokens, share)
        return found._replace(tokens=found.tokens._replace(vectors=slots))


def pooled(tokens: Tokens, groups: Float[Array, "B K M"]) -> Objects:
    """One token a group: the mean of its members by their share."""
    share = groups / jnp.maximum(jnp.sum(groups, -1, keepdims=True), 1e-8)
    vectors = share.astype(tokens.vectors.dtype) @ tokens.vectors
    valid: Bool[Array, "B K"] = jnp.any((groups > 0) & tokens.valid[:, None], -1)
    return Objects(Tokens(vectors, valid, boxes(groups, tokens.spans)), groups)
