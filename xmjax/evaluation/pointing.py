"""Pointing: whether the unit of the picture that a masked word is associated with lies on what the word speaks of."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from xmjax.data import playroom
from xmjax.data.arrays import masked_ids, named_ids
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.models.association import sentinel_tokens
from xmjax.models.embedders import seen


@dataclasses.dataclass(frozen=True)
class PointingItem:
    """A word and where in the picture is what it speaks of.

    Attributes:
      record: with the picture.
      masked: a caption with the word masked.
      named: the same with the word behind it, where there is room.
      box: (y0, x0, y1, x1) as fractions of the side.
    """

    record: Record
    masked: np.ndarray
    named: np.ndarray
    box: tuple[float, float, float, float]


def pointing_items(records: Sequence[Record], max_bytes: int) -> list[PointingItem]:
    """One item a record: a noun of a caption, by turns, that the scene has one toy for."""
    items = []
    for i, record in enumerate(records):
        caption = record.captions[i % len(record.captions)]
        assert isinstance(caption, playroom.PlayCaption) and caption.words is not None
        nouns = [k for k, word in enumerate(caption.words) if word.kind == "kind" and word.end <= max_bytes]
        found = [(k, toy) for k in nouns if (toy := playroom.meant(caption, k, record.truth)) is not None]
        if found:
            word, toy = found[i // len(record.captions) % len(found)]
            y0, x0, y1, x1 = (edge / record.truth.image_size for edge in record.truth.toys[toy].box)
            asked = caption.words[word]
            masked, named = (ids(caption.text, asked, max_bytes) for ids in (masked_ids, named_ids))
            items.append(PointingItem(record, masked, named, (y0, x0, y1, x1)))
    return items


@EVALUATORS.register("pointing")
class PointingEvaluator(Evaluator):
    """The pointing game (Zhang et al. 2018) on masked nouns: a hit is when the middle of the unit lies in the box.

    "named" is of the same nouns where they are read too, as a model that has trained `sense` can.
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        records = [r for r in self.records if isinstance(r.truth, playroom.Scene) and r.captions]
        self.items = pointing_items(records, config.model.text.max_bytes) if config.model.association else []
        if not self.items:
            return
        self.image = self.pictures(item.record for item in self.items)
        self.texts = {"model": np.stack([item.masked for item in self.items])}
        if "sense" in self.config.objectives:
            self.texts["named"] = np.stack([item.named for item in self.items])
        self.run = self.compiled(pointed)

    def __call__(self, params):
        if not self.items:
            return Report({"pointing/n": 0})
        boxes = np.array([item.box for item in self.items])
        scores = {}
        for name, texts in self.texts.items():
            _, _, units, most = self.run(params, self.image, texts)
            middles = (units[..., :2] + units[..., 2:]) / 2
            best = np.take_along_axis(middles, most[:, None, None], 1)
            scores[f"pointing/{name}"] = float(np.mean(_inside(best, boxes)))
            scores[f"pointing/{name}/oracle"] = float(np.mean(_inside(middles, boxes).any(1)))
        scores |= {
            "pointing/centre_prior": float(np.mean(_inside(np.full((len(boxes), 1, 2), 0.5), boxes))),
            "pointing/random": float(np.mean((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))),
            "pointing/n": len(boxes),
        }
        return Report(scores)


def _inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Which points [B, N, 2] lie in their row's box [B, 4]."""
    return np.all((boxes[:, None, :2] <= points) & (points < boxes[:, None, 2:]), axis=-1)


def pointed(model: Any, image: Array, masked: Array, boxes: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """What the first masked word of each text is associated with.

    Args:
      model: bound to its parameters.
      image: pictures [B, ...].
      masked: texts [B, L].
      boxes: of the pictures' objects [B, K, 4], in the place of all of their tokens or of discovered objects.

    Returns:
      The weights of the picture's units [B, M], their strength [B], the boxes [B, M, 4] of what the units see, as
      fractions (y0, x0, y1, x1) of the side, and the unit that is pointed at [B]: the heaviest, or, of a model that
      reads objects, the one in the middle of the heaviest object.
    """
    whole, text = model.encode("image", image), model.encode("text", masked)
    objects = model.objects("image", whole, boxes) if boxes is not None or "image" in model.reduce else None
    fused = model.fuse({"image": whole if objects is None else objects.tokens, "text": text})
    found = model.associate(fused["text"], fused["image"])
    at = sentinel_tokens(masked, text, 1)
    weights = jnp.take_along_axis(found.weights, at[..., None], 1)[:, 0]
    most = jnp.argmax(weights, -1)
    if objects is not None:  # an object's weight is spread over the units that it is made of
        share = objects.groups / jnp.maximum(jnp.sum(objects.groups, -1, keepdims=True), 1e-8)
        weights = jnp.einsum("bk,bkm->bm", weights, share)
        most = middle(jnp.take_along_axis(share, most[:, None, None], 1)[:, 0], whole.spans)
    strength = jnp.take_along_axis(found.strength, at, 1)[:, 0]
    return weights, strength, seen(whole.spans, model.config.image), most


def middle(share: Float[Array, "B M"], boxes: Float[Array, "B M 4"]) -> Int[Array, " B"]:
    """The unit next to the centre of an object, by the units' shares in it; of those that have half of the largest."""
    places = (boxes[..., :2] + boxes[..., 2:]) / 2
    centre = jnp.einsum("bm,bmd->bd", share, places) / jnp.maximum(jnp.sum(share, -1, keepdims=True), 1e-8)
    far = jnp.sum(jnp.square(places - centre[:, None]), -1)
    return jnp.argmin(jnp.where(share >= 0.5 * jnp.max(share, -1, keepdims=True), far, jnp.inf), -1)
