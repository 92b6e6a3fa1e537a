"""The maskable words of text in any language."""

import functools
import itertools
import re
import unicodedata
from collections.abc import Iterator

from xmjax import vocab
from xmjax.data.source import Word

# Scripts written without spaces: code point ranges, and the most characters that one unit may have, which is near
# the length of a word in them. They are cut by length alone, because segmenting them takes a dictionary.
_UNSPACED = {
    "han": (2, (0x3005, 0x3007), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFD)),
    "hiragana": (2, (0x3041, 0x309F)),
    "katakana": (4, (0x30A0, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),
    "thai": (4, (0x0E01, 0x0E5B)),
    "lao": (4, (0x0E81, 0x0EDF)),
    "burmese": (3, (0x1000, 0x109F), (0xAA60, 0xAA7F)),
    "khmer": (3, (0x1780, 0x17FF)),
}
SPACE, _MARK, _PUNCTUATION, _LETTER = "space", "mark", "punctuation", "letter"

# Zero-width joiner, and the signs that stack the next Khmer or Burmese consonant under this one.
_JOINERS = "\u200d\u17d2\u1039"

# Characters that extend the one before them although their category is not a mark: zero-width (non-)joiners, the
# vowels Thai and Lao AM, halfwidth voicing marks. Skin tones and tags, for emoji, are ranges.
_EXTENDERS = "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"

_ASCII_WORD = re.compile(r"[A-Za-z0-9](?:\S*[A-Za-z0-9])?")


@functools.lru_cache(maxsize=1 << 16)
def words(text: str) -> tuple[Word, ...]:
    """Finds the units of a text that can be masked whole.

    Units are divided by white space (and zero-width spaces) and stripped of punctuation and symbols at their ends;
    those inside, as in "don't", stay. Runs of Han, Kana, Thai, Lao, Khmer and Burmese, which have no spaces, are
    cut evenly into units of at most two to four characters. No unit begins or ends inside a character as readers
    see it: marks, joined emoji and variation selectors stay with what they belong to.

    Args:
      text: any text.

    Returns:
      The units in order, without overlap, by byte offsets into the text's UTF-8. Empty where nothing is a word.
    """
    if text.isascii():
        return tuple(Word(match.start(), match.end()) for match in _ASCII_WORD.finditer(text))
    found = []
    for kind, run in _runs(text):
        if kind == _LETTER:
            while run and run[0][2] == _PUNCTUATION:
                run = run[1:]
            while run and run[-1][2] == _PUNCTUATION:
                run = run[:-1]
            pieces = [run] if run else []
        else:
            pieces = _cut(run, _UNSPACED[kind][0])
        found.extend(Word(piece[0][0], piece[-1][1]) for piece in pieces)
    return tuple(found)


def pieces(text: str, max_bytes: int) -> list[str]:
    """A text cut behind each of its words, so that every piece begins with what stands between it and the one before.

    Args:
      text: any text.
      max_bytes: longer pieces are cut between characters.

    Returns:
      Pieces that joined are the text, none of them empty.
    """
    data, found, start = vocab.utf8(text), [], 0
    for end in (*(word.end for word in words(text)[:-1]), len(data)):
        while start < end:
            piece = vocab.truncate(data[start:end], max_bytes)
            found.append(piece.decode("utf-8", "surrogatepass"))
            start += len(piece)
    return found


Cluster = tuple[int, int, str]
"""First byte, one past the last byte, kind."""


def _runs(text: str) -> Iterator[tuple[str, list[Cluster]]]:
    """Neighbouring clusters of one kind; punctuation counts as letters, spaces are left out."""
    run: list[Cluster] = []
    kind = SPACE
    for cluster in clusters(text):
        this = _LETTER if cluster[2] == _PUNCTUATION else cluster[2]
        if this != kind and run:
            yield kind, run
            run = []
        kind = this
        if kind != SPACE:
            run.append(cluster)
    if run:
        yield kind, run


def clusters(text: str) -> Iterator[Cluster]:
    """Characters as readers see them, a base with all that belongs to it; the kind is the base's."""
    start = end = 0
    kind, previous, flags = "", "", 0
    for char in text:
        this = _kind(char)
        flag = "\U0001f1e6" <= char <= "\U0001f1ff"
        joined = previous and (this == _MARK or previous in _JOINERS or (flag and flags == 1))
        if not joined or this == SPACE:
            if previous:
                yield start, end, kind
            start, kind, flags = end, _LETTER if this == _MARK else this, 0
        flags += flag
        end += _utf8_length(char)
        previous = char
    if previous:
        yield start, end, kind


def _cut(run: list[Cluster], limit: int) -> list[list[Cluster]]:
    pieces = -(-len(run) // limit)
    edges = [len(run) * i // pieces for i in range(pieces + 1)]
    return [run[start:end] for start, end in itertools.pairwise(edges)]


@functools.lru_cache(maxsize=1 << 14)
def _kind(char: str) -> str:
    if char.isspace() or char == "\u200b":
        return SPACE
    category = unicodedata.category(char)
    if category[0] == "M" or char in _EXTENDERS or "\U0001f3fb" <= char <= "\U0001f3ff":
        return _MARK
    if "\U000e0020" <= char <= "\U000e007f":
        return _MARK
    if category[0] in "PS":
        return _PUNCTUATION
    code = ord(char)
    for script, (_, *ranges) in _UNSPACED.items():
        if any(first <= code <= last for first, last in ranges):
            return script
    return _LETTER


def _utf8_length(char: str) -> int:
    return 1 if char < "\x80" else 2 if char < "\u0800" else 3 if char < "\U00010000" else 4
