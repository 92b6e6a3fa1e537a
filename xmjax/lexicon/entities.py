"""Entities: the words of a caption that a dictionary has, found without a tagger."""

from xmjax import vocab
from xmjax.data.arrays import caption_words
from xmjax.data.source import Caption, Word
from xmjax.lexicon.senses import SHORTEST, UNSPACED, Dictionary

LONGEST = 8
"""Most characters of a word in a script without spaces."""


def entities(caption: Caption, dictionary: Dictionary) -> tuple[Word, ...]:
    """The words that the dictionary lists, whole and with their articles and particles, in order.

    In scripts without spaces they are the longest listed words, from left to right. English words of one or two letters
    are left out: a dictionary lists most of them, as units of length and names of elements.

    Source: US 12,393,789, claim 5: the target to mask is a main entity.
    """
    data = vocab.utf8(caption.text)
    found: list[Word] = []
    unspaced: list[Word] = []
    for word in caption_words(caption):
        text = data[word.start : word.end].decode("utf-8", "surrogatepass")
        if caption.words is None and UNSPACED.search(text):
            if unspaced and unspaced[-1].end == word.start:
                unspaced[-1] = Word(unspaced[-1].start, word.end)
            else:
                unspaced.append(word)
        elif not (text.isascii() and len(text) < SHORTEST) and dictionary.lookup(text, caption.language):
            found.append(word)
    for run in unspaced:
        found += _longest(data[run.start : run.end].decode(), run.start, dictionary, caption.language)
    return tuple(sorted(found, key=lambda word: word.start))


def _longest(text: str, start: int, dictionary: Dictionary, language: str) -> list[Word]:
    """Listed words of a text without spaces, the longest first at each place, by bytes from ``start`` on."""
    found, at = [], 0
    while at < len(text):
        ends = range(min(at + LONGEST, len(text)), at, -1)
        end = next((end for end in ends if dictionary.lookup(text[at:end], language)), None)
        if end is not None:
            first = start + len(text[:at].encode())
            found.append(Word(first, first + len(text[at:end].encode())))
        at = end or at + 1
    return found
