"""Third captions: another caption of the same picture, joined to the first with the related words of both masked."""

from collections.abc import Sequence

import numpy as np

from xmjax.data.arrays import BETWEEN, caption_words
from xmjax.data.source import Caption, Word
from xmjax.lexicon.entities import entities
from xmjax.lexicon.senses import Dictionary


def related(dictionary: Dictionary, a: tuple[str, str], b: tuple[str, str]) -> bool:
    """Whether two words, each with its language, can mean the same: some sense of each has a name in common."""

    def names(word: str, language: str) -> set[str]:
        return {name for sense in dictionary.lookup(word, language) for name in (sense.word, *sense.synonyms)}

    return bool(names(*a) & names(*b))


def join(
    first: Caption, others: Sequence[Caption], dictionary: Dictionary, rng: np.random.Generator, max_bytes: int
) -> tuple[Caption, tuple[Word, ...]] | None:
    """Joins a third caption to the first and says what is masked: an entity of the first and all that is related to it.

    Source: US 12,393,789, claims 5 and 12. Nothing that is left in the text names the entity, in either language.

    Args:
      first: the caption whose entity is masked.
      others: further captions of the picture, and captions of similar ones, of which one is drawn among those that fit.
        A caption of another picture must name the entity too.
      dictionary: what entities are, and what is related.
      rng: randomness of the record.
      max_bytes: most bytes of the joined text.

    Returns:
      The joined caption, whose origin is the third's, and its masked words in order; None where the first has no
      entity or no other caption fits.
    """
    start = len(first.text.encode()) + len(BETWEEN)
    found = entities(first, dictionary)
    if not found:
        return None
    word = found[int(rng.integers(len(found)))]
    asked = _surface(first, word), first.language

    def same(caption: Caption) -> list[Word]:
        """The caption's words for what is asked."""
        named = entities(caption, dictionary)
        return [w for w in named if related(dictionary, asked, (_surface(caption, w), caption.language))]

    fitting = [other for other in others if start + len(other.text.encode()) <= max_bytes]
    fitting = [other for other in fitting if not other.origin or same(other)]
    if not fitting:
        return None
    third = fitting[int(rng.integers(len(fitting)))]
    own = same(first)
    masked = [w for w in found if w == word or w in own]
    masked += [Word(w.start + start, w.end + start, w.kind) for w in same(third)]
    moved = tuple(Word(w.start + start, w.end + start, w.kind) for w in caption_words(third))
    text, words = f"{first.text}{BETWEEN}{third.text}", (*caption_words(first), *moved)
    return Caption(text, first.language, first.style, words, origin=third.origin), tuple(masked)


def _surface(caption: Caption, word: Word) -> str:
    return caption.text.encode()[word.start : word.end].decode()
