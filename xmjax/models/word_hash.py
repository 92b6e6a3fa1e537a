"""From the bytes of a text to its words, each known by a hash, on the device and on the host alike.

A word is a run of ASCII letters, digits and bytes from 128 on; capital ASCII letters count as small ones. Words that
say little of a picture (`STOPWORDS`) are left out.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, UInt32

BASE = 2654435761
"""Odd, so that it has an inverse modulo 2^32."""

_CLOSED_CLASSES = """
    a an the this that these those such
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself it its itself they them their theirs themselves
    who whom whose which what when where why how
    and or but nor so if because as while until than then though although unless whether
    of at by for with without about against between among into onto through during before after above below over under
    to from up down in out on off again further upon within along across toward towards
    am is are was were be been being have has had having do does did doing done can could will would shall should may
    might must
    not no nor only own same too very just also each every either neither both all any some few more most other another
    here there now ever never once still yet
    s t d m ll re ve don didn doesn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn ain
"""

STOPWORDS = frozenset(_CLOSED_CLASSES.split())
"""English words of a closed class: articles, pronouns, prepositions, conjunctions, auxiliaries, and what an apostrophe
leaves of them."""


class Words(NamedTuple):
    """The words that are kept of texts.

    Attributes:
      hashes: of their bytes; of no meaning where there is no word.
      spans: first byte and one past the last; where there is no word both are the length of the text.
      valid: whether there is a word.
    """

    hashes: UInt32[Array, "B W"]
    spans: Float[Array, "B W 2"]
    valid: Bool[Array, "B W"]


def is_letter(text: Int[Array, "B L"]) -> Bool[Array, "B L"]:
    """Whether an id is a byte that words are made of; specials and sentinels are not."""
    small, digit = (text >= ord("a")) & (text <= ord("z")), (text >= ord("0")) & (text <= ord("9"))
    return small | digit | ((text >= 128) & (text < 256))


def lower(text: Int[Array, "B L"]) -> Int[Array, "B L"]:
    """Capital ASCII letters as small ones."""
    return jnp.where((text >= ord("A")) & (text <= ord("Z")), text + 32, text)


def kept_words(text: Integer[Array, "B L"], count: int) -> Words:
    """The first ``count`` words of each text that are no stop words. All shapes are static."""
    length = text.shape[1]
    text = lower(text.astype(jnp.int32))
    inside = is_letter(text)
    edge = jnp.zeros_like(inside[:, :1])
    first = inside & ~jnp.concatenate([edge, inside[:, :-1]], 1)
    last = inside & ~jnp.concatenate([inside[:, 1:], edge], 1)
    start = jax.lax.cummax(jnp.where(first, jnp.arange(length), 0), axis=1)
    hashes = run_hashes(text, start, jnp.broadcast_to(jnp.arange(1, length + 1), text.shape))
    keep = last & ~jnp.any(hashes[..., None] == _stop_hashes(), -1)
    rank = jnp.cumsum(keep, 1) - 1
    chosen = keep[:, None, :] & (rank[:, None, :] == jnp.arange(count)[:, None])
    at, valid = jnp.argmax(chosen, -1), jnp.any(chosen, -1)
    spans = jnp.stack([jnp.take_along_axis(start, at, 1), at + 1], -1)
    spans = jnp.where(valid[..., None], spans, length).astype(jnp.float32)
    return Words(jnp.take_along_axis(hashes, at, 1), spans, valid)


def run_hashes(text: Int[Array, "B L"], start: Int[Array, "B R"], end: Int[Array, "B R"]) -> UInt32[Array, "B R"]:
    """`hash_word` of the ids of texts from ``start`` to before ``end``."""
    # The hash is a polynomial, so that a run's is a difference of two sums over the text, moved to the run's start.
    power, inverse = (jnp.asarray(_powers(base, text.shape[1])) for base in (BASE, pow(BASE, -1, 2**32)))
    sums = jnp.cumsum((text + 1).astype(jnp.uint32) * power, 1, dtype=jnp.uint32)
    sums = jnp.pad(sums, ((0, 0), (1, 0)))
    return mixed((jnp.take_along_axis(sums, end, 1) - jnp.take_along_axis(sums, start, 1)) * inverse[start])


def mixed(x: UInt32[Array, "*B"]) -> UInt32[Array, "*B"]:
    """All bits of the result depend on all bits of ``x``: the last steps of MurmurHash3 (Appleby 2011)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)


def hash_word(word: bytes) -> int:
    """The hash that `kept_words` gives a word, on the host; ``word`` is in small letters."""
    x = 0
    for byte in reversed(word):
        x = (x * BASE + byte + 1) & 0xFFFFFFFF
    x = (x ^ (x >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return x ^ (x >> 16)


def one_word(text: str) -> bytes:
    """The bytes of a text in small letters where it is one word as `kept_words` finds them, else none."""
    data = bytes(b + 32 if ord("A") <= b <= ord("Z") else b for b in text.encode())
    return data if all(b >= 128 or chr(b).isalnum() for b in data) else b""


def _powers(base: int, length: int) -> UInt32[np.ndarray, " L"]:
    return np.array([pow(base, i, 2**32) for i in range(length)], np.uint32)


@functools.cache
def _stop_hashes() -> UInt32[np.ndarray, " S"]:
    return np.array(sorted(hash_word(word.encode()) for word in STOPWORDS), np.uint32)
