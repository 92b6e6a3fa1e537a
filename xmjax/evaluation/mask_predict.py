"""Mask-predict: captions written by filling an unknown text, several bytes at a time."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xmjax import vocab
from xmjax.data.arrays import canvas
from xmjax.data.regions import boxes_array
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.caption import others_picture
from xmjax.evaluation.items import commonest, references
from xmjax.evaluation.match import encoded_image
from xmjax.objectives.mask_predict import caption_places, hidden, unmasked

ROUNDS = 60
"""Rounds in which a text is written: with ten, two wordings of one thing are mixed (docs/log.md)."""


@EVALUATORS.register("mask_predict")
class MaskPredictEvaluator(Evaluator):
    """Captions that are equal to one of the record's own, written in rounds from an unknown text.

    What is certain is kept first in "exact", what comes first in "from_the_left"; "shuffled_image" is "exact" with the
    picture of another record. A model that was not trained to do so is not scored.
    """

    def __init__(self, config, mesh, records):
        count = config.model.regions.given
        super().__init__(config, mesh, [r for r in records if r.captions and (r.regions or not count)])
        if not self.records or not config.model.unmasking:
            self.records = []
            return
        self.captions = [r.captions[i % len(r.captions)] for i, r in enumerate(self.records)]
        self.references = [references(c, r) for c, r in zip(self.captions, self.records, strict=True)]
        seen = (
            self.pictures(self.records),
            np.stack([boxes_array(r.regions, max(1, count)) for r in self.records]),
        )
        self.canvases = np.stack([canvas(c, config.model.text.max_bytes) for c in self.captions])
        donor = others_picture(self.captions, self.references, self.records)
        exact, from_the_left = (
            self.compiled(partial(written, rounds=ROUNDS, from_the_left=left)) for left in (False, True)
        )
        self.ways = {
            "exact": (exact, seen),
            "from_the_left": (from_the_left, seen),
            "shuffled_image": (exact, tuple(array[donor] for array in seen)),
        }

    def __call__(self, params):
        if not self.records:
            return Report({"mask_predict/n": 0})
        scores, examples = {}, {r.id: {} for r in self.records}
        for name, (write, pictures) in self.ways.items():
            texts = [vocab.decode(ids) for ids in write(params, *pictures, self.canvases)]
            right = [text in known for text, known in zip(texts, self.references, strict=True)]
            scores[f"mask_predict/{name}"] = float(np.mean(right))
            if name == "shuffled_image":
                continue
            for record, text in zip(self.records, texts, strict=True):
                examples[record.id]["unmasked" if name == "exact" else f"unmasked {name}"] = vocab.whole(text)
        groups = [(c.language, c.style) for c in self.captions]
        known = float(np.mean([bool(references) for references in self.references]))
        return Report(
            {
                **scores,
                **{f"mask_predict/{name}/oracle": known for name in ("exact", "from_the_left")},
                "mask_predict/exact/most_frequent": commonest(groups, self.references),
                "mask_predict/n": len(self.records),
            },
            examples,
        )


def written(model: Any, image: Array, boxes: Array, known: Array, *, rounds: int, from_the_left: bool = False) -> Array:
    """Captions of pictures [B, L] after the prompts of canvases, EOS and PAD behind them.

    In every round the bytes that were least certain when they were written are masked and written again, all at once,
    fewer each time (Ghazvininejad et al. 2019). The text ends at the first EOS of the round, so that its length may
    still change; where there is none it fills the canvas.

    Args:
      model: a `Crossmodal` bound to its parameters.
      image: pictures.
      boxes: of their objects.
      known: canvases, of which the prompts are read.
      rounds: of writing.
      from_the_left: masks what stands last in every round, in the place of what was least certain.
    """
    ids = known.astype(jnp.int32)
    place = jnp.arange(ids.shape[1])
    free = place >= jnp.argmax(caption_places(ids), -1)[:, None]
    other = encoded_image(model, image, boxes)
    may = jnp.arange(vocab.SIZE) < 256
    may = may.at[vocab.EOS].set(True)

    def end_of(ids: Array) -> Array:
        ends = free & (ids == vocab.EOS)
        return jnp.where(jnp.any(ends, -1), jnp.argmax(ends, -1), ids.shape[1] - 1)[:, None]

    def one(round: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        ids, certain = carried
        inside = free & (place <= end_of(ids))
        count = jnp.sum(inside, -1, keepdims=True) * (rounds - round) // rounds
        sooner = -place.astype(jnp.float32) if from_the_left else certain
        rank = jnp.argsort(jnp.argsort(jnp.where(inside, sooner, jnp.inf), -1), -1)
        again = (inside & (rank < jnp.maximum(count, 1))) | (free & ~inside)
        logits = unmasked(model, "image", other, model.encode("text", hidden(ids, again)))
        log_probability = jnp.where(may, jax.nn.log_softmax(logits), -jnp.inf)
        best, sure = jnp.argmax(log_probability, -1), jnp.max(log_probability, -1)
        return jnp.where(again, best, ids), jnp.where(again, sure, certain)

    start = jnp.where(free, vocab.MASK, ids), jnp.full(ids.shape, -jnp.inf)
    ids, _ = jax.lax.fori_loop(0, rounds, one, start)
    first = jnp.argmax(free, -1)[:, None]
    shifted = jnp.take_along_axis(ids, jnp.minimum(first + place, ids.shape[1] - 1), 1)
    return jnp.where(place <= end_of(ids) - first, shifted, vocab.PAD).astype(jnp.int32)
