"""Captions that are filled in from an unknown text: in rounds and by a search, and chosen by how good they are."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import Array
from jaxtyping import Bool, Float, Int

from xmjax import vocab
from xmjax.config import Config
from xmjax.evaluation.match import encoded_image, matched
from xmjax.evaluation.retrieval import vectors
from xmjax.models.embedders import Tokens
from xmjax.models.generate import Written, beam
from xmjax.models.passes import repeated
from xmjax.objectives.mask_predict import at_places, bytes_a_token, composed, in_tokens
from xmjax.objectives.regions import label_nats

BEAMS = 4
"""Captions that are kept while searching by beam."""


class Filling(NamedTuple):
    """How a run that has trained `mask_predict` fills in.

    Attributes:
      units: places of a text.
      max_unit_bytes: longest word.
      matches: whether the run tells whether texts match what they are written of.
    """

    units: int
    max_unit_bytes: int
    matches: bool = False

    @classmethod
    def of(cls, config: Config) -> "Filling":
        """What a config says of it."""
        options, match = config.objectives["mask_predict"], config.objectives.get("match")
        return cls(options.units, options.max_unit_bytes, match is not None and match.modality == options.modality)


class Filled(NamedTuple):
    """Captions [B, L] of pictures, EOS and PAD behind them, by how they are written.

    Attributes:
      exact: the best of all that were written (`judged`).
      certain_first: in rounds, in which what is certain is kept first.
      from_the_left: in rounds, in which what comes first is kept first.
      by_beam: the likeliest that a beam search from the left finds.
    """

    exact: Int[Array, "B L"]
    certain_first: Int[Array, "B L"]
    from_the_left: Int[Array, "B L"]
    by_beam: Int[Array, "B L"]


def filled_in(model: Any, image: Array, boxes: Array, prompt: Array, how: Filling, width: int = BEAMS) -> Filled:
    """Captions of pictures, filled in from unknown texts.

    Args:
      model: a `Crossmodal` bound to its parameters.
      image: pictures.
      boxes: of their objects.
      prompt: language and style, SEP and PAD [B, L].
      how: see `Filling`.
      width: captions that the search keeps.
    """
    set_up(model)
    other, size = encoded_image(model, image, boxes), {"units": how.units, "max_unit_bytes": how.max_unit_bytes}

    def copies(count: int) -> tuple[Tokens, Int[Array, "BN L"]]:
        return repeated(other, count), jnp.repeat(prompt, count, 0)

    left = jnp.tile(jnp.array([False, True]), len(prompt))
    in_two = rearrange(in_rounds(model, *copies(2), left, **size), "(b n) s w -> b n s w", n=2)
    beams, found = beam_search(model, *copies(width), **size, width=width)
    words = jnp.concatenate([in_two, beams], 1)
    texts, score = judged(model, image, other, prompt, words, how.matches)
    score = jnp.where(jnp.pad(found, ((0, 0), (2, 0))) > -jnp.inf, score, -jnp.inf)
    best = jnp.take_along_axis(texts, jnp.argmax(score, 1)[:, None, None], 1)[:, 0]
    return Filled(best, texts[:, 0], texts[:, 1], texts[:, 2])


def judged(
    model: Any, image: Array, other: Tokens, prompt: Int[Array, "B L"], words: Int[Array, "B N S W"], matches: bool
) -> tuple[Int[Array, "B N L"], Float[Array, "B N"]]:
    """Texts of words, N of each picture, and how good they are.

    That is their `agreement`, and the log-probability that they match the picture where the model tells it: of the one
    or the other alone fewer are right (docs/log.md).

    Args:
      model: a `Crossmodal` bound to its parameters.
      image: pictures.
      other: what is fused of them.
      prompt: of each picture.
      words: as `in_rounds` returns them.
      matches: whether the model tells matches.
    """
    count, each = words.shape[1], bytes_a_token(model.config)
    other, prompts = repeated(other, count), jnp.repeat(prompt, count, 0)
    words = cut(prompts, rearrange(words, "b n s w -> (b n) s w"), each)
    score, texts = agreement(model, other, prompts, words), spelled(words, prompt.shape[1])
    if matches:
        read = jnp.where(texts == vocab.EOS, vocab.PAD, texts)
        seen = jnp.repeat(vectors(model, image, "image"), count, 0)
        told = matched(model, (other, seen), (model.encode("text", read), vectors(model, read, "text")))
        score += jax.nn.log_sigmoid(told)
    return rearrange(texts, "(b n) l -> b n l", n=count), rearrange(score, "(b n) -> b n", n=count)


def set_up(model: Any) -> None:
    """Makes what a decoder keeps outside of loops: made inside of one, it could not be read in the next."""
    _ = model.decoder.positions


def agreement(model: Any, other: Tokens, prompt: Int[Array, "B L"], words: Int[Array, "B S W"]) -> Float[Array, " B"]:
    """Sums of the log-probabilities of texts' words, each given all others (Salazar et al. 2020).

    In whatever order a text is written, a word may be likely as long as others are unknown and then not go with what is
    written there. That shows here, where each word is masked in turn, the end too.

    Args:
      model: a `Crossmodal` bound to its parameters.
      other: what is fused of the pictures.
      prompt: language and style.
      words: what `cut` returned.
    """
    places, each = jnp.arange(words.shape[1]), bytes_a_token(model.config)
    behind = words[..., 0] == vocab.PAD

    def one(k: Array) -> Array:
        text = composed(prompt, words, behind | (places == k), prompt.shape[1], each)
        vectors = at_places(model, "image", other, model.encode("text", text.ids), text)
        vector, word = (jax.lax.dynamic_slice_in_dim(x, k, 1, 1) for x in (vectors, words))
        nats, _ = label_nats(model, vector, word)
        return jnp.where(text.inside[:, k] & ~behind[:, k], -nats[:, 0], 0.0)

    return jnp.sum(jax.lax.map(one, places), 0)


def in_rounds(
    model: Any,
    other: Tokens,
    prompt: Int[Array, "B L"],
    left: Bool[Array, " B"],
    *,
    units: int,
    max_unit_bytes: int,
) -> Int[Array, "B S W"]:
    """Words of captions, the decoder's sequences sentinel, bytes, EOS; behind the first empty one they mean nothing.

    There are as many rounds as places. In every one the words that were least certain when they were written are masked
    and written again, all at once, fewer each time (Ghazvininejad et al. 2019). The text ends at the first empty word
    of the round, so that its length may still change, or where there is no more room, between two words.

    Args:
      model: a `Crossmodal` bound to its parameters.
      other: what is fused of the pictures.
      prompt: language and style, SEP and PAD.
      left: texts of which what stands last is masked in every round, in the place of what was least certain.
      units: places of a text.
      max_unit_bytes: longest word.
    """
    rows, length = prompt.shape
    place, each = jnp.arange(units), bytes_a_token(model.config)
    start = jnp.full((rows * units, 1), vocab.sentinel(0), jnp.int32)

    def one(done: Array, carried: tuple[Array, Array]) -> tuple[Array, Array]:
        words, certain = carried
        inside = place <= end_of(words)
        count = jnp.sum(inside, -1, keepdims=True) * (units - done) // units
        sooner = jnp.where(left[:, None], -place.astype(jnp.float32), certain)
        rank = jnp.argsort(jnp.argsort(jnp.where(inside, sooner, jnp.inf), -1), -1)
        again = ~inside | (rank < jnp.maximum(count, 1))
        text = composed(prompt, words, again, length, each)
        vectors = at_places(model, "image", other, model.encode("text", text.ids), text)
        memory = rearrange(vectors, "b s d -> (b s) 1 d")
        found, sure = beam(model, memory, jnp.ones(memory.shape[:2], bool), start, max_unit_bytes, width=1)
        found, sure = (rearrange(x[:, 0], "(b s) ... -> b s ...", b=rows) for x in (found, sure))
        found = jnp.concatenate([jnp.full((rows, units, 1), vocab.sentinel(0)), found], -1)
        found = jnp.where(text.inside[..., None], found, empty_word(max_unit_bytes))
        sure = jnp.where(text.inside, sure, -jnp.inf)
        return jnp.where(again[..., None], found, words), jnp.where(again, sure, certain)

    nothing = jnp.full((rows, units, max_unit_bytes + 2), vocab.PAD, jnp.int32)
    return jax.lax.fori_loop(0, units, one, (nothing, jnp.full((rows, units), -jnp.inf)))[0]


def searched(model: Any, image: Array, boxes: Array, prompt: Array, how: Filling, width: int = BEAMS) -> Written:
    """Captions of pictures that a beam search finds, the best first (`judged`); arguments as of `filled_in`.

    Args:
      width: captions that are kept while searching, K.

    Returns:
      Texts [B, K, L], EOS and PAD behind them, and how good they are [B, K], -inf of what could not be found.
    """
    set_up(model)
    other = encoded_image(model, image, boxes)
    many, prompts = repeated(other, width), jnp.repeat(prompt, width, 0)
    size = {"units": how.units, "max_unit_bytes": how.max_unit_bytes}
    words, found = beam_search(model, many, prompts, **size, width=width)
    texts, score = judged(model, image, other, prompt, words, how.matches)
    equal = jnp.all(texts[:, :, None] == texts[:, None], -1)  # one text may be cut into words in several ways
    again = jnp.any(equal & (jnp.arange(width)[:, None] > jnp.arange(width)), -1)
    score, order = jax.lax.top_k(jnp.where((found > -jnp.inf) & ~again, score, -jnp.inf), width)
    return Written(jnp.take_along_axis(texts, order[..., None], 1), score)


def beam_search(
    model: Any, other: Tokens, prompts: Int[Array, "BK L"], *, units: int, max_unit_bytes: int, width: int
) -> tuple[Int[Array, "B K S W"], Float[Array, "B K"]]:
    """Words of captions by a beam search from the left, likeliest first, and log-probabilities, -inf of none.

    Each word is written with all behind it masked, so that the product of their probabilities is that of the caption. A
    word that has no room is not written, and ends the text at its price.

    Args:
      other: what is fused of the pictures, each K times.
      prompts: likewise.
      width: captions that are kept, and words that each of them is tried with, K.
    """
    rows, length = len(prompts) // width, prompts.shape[1]
    each = bytes_a_token(model.config)
    start = jnp.full((rows * width, 1), vocab.sentinel(0), jnp.int32)
    first = jnp.where(jnp.arange(width) == 0, 0.0, -jnp.inf)
    empty = empty_word(max_unit_bytes)

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
        # Of what ends the text, the empty word and all those without room, the likeliest alone is tried.
        ends = ~fits | (found[..., 1] == vocab.EOS)
        sure = jnp.where(ends & (jnp.cumsum(ends, -1) > 1), -jnp.inf, sure)
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
    return words, score


def empty_word(max_unit_bytes: int) -> Int[Array, " W"]:
    """The word that ends a text: sentinel, EOS, PAD."""
    return jnp.where(jnp.arange(max_unit_bytes + 2) == 1, vocab.EOS, vocab.PAD).at[0].set(vocab.sentinel(0))


def end_of(words: Int[Array, "B S W"]) -> Int[Array, "B 1"]:
    """Index of the first empty word, or of the last word where none is."""
    ends = words[..., 1] == vocab.EOS
    return jnp.where(jnp.any(ends, -1), jnp.argmax(ends, -1), words.shape[1] - 1)[:, None]


def cut(prompt: Int[Array, "B L"], words: Int[Array, "B S W"], bytes_a_token: int) -> Int[Array, "B S W"]:
    """Words up to the first empty one, or to an empty one where there is no more room; PAD behind it."""
    place, nothing = jnp.arange(words.shape[1]), jnp.zeros(words.shape[:2], bool)
    text = composed(prompt, words, nothing, prompt.shape[1], bytes_a_token)
    end = jnp.minimum(end_of(words), jnp.sum(jnp.cumprod(text.inside, -1), -1, keepdims=True))
    words = jnp.where(((place == end) & ~text.inside)[..., None], empty_word(words.shape[2] - 2), words)
    return jnp.where((place <= end)[..., None], words, vocab.PAD)


def spelled(words: Int[Array, "B S W"], length: int) -> Int[Array, "B L"]:
    """Words that were `cut` as one text; EOS, then PAD."""
    known, unprompted = jnp.zeros(words.shape[:2], bool), jnp.full((len(words), 1), vocab.PAD, jnp.int32)
    return composed(unprompted, words, known, length, 1).ids
