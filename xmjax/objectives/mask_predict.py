"""Mask-predict: the words of a caption that is unknown, wholly or in part, are written from their own places."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jaxtyping import Array, Bool, Float, Int, Integer

from xmjax import vocab
from xmjax.config import ModelConfig
from xmjax.data.arrays import canvas, caption_words, draw, prompt_of
from xmjax.data.source import Caption
from xmjax.data.words import pieces
from xmjax.errors import UserError
from xmjax.models.embedders import Tokens
from xmjax.models.passes import repeated
from xmjax.objectives import base
from xmjax.objectives.regions import label_nats
from xmjax.training import flops


@dataclasses.dataclass(frozen=True)
class Options(base.Options):
    """Options of `MaskPredict`.

    Attributes:
      unknown: share of captions no word of which is known.
      begun: share of which the beginning is known, up to a word that is drawn evenly; of the others any words are, a
        share of them that is drawn evenly from 0 to 1.
      single: share of captions of which one marked word is masked, whole, and all else is known; of captions that have
        one. What two words of a caption tell together of a third is seldom asked otherwise.
      single_kinds: kinds of marked words (`data.source.Word`) that it is drawn from, evenly by kind; one that stands
        twice is drawn twice as often. None draws from all marked words.
      units: places of a text, its end among them; what a caption has behind them is left out.
      max_unit_bytes: longest word, with what stands between it and the one before; longer ones are cut between
        characters.
      written: words of a text that are written at a time, drawn from those that are masked.
      canvases: texts of a record that are masked, each of one of the captions that were drawn for it.
      modality: what the caption is of.
    """

    unknown: float = 0.3
    begun: float = 0.0
    single: float = 0.0
    single_kinds: tuple[str, ...] = ()
    units: int = 12
    max_unit_bytes: int = 15
    written: int = 6
    canvases: int = 1
    modality: str = "image"


@base.OBJECTIVES.register("mask_predict")
class MaskPredict(base.Objective):
    """Conditional masked language modelling over words (Ghazvininejad et al. 2019), by the encoder.

    How EP 3 889 830 (paragraph 72) writes a caption: the features of the picture and those of an unknown text go in,
    and the text is what comes out at its places: the decoder spells each masked word from its place alone. Language and
    style stand before the text. How long it is nobody tells: all places behind its end are unknown too, and the end is
    one of the words to write, an empty one.
    """

    Options = Options
    task = "translating"
    version = 4  # 1 read the first caption of a record alone; 2 masked bytes; 3 masks lay across tokens

    def __init__(self, options, config):
        super().__init__(options, config)
        length, masks = config.model.text.max_bytes, options.units * bytes_a_token(config.model)
        if masks >= length:
            raise UserError(
                f"config.objectives.mask_predict.units={options.units} masks take {masks} bytes, and a prompt stands "
                f"before them: choose fewer, or more than config.model.text.max_bytes={length}"
            )
        if options.unknown + options.begun > 1:
            raise UserError("config.objectives.mask_predict: the shares unknown and begun are more than 1 together")
        if options.single_kinds and not options.single:
            raise UserError("config.objectives.mask_predict.single_kinds says of what single=0 takes nothing: raise it")

    def features(self, example: Any) -> dict[str, np.ndarray]:
        o, length = self.options, self.config.model.text.max_bytes
        drawn = draw(example.captions, o.canvases, example.rng)
        prompts, units = zip(*(canvas(caption, o.units, o.max_unit_bytes, length) for caption in drawn), strict=True)
        single = [self.single(caption, example.rng) for caption in drawn]
        return {"canvas_prompt": np.array(prompts), "canvas": np.array(units), "canvas_single": np.array(single)}

    def single(self, caption: Caption, rng: np.random.Generator) -> Bool[np.ndarray, " S"]:
        """The places of the one word of a caption that is masked; none where masks are drawn as they always are."""
        o, places = self.options, np.zeros(self.options.units, bool)
        if not o.single or rng.random() >= o.single:
            return places
        each = bytes_a_token(self.config.model)
        sizes = [len(vocab.utf8(piece)) for piece in pieces(caption.text, o.max_unit_bytes)][: o.units]
        room = self.config.model.text.max_bytes - in_tokens(len(vocab.utf8(prompt_of(caption))) + 1, each)
        ends = np.cumsum(sizes)[np.cumsum([in_tokens(size, each) for size in sizes]) <= room]
        marked = [word for word in caption_words(caption) if len(ends) and word.end <= ends[-1]]
        if o.single_kinds:
            there = [kind for kind in o.single_kinds if any(word.kind == kind for word in marked)]
            kind = there[rng.integers(len(there))] if there else None
            marked = [word for word in marked if word.kind == kind]
        if marked:
            word = marked[rng.integers(len(marked))]
            starts = np.concatenate([[0], ends[:-1]])
            places[: len(ends)] = (starts < word.end) & (ends > word.start)
        return places

    def flops(self, share):
        o, model = self.options, self.config.model
        other, text = model.regions.count or flops.kept(model, o.modality), flops.tokens(model, "text")
        return {
            f"encode/{o.modality}": flops.encode(model, o.modality),
            "canvas": o.canvases * flops.encode(model, "text"),
            "fuse/canvas": o.canvases * flops.fuse(model, {o.modality: other, "text": text}),
            "mask_predict": o.canvases * min(o.written, o.units) * flops.decoder(model, o.max_unit_bytes + 1, 1, 1),
        }

    def loss(self, passes, rng):
        o, model = self.options, passes.model
        prompt = rearrange(passes.batch["canvas_prompt"], "b n l -> (b n) l")
        units = rearrange(passes.batch["canvas"], "b n s w -> (b n) s w")
        other = repeated(passes.fused_with_text(o.modality), o.canvases)
        # Of a picture none of whose objects are known there is nothing to read.
        present = jnp.any(other.valid, -1)
        masked, wholly = drawn_masks(rng, units[..., 0] != vocab.PAD, o.unknown, o.begun)
        single = rearrange(passes.batch["canvas_single"], "b n s -> (b n) s")
        by_itself = jnp.any(single, -1)
        masked = jnp.where(by_itself[:, None], single | (units[..., 0] == vocab.PAD), masked)
        parts = {"unknown": wholly & ~by_itself} | ({"single": by_itself} if o.single else {})
        text = composed(prompt, units, masked, prompt.shape[1], bytes_a_token(model.config))
        asked = masked & (units[..., 0] != vocab.PAD) & text.inside & present[:, None]
        order = jax.random.uniform(jax.random.fold_in(rng, 3), asked.shape) + ~asked
        at = jnp.argsort(order, -1)[:, : o.written]
        places = jnp.take_along_axis(at_places(model, o.modality, other, passes.text(text.ids), text), at[..., None], 1)
        nats, count = label_nats(model, places, jnp.take_along_axis(units, at[..., None], 1))
        asked = jnp.take_along_axis(asked, at, 1)
        nats, count = jnp.sum(nats * asked, -1), jnp.sum(count * asked, -1)
        return jnp.sum(nats / jnp.maximum(1, count)) / jnp.maximum(1, jnp.sum(present)), {
            "bits_per_byte": base.bits_per_byte(nats, count),
            **{f"{name}_bits_per_byte": base.bits_per_byte(nats * of, count * of) for name, of in parts.items()},
        }


def bytes_a_token(config: ModelConfig) -> int:
    """Bytes of a token of text.

    Raises:
      UserError: they are not always as many.
    """
    text = config.text
    if text.embedder not in ("bytes", "ngram"):
        raise UserError(
            "config.objectives.mask_predict needs tokens of a fixed number of bytes: set config.model.text.embedder to "
            "bytes or ngram"
        )
    return text.downsample if text.embedder == "ngram" else 1


def drawn_masks(
    rng: Array, written: Bool[Array, "B S"], unknown: float, begun: float
) -> tuple[Bool[Array, "B S"], Bool[Array, " B"]]:
    """Which words of captions are masked, all that is behind their end included, and which captions wholly.

    Args:
      rng: what is drawn.
      written: which places are of the caption and its end.
      unknown: see `Options`.
      begun: likewise.
    """
    kind, rate, drawn = (jax.random.fold_in(rng, i) for i in range(3))
    kinds, rates = jax.random.uniform(kind, (len(written), 1)), jax.random.uniform(rate, (len(written), 1))
    behind = jnp.cumsum(written[:, ::-1], -1)[:, ::-1] - 1  # words of the caption that come after
    share = behind / jnp.maximum(1, jnp.sum(written, -1, keepdims=True))
    order = jnp.where(kinds > 1 - begun, share, jax.random.uniform(drawn, written.shape))
    wholly = kinds < unknown
    return ~written | (order < rates) | wholly, wholly[:, 0]


class Canvas(NamedTuple):
    """Texts with masks.

    Attributes:
      ids: prompts, words and masks.
      token: of every word the token at which it is written.
      inside: which words have room in the text.
    """

    ids: Int[Array, "B L"]
    token: Int[Array, "B S"]
    inside: Bool[Array, "B S"]


def in_tokens(count: Any, bytes_a_token: int) -> Any:
    """Bytes that a word or a prompt takes, which fills its tokens; of a number or an array of them."""
    return -(-count // bytes_a_token) * bytes_a_token


def composed(
    prompt: Integer[Array, "B P"],
    units: Integer[Array, "B S W"],
    masked: Bool[Array, "B S"],
    length: int,
    bytes_a_token: int,
) -> Canvas:
    """Puts prompts and words one after the other, a mask of one token's length in the place of each masked word.

    Every word begins a token, behind padding, so that no token is of two words (docs/log.md).

    Args:
      prompt: ids, then PAD.
      units: the decoder's sequences sentinel, bytes, EOS of words. The end is an empty word, read as EOS.
      masked: words that are not shown.
      length: of the texts, L.
      bytes_a_token: of the model.
    """
    ids = units[..., 1:].astype(jnp.int32)
    count = jnp.sum((ids != vocab.PAD) & (ids != vocab.EOS), -1)
    read = jnp.maximum(1, count)
    shown = jnp.where(masked, bytes_a_token, in_tokens(read, bytes_a_token))
    prompted = in_tokens(jnp.sum(prompt != vocab.PAD, -1, keepdims=True), bytes_a_token)
    start = prompted + jnp.cumsum(shown, -1) - shown
    offset = jnp.arange(in_tokens(ids.shape[-1], bytes_a_token))
    ids = jnp.pad(ids, ((0, 0), (0, 0), (0, len(offset) - ids.shape[-1])))
    at = jnp.where(offset < shown[..., None], start[..., None] + offset, length)
    row = jnp.arange(len(ids))[:, None, None]
    text = jnp.pad(prompt.astype(jnp.int32), ((0, 0), (0, length)), constant_values=vocab.PAD)[:, :length]
    ids = jnp.where(offset < read[..., None], ids, vocab.PAD)
    text = text.at[row, at].set(jnp.where(masked[..., None], vocab.MASK, ids), mode="drop")
    last = start + shown - 1
    return Canvas(text, jnp.minimum(last, length - 1) // bytes_a_token, last < length)


def at_places(model: Any, modality: str, other: Tokens, text: Tokens, canvas: Canvas) -> Float[Array, "B S D"]:
    """The vectors at the words' places of texts that are read with what is fused of the other modality."""
    fused = model.fuse({modality: other, "text": text})["text"].vectors
    return jnp.take_along_axis(fused, canvas.token[..., None], 1)
