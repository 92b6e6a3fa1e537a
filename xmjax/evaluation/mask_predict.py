"""Mask-predict: captions written by filling an unknown text, several words at a time."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax import Array
from jaxtyping import Int

from xmjax import vocab
from xmjax.data.arrays import canvas, prompt_of
from xmjax.data.regions import boxes_array
from xmjax.data.source import Caption
from xmjax.data.words import pieces
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.caption import others_picture
from xmjax.evaluation.items import commonest, references
from xmjax.evaluation.match import encoded_image
from xmjax.models.generate import Written, beam
from xmjax.models.passes import repeated
from xmjax.objectives.mask_predict import at_places, bytes_a_token, composed, in_tokens

BEAMS = 4
"""Captions that are kept while searching by beam."""


@EVALUATORS.register("mask_predict")
class MaskPredictEvaluator(Evaluator):
    """Captions that are equal to one of the record's own, written in rounds from an unknown text.

    What is certain is kept first in "exact", what comes first in "from_the_left"; "by_beam" is the likeliest that a
    search from the left finds, "shuffled_image" "exact" with the picture of another record. A model that was not
    trained to do so is not scored.
    """

    def __init__(self, config, mesh, records):
        count = config.model.regions.given
        super().__init__(config, mesh, [r for r in records if r.captions and (r.regions or not count)])
        options = config.objectives.get("mask_predict")
        if not self.records or options is None or options.modality != "image":
            self.records = []
            return
        self.captions = [r.captions[i % len(r.captions)] for i, r in enumerate(self.records)]
        self.references = [references(c, r) for c, r in zip(self.captions, self.records, strict=True)]
        seen = (
            self.pictures(self.records),
            np.stack([boxes_array(r.regions, max(1, count)) for r in self.records]),
        )
        size = {"units": options.units, "max_unit_bytes": options.max_unit_bytes}
        self.prompts = np.stack([canvas(c, **size, length=config.model.text.max_bytes)[0] for c in self.captions])
        donor = others_picture(self.captions, self.references, self.records)
        exact, from_the_left = (self.compiled(partial(written, **size, from_the_left=left)) for left in (False, True))
        self.ways = {
            "exact": (exact, seen),
            "from_the_left": (from_the_left, seen),
            "by_beam": (self.compiled(lambda *shown: searched(*shown, **size, width=BEAMS).ids[:, 0]), seen),
            "shuffled_image": (exact, tuple(array[donor] for array in seen)),
        }

    def has_room(self, caption: Caption, text: str) -> bool:
        """Whether a text and its end have places and room behind the prompt of a caption."""
        options, model = self.config.objectives["mask_predict"], self.config.model
        words, each = pieces(text, options.max_unit_bytes), bytes_a_token(model)
        lengths = (len(vocab.utf8(prompt_of(caption))) + 1, *(len(vocab.utf8(word)) for word in words), each)
        taken = sum(in_tokens(length, each) for length in lengths)
        return len(words) < options.units and taken <= model.text.max_bytes

    def __call__(self, params):
        if not self.records:
            return Report({"mask_predict/n": 0})
        scores, examples = {}, {r.id: {} for r in self.records}
        for name, (write, pictures) in self.ways.items():
            texts = [vocab.decode(ids) for ids in write(params, *pictures, self.prompts)]
            right = [text in known for text, known in zip(texts, self.references, strict=True)]
            scores[f"mask_predict/{name}"] = float(np.mean(right))
            if name == "shuffled_image":
                continue
            for record, text in zip(self.records, texts, strict=True):
                examples[record.id]["unmasked" if name == "exact" else f"unmasked {name}"] = vocab.whole(text)
        groups = [(c.language, c.style) for c in self.captions]
        cases = zip(self.captions, self.references, strict=True)
        known = float(np.mean([any(self.has_room(caption, text) for text in texts) for caption, texts in cases]))
        return Report(
            {
                **scores,
                **{f"mask_predict/{name}/oracle": known for name in self.ways if name != "shuffled_image"},
                "mask_predict/exact/most_frequent": commonest(groups, self.references),
                "mask_predict/n": len(self.records),
            },
            examples,
        )


def written(
    model: Any,
    image: Array,
    boxes: Array,
    prompt: Array,
    *,
    units: int,
    max_unit_bytes: int,
    from_the_left: bool = False,
) -> Array:
    """Captions of pictures [B, L], EOS and PAD behind them.

    There are as many rounds as places. In every one the words that were least certain when they were written are masked
    and written again, all at once, fewer each time (Ghazvininejad et al. 2019). The text ends at the first empty word
    of the round, so that its length may still change, or where there is no more room, between two words.

    Args:
      model: a `Crossmodal` bound to its parameters.
      image: pictures.
      boxes: of their objects.
      prompt: language and style, SEP and PAD [B, L].
      units: places of a text.
      max_unit_bytes: longest word.
      from_the_left: masks what stands last in every round, in the place of what was least certain.
    """
    rows, length = prompt.shape
    place, each = jnp.arange(units), bytes_a_token(model.config)
    other = encoded_image(model, image, boxes)
    start = jnp.full((rows * units, 1), vocab.sentinel(0), jnp.int32)
    empty = jnp.where(jnp.arange(max_unit_bytes + 1) == 0, vocab.EOS, vocab.PAD)

    def one(round: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        words, certain = carried
        inside = place <= end_of(words)
        count = jnp.sum(inside, -1, keepdims=True) * (units - round) // units
        sooner = -place.astype(jnp.float32) if from_the_left else certain
        rank = jnp.argsort(jnp.argsort(jnp.where(inside, sooner, jnp.inf), -1), -1)
        again = ~inside | (rank < jnp.maximum(count, 1))
        text = composed(prompt, words, again, length, each)
        vectors = at_places(model, "image", other, model.encode("text", text.ids), text)
        memory = rearrange(vectors, "b s d -> (b s) 1 d")
        found, sure = beam(model, memory, jnp.ones(memory.shape[:2], bool), start, max_unit_bytes, width=1)
        found, sure = (rearrange(x[:, 0], "(b s) ... -> b s ...", b=rows) for x in (found, sure))
        found = jnp.where(text.inside[..., None], found, empty)
        found = jnp.concatenate([jnp.full((rows, units, 1), vocab.sentinel(0)), found], -1)
        return jnp.where(again[..., None], found, words), jnp.where(again, sure, certain)

    nothing = jnp.full((rows, units, max_unit_bytes + 2), vocab.PAD, jnp.int32)
    words, _ = jax.lax.fori_loop(0, units, one, (nothing, jnp.full((rows, units), -jnp.inf)))
    return spelled(prompt, words, each)


def searched(
    model: Any, image: Array, boxes: Array, prompt: Array, *, units: int, max_unit_bytes: int, width: int
) -> Written:
    """Captions of pictures by a beam search over words from the left, best first; other arguments as of `written`.

    Each word is written with all behind it masked, so that the product of their probabilities is that of the caption. A
    word that has no room is not written, and ends the text at its price.

    Args:
      width: captions that are kept while searching, and words that each of them is tried with, K.

    Returns:
      Texts [B, K, L], EOS and PAD behind them, and log-probabilities [B, K], -inf of what could not be found.
    """
    rows, length = prompt.shape
    each = bytes_a_token(model.config)
    other, prompts = repeated(encoded_image(model, image, boxes), width), jnp.repeat(prompt, width, 0)
    start = jnp.full((rows * width, 1), vocab.sentinel(0), jnp.int32)
    first = jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf)
    empty = jnp.where(jnp.arange(max_unit_bytes + 2) == 1, vocab.EOS, vocab.PAD).at[0].set(vocab.sentinel(0))

    def one(k: Array, carried: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        words, score, ended = carried
        behind = jnp.broadcast_to(jnp.arange(units) >= k, (rows * width, units))
        text = composed(prompts, rearrange(words, "b k s w -> (b k) s w"), behind, length, each)
        vectors = at_places(model, "image", other, model.encode("text", text.ids), text)
        vector = jax.lax.dynamic_slice_in_dim(vectors, k, 1, 1)
        found, sure = beam(model, vector, jnp.ones(vector.shape[:2], bool), start, max_unit_bytes, width=width)
        found = jnp.concatenate([jnp.full((*found.shape[:2], 1), vocab.sentinel(0)), found], -1)
        taken = in_tokens(jnp.sum((found != vocab.PAD) & (found != vocab.EOS), -1) - 1, each) // each
        fits = text.token[:, k, None] + taken <= length // each
        # Of words without room, which all end the text, the first alone is tried.
        sure = jnp.where(~fits & (jnp.cumsum(~fits, -1) > 1), -jnp.inf, sure)
        found = rearrange(jnp.where(fits[..., None], found, empty), "(b k) n l -> b (k n) l", b=rows)
        # What has ended, or has no more room, has one way to go on, which costs nothing.
        over = ended | ~rearrange(text.inside[:, k], "(b k) -> b k", b=rows)
        gain = jnp.where(over[..., None], first, rearrange(sure, "(b k) n -> b k n", b=rows))
        score, best = jax.lax.top_k(rearrange(score[..., None] + gain, "b k n -> b (k n)"), width)
        origin = best // width
        over = jnp.take_along_axis(over, origin, 1)
        word = jnp.where(over[..., None], empty, jnp.take_along_axis(found, best[..., None], 1))
        words = jnp.take_along_axis(words, origin[..., None, None], 1).at[:, :, k].set(word)
        return words, score, over | (word[..., 1] == vocab.EOS)

    words = jnp.full((rows, width, units, max_unit_bytes + 2), vocab.PAD, jnp.int32)
    begun = (words, jnp.broadcast_to(first, (rows, width)), jnp.zeros((rows, width), bool))
    words, score, _ = jax.lax.fori_loop(0, units, one, begun)
    texts = spelled(prompts, rearrange(words, "b k s w -> (b k) s w"), each)
    return Written(rearrange(texts, "(b k) l -> b k l", k=width), score)


def end_of(words: Int[Array, "B S W"]) -> Int[Array, "B 1"]:
    """Index of the first empty word, or of the last word where none is."""
    ends = words[..., 1] == vocab.EOS
    return jnp.where(jnp.any(ends, -1), jnp.argmax(ends, -1), words.shape[1] - 1)[:, None]


def spelled(prompt: Int[Array, "B L"], words: Int[Array, "B S W"], bytes_a_token: int) -> Int[Array, "B L"]:
    """Words as one text, up to the first empty one or as far as there is room behind a prompt; EOS, then PAD."""
    known, unprompted = jnp.zeros(words.shape[:2], bool), jnp.full((len(words), 1), vocab.PAD, jnp.int32)
    kept = jnp.arange(words.shape[1]) <= end_of(words)
    kept &= composed(prompt, words, known, prompt.shape[1], bytes_a_token).inside
    return composed(unprompted, jnp.where(kept[..., None], words, vocab.PAD), known, prompt.shape[1], 1).ids
