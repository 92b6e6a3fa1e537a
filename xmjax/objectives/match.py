"""Match: whether a caption and a picture belong together, read off an identifier that is fused with both."""

import dataclasses

import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, Shaped

from xmjax.errors import UserError
from xmjax.models.embedders import Tokens
from xmjax.objectives import base, contrast
from xmjax.training import flops

NEVER, SELDOM = -1e9, -1e4
"""Logits of what is no negative, and of what is one only where there is no other."""


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `Match`.

    Attributes:
      hard: share of the negatives that are drawn by the likeness of the towers' vectors; the others are drawn evenly.
      temperature: of that draw, in cosine; near 0 the likest one always wins.
      both: share of the mismatches with another picture whose text is another one too, wrong for that picture.
      duplicate: records of which the pictures or the texts have a cosine above this are taken for the same; without
        hard negatives the towers, which may be untrained, are not asked.
      every: of which records it is learned, every how manieth of the batch, out of all of which negatives are drawn.
      modality: what the captions are matched with.
    """

    hard: float = 0.5
    both: float = 0.0
    temperature: float = 0.1
    duplicate: float = 0.995
    every: int = 1
    modality: str = "image"


@base.OBJECTIVES.register("match")
class Match(base.Objective):
    """The second training task of EP 3 889 830: compatibility, from the value of the matching identifier.

    Negatives are made inside the step, out of the whole batch wherever its rows lie: the caption with another picture,
    the picture with another caption, or both exchanged (claim 4). Rows of the same record, captions that are equal, and
    near duplicates are no negatives; that a text is true of another picture too, which only a truth could tell, is not
    noticed. Of microbatches, each of which is a batch here, those count a little more whose rows have fewer mismatches.
    """

    Options = Options
    task = "matching"
    version = 2  # 1 read the first caption of each record, which was always of the first language

    def __init__(self, options, config):
        super().__init__(options, config)
        if not config.model.matching:
            raise UserError("config.objectives.match needs config.model.matching=True")

    def flops(self, share):
        o, model = self.options, self.config.model
        other = model.regions.count or flops.kept(model, o.modality)
        text = flops.tokens(model, "text") * share + 1  # and the identifier
        return contrast.encoded_flops(self.config, contrast.Options(first=o.modality), share) | {
            "match": 3 / o.every * flops.fuse(model, {o.modality: other, "text": text})
        }

    def loss(self, passes, rng):
        o, model, captions = self.options, passes.model, passes.captions
        other = passes.fused_with_text(o.modality)
        rows = jnp.arange(0, len(passes.batch["id"]), o.every)
        # Of each record any caption, for they come in the order of their languages.
        said = jax.random.randint(jax.random.fold_in(rng, 3), passes.batch["id"].shape, 0, captions)
        text = jax.tree.map(lambda x: one_of(x, said), passes.encoded("text"))
        same = one_of(contrast.positives(passes.batch, o.modality, "text").T, said).T
        picked, pictures, texts = (jax.random.fold_in(rng, i) for i in range(3))
        likeness, duplicates = jnp.zeros(same.shape), jnp.zeros(same.shape, bool)
        vectors = first, second = passes.tower(o.modality), one_of(passes.tower("text"), said)
        if o.hard:
            likeness = jax.lax.stop_gradient(first @ second.T)
            # A text of a picture that is nearly the same is true of both, and so is a picture of such a text.
            duplicates = alike(first, o.duplicate) | alike(second, o.duplicate)
        by_likeness = jax.random.bernoulli(picked, o.hard, (2, len(same)))
        wrong_text = drawn(texts, likeness, same, duplicates, by_likeness[0], o.temperature)
        # Pictures none of whose objects are known look all alike: they belong to nothing and are no mismatch.
        present = jnp.any(other.valid, -1)
        wrong_picture = drawn(pictures, likeness.T, same.T | ~present, duplicates, by_likeness[1], o.temperature)[rows]
        exchanged = jax.random.bernoulli(jax.random.fold_in(rng, 4), o.both, rows.shape)
        beside = jnp.where(exchanged, wrong_text[wrong_picture], rows)  # the text beside a wrong picture
        pairs = jnp.concatenate([rows, rows, wrong_picture]), jnp.concatenate([rows, wrong_text[rows], beside])
        parts = {o.modality: taken(other, pairs[0]), "text": taken(text, pairs[1])}
        logits = model.matches(parts, vectors[0][pairs[0]], vectors[1][pairs[1]])
        matched = jnp.repeat(jnp.array([True, False, False]), len(rows))
        nats = -jax.nn.log_sigmoid(jnp.where(matched, logits, -logits))
        # Where all of the batch belongs to a row there is no mismatch of it, whatever was drawn.
        there = (matched | ~same[pairs]) & present[pairs[0]]
        right = (logits > 0) == matched
        count = jnp.maximum(1, jnp.sum(there))
        return jnp.sum(nats, where=there) / count, {
            "accuracy": jnp.sum(right, where=there) / count,
            "prior_entropy": entropy(jnp.sum(there & matched) / count),
        }

    def alarm(self, metrics):
        """What to do about a loss that stays where a model is that tells nothing, or above."""
        prior = metrics["match/prior_entropy"]
        if metrics["match/loss"] < 0.99 * prior:
            return ""
        return (
            f"match/loss stays at {prior:.3f} or above, the entropy of its prior: it tells nothing. Begin it "
            "later, with config.objectives.match.schedule=((0.2, 0), (0.3, 1)), when retrieval works, or lower the "
            "learning rate"
        )


def entropy(share: Float[Array, ""]) -> Float[Array, ""]:
    """Nats of a yes that comes with this probability: the loss of a model that tells nothing but how many match.

    Of a third, one pair in three being a record's own, it is 0.637 (reported of BLIP as "stuck at 0.63"); where some
    pictures have no objects fewer pairs are left, and more of them match.
    """
    return -jax.scipy.special.xlogy(share, share) - jax.scipy.special.xlogy(1 - share, 1 - share)


def alike(vectors: Float[Array, "R E"], least: float) -> Bool[Array, "R R"]:
    """Rows whose vectors are nearly the same."""
    vectors = jax.lax.stop_gradient(vectors)
    return vectors @ vectors.T > least


def drawn(
    rng: Array,
    likeness: Float[Array, "R K"],
    same: Bool[Array, "R K"],
    duplicates: Bool[Array, "K K"],
    by_likeness: Bool[Array, " R"],
    temperature: float,
) -> Array:
    """For each row a column that does not belong to it [R].

    Args:
      rng: key.
      likeness: cosine of each row and column.
      same: pairs that belong together; column i belongs to row i. Of a row to which all belong, any column comes out.
      duplicates: columns that are nearly the same as another; those of a row's own are taken only if nothing else is.
      by_likeness: rows for which likely mistakes are drawn, in the place of any.
      temperature: of the draw, in cosine.
    """
    logits = jnp.where(by_likeness[:, None], likeness / temperature, 0.0)
    logits = jnp.where(same, NEVER, jnp.where(duplicates, SELDOM, logits))
    return jax.random.categorical(rng, logits)


def one_of(x: Shaped[Array, "R ..."], which: Int[Array, " B"]) -> Shaped[Array, "B ..."]:
    """Of the R / B rows that belong to each record one, by its number among them."""
    x = rearrange(x, "(b c) ... -> b c ...", b=len(which))
    return jnp.take_along_axis(x, which.reshape(-1, 1, *(1,) * (x.ndim - 2)), 1)[:, 0]


def taken(tokens: Tokens, rows: Array) -> Tokens:
    """Rows of tokens, by index."""
    return jax.tree.map(lambda x: x[rows], tokens)
