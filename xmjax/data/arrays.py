"""What the loader makes of a record: bytes of its picture and text, masked words, sequences for the decoder."""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8, UInt16

from xmjax import vocab
from xmjax.config import ImageConfig
from xmjax.data.source import Caption, Question, Record, Word
from xmjax.data.words import SPACE, clusters, pieces, words

T = TypeVar("T")


def text_ids(text: str, length: int) -> UInt16[np.ndarray, " L"]:
    """Bytes of a text as ids, cut between characters or padded to ``length``."""
    return vocab.padded(vocab.truncate(vocab.utf8(text), length), length)


def image_bytes(record: Record, options: ImageConfig) -> np.ndarray:
    """The picture as the model's embedder takes it: uint8 pixels [Y, X, 3], or ids of the file's bytes uint16 [L].

    A record without a file is written as a PPM, a header of a few bytes and the raw pixels.
    """
    assert record.image is not None
    if options.embedder != "file":
        return record.image
    data = record.file
    if data is None:
        height, width, _ = record.image.shape
        data = b"P6 %d %d 255\n" % (width, height) + record.image.tobytes()
    return vocab.padded(data, options.max_file_bytes)


def audio_bytes(record: Record) -> UInt8[np.ndarray, " N"]:
    """The sound as the model's embedder takes it: the bytes of its samples, little-endian 16-bit PCM."""
    assert record.audio is not None
    return np.ascontiguousarray(record.audio, "<i2").view(np.uint8)


def window(audio: np.ndarray, first: int, samples: int) -> np.ndarray:
    """Samples ``first`` to ``first + samples`` of int16 [T]; what lies outside is zero."""
    found = np.zeros(samples, np.int16)
    low, high = max(first, 0), min(first + samples, len(audio))
    if low < high:
        found[low - first : high - first] = audio[low:high]
    return found


BETWEEN = "\n"
"""Stands between two texts that are read as one."""

MARKING = 2
"""What `marked_ids` adds to a text, in tokens of a byte."""


def caption_words(caption: Caption) -> tuple[Word, ...]:
    """What may be masked in a caption: the words its source names, else those that whitespace and script tell."""
    return words(caption.text) if caption.words is None else caption.words


def by_character(caption: Caption) -> Caption:
    """The caption, of which every character of a word may be masked by itself."""
    characters = []
    for word in caption_words(caption):
        text = vocab.utf8(caption.text)[word.start : word.end].decode("utf-8", "surrogatepass")
        own = [(start, end) for start, end, kind in clusters(text) if kind != SPACE]
        characters += [Word(word.start + start, word.start + end, word.kind) for start, end in own]
    return dataclasses.replace(caption, words=tuple(characters))


def mask_words(
    caption: Caption,
    rng: np.random.Generator,
    spans: int,
    rate: float,
    max_span_bytes: int,
    length: int,
    among: Collection[Word] | None = None,
) -> tuple[UInt16[np.ndarray, " L"], UInt16[np.ndarray, "S W"]]:
    """Masks whole words drawn at random; how many is drawn too.

    With a fixed number the last word of a caption would never be the first masked, and a model that is asked for it
    alone would not know it (docs/log.md).

    Args:
      caption: what to mask.
      rng: randomness of the record.
      spans: largest number of words.
      rate: largest share of the words, rounded, at least one.
      max_span_bytes: longer words are not masked.
      length: of the masked text.
      among: words of the caption to choose from, which may be longer than those that it is cut into; None or none that
        can be masked are all.

    Returns:
      The masked text, and for every span the decoder's sequence sentinel, bytes, EOS, padded to max_span_bytes + 2.
    """
    data = vocab.truncate(vocab.utf8(caption.text), length)

    def fitting(words: Iterable[Word]) -> list[Word]:
        return [w for w in words if w.end <= len(data) and w.end - w.start <= max_span_bytes]

    usable = fitting(caption_words(caption))
    most = min(spans, max(1, round(rate * len(usable))), len(usable))
    count = int(rng.integers(most)) + 1 if most else 0
    usable = fitting(among or ()) or usable
    chosen = sorted(rng.permutation(len(usable))[:count].tolist())
    return fill_arrays(data, [usable[i] for i in chosen], spans, max_span_bytes, length)


def masked_ids(text: str, word: Word, length: int) -> UInt16[np.ndarray, " L"]:
    """A text with one word masked, cut and padded to ``length``; the word must end within it."""
    data = vocab.truncate(vocab.utf8(text), length)
    return fill_arrays(data, [word], 1, word.end - word.start, length)[0]


def marked_ids(text: str, word: Word, length: int) -> UInt16[np.ndarray, " L"]:
    """A text with a sentinel in the place of one word, and the word itself on a line behind it, padded to ``length``.

    The text is cut for it; the word must end `MARKING` before the length. What the sentinel is associated with is found
    by what stands around it, as in `masked_ids`.
    """
    data = vocab.utf8(text)
    before, own, after = data[: word.start], data[word.start : word.end], data[word.end :]
    after = vocab.truncate(after, length - word.end - MARKING)
    ids = np.full(length, vocab.PAD, np.uint16)
    ids[: word.end + len(after) + MARKING] = [*before, vocab.sentinel(0), *after, ord(BETWEEN), *own]
    return ids


def named_ids(text: str, word: Word, length: int) -> UInt16[np.ndarray, " L"]:
    """`marked_ids` where there is room for the word behind the text, else `masked_ids`."""
    return (marked_ids if word.end + MARKING <= length else masked_ids)(text, word, length)


def gloss_ids(gloss: str, max_bytes: int) -> UInt16[np.ndarray, " W"]:
    """The decoder's sequence SEP gloss EOS, cut between characters and padded to max_bytes + 2."""
    return written(vocab.SEP, gloss, max_bytes)


def written(start: int, text: str, max_bytes: int) -> UInt16[np.ndarray, " W"]:
    """The decoder's sequence start, text, EOS, cut between characters and padded to max_bytes + 2."""
    data = vocab.truncate(vocab.utf8(text), max_bytes)
    ids = np.full(max_bytes + 2, vocab.PAD, np.uint16)
    ids[: len(data) + 2] = [start, *data, vocab.EOS]
    return ids


def fill_arrays(
    data: bytes, chosen: list[Word], spans: int, max_span_bytes: int, length: int
) -> tuple[UInt16[np.ndarray, " L"], UInt16[np.ndarray, "S W"]]:
    """The masked text and the sequences of its masked words; see `mask_words`."""
    masked = np.full(length, vocab.PAD, np.uint16)
    sequences = np.full((spans, max_span_bytes + 2), vocab.PAD, np.uint16)
    ids = np.frombuffer(data, np.uint8)
    at, last = 0, 0
    for i, word in enumerate(chosen):
        n = word.start - last
        masked[at : at + n] = ids[last : word.start]
        masked[at + n] = vocab.sentinel(i)
        at, last = at + n + 1, word.end
        n = word.end - word.start
        sequences[i, 0] = vocab.sentinel(i)
        sequences[i, 1 : n + 1] = ids[word.start : word.end]
        sequences[i, n + 1] = vocab.EOS
    masked[at : at + len(ids) - last] = ids[last:]
    return masked, sequences


def prompt_of(caption: Caption) -> str:
    """What the decoder is told before it writes: language and style, as far as they are known."""
    return " ".join(part for part in (caption.language, caption.style) if part)


def prompt_ids(caption: Caption, max_prompt_bytes: int) -> UInt16[np.ndarray, " P"]:
    """What precedes a caption in the decoder's sequence: BOS prompt SEP, padded to max_prompt_bytes + 2."""
    prompt = vocab.truncate(vocab.utf8(prompt_of(caption)), max_prompt_bytes)
    ids = np.full(max_prompt_bytes + 2, vocab.PAD, np.uint16)
    ids[: len(prompt) + 2] = [vocab.BOS, *prompt, vocab.SEP]
    return ids


def prompted(caption: Caption, max_prompt_bytes: int, length: int) -> UInt16[np.ndarray, " L"]:
    """The decoder's sequence BOS prompt SEP caption EOS, padded to max_prompt_bytes + length + 3."""
    prompt = prompt_ids(caption, max_prompt_bytes)
    text = vocab.truncate(vocab.utf8(caption.text), length)
    ids = np.full(max_prompt_bytes + length + 3, vocab.PAD, np.uint16)
    ids[: len(prompt)] = prompt
    start = np.count_nonzero(prompt != vocab.PAD)
    ids[start : start + len(text) + 1] = [*text, vocab.EOS]
    return ids


def canvas(
    caption: Caption, units: int, max_unit_bytes: int, length: int
) -> tuple[UInt16[np.ndarray, " L"], UInt16[np.ndarray, "S W"]]:
    """A text as it is filled in: prompt and SEP, padded, and for each of its words a sequence of the decoder.

    The end is an empty word. Behind it there are rows of padding; what has more words has no end.

    Args:
      caption: the text.
      units: number of places, S.
      max_unit_bytes: longer words are cut between characters.
      length: the prompt's.
    """
    prompt = vocab.truncate(vocab.utf8(prompt_of(caption)), length - 2)
    ids = np.full(length, vocab.PAD, np.uint16)
    ids[: len(prompt) + 1] = [*prompt, vocab.SEP]
    sequences = np.full((units, max_unit_bytes + 2), vocab.PAD, np.uint16)
    for i, word in enumerate([*pieces(caption.text, max_unit_bytes), ""][:units]):
        sequences[i] = written(vocab.sentinel(0), word, max_unit_bytes)
    return ids, sequences


def asked(
    question: Question | None, max_answer_bytes: int, length: int
) -> tuple[UInt16[np.ndarray, " L"], UInt16[np.ndarray, " W"]]:
    """A question with a sentinel behind it, and the decoder's sequence sentinel, answer, EOS.

    Args:
      question: what is asked; None makes rows of padding, which nothing is learned from.
      max_answer_bytes: longer answers are cut between characters.
      length: of the question's row; a longer question is cut, the sentinel stays.
    """
    text = np.full(length, vocab.PAD, np.uint16)
    if question is None:
        return text, np.full(max_answer_bytes + 2, vocab.PAD, np.uint16)
    data = vocab.truncate(vocab.utf8(question.text), length - 2) + b" "
    text[: len(data) + 1] = [*data, vocab.sentinel(0)]
    return text, written(vocab.sentinel(0), question.answer, max_answer_bytes)


def draw(items: Sequence[T], count: int, rng: np.random.Generator) -> tuple[T, ...]:
    """``count`` captions or questions of a record, different ones as long as there are enough; none of none."""
    if not items or len(items) == count:
        return tuple(items)
    order = rng.permutation(len(items)).tolist()
    return tuple(items[order[i % len(order)]] for i in range(count))
