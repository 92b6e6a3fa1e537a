"""The caption grammar: what can be said of a scene, and what is true of it.

A caption carries its meaning, so truth is decided on the meaning and never by reading text. The meaning holds words,
not kinds: "a red bat" is true of a scene with a red animal and of one with a red club.

Words that can be masked are units that take with them whatever would give them away: the English article goes with
the first word of its noun phrase, the Korean particle with its noun.
"""

import dataclasses
import functools
from collections.abc import Iterator

from xmjax.data.playroom.lexicon import COLORS, NAMES, RELATIONS, SIZES
from xmjax.data.playroom.world import Scene, Toy, places, relations
from xmjax.data.source import Caption, Region, Word

STYLES = ("pair", "list", "size", "one", "place")
"""The wordings a playroom draws from unless told otherwise."""

ALL_STYLES = (*STYLES, "plain", "bare")
"""Every wording: "plain" names two toys and "bare" one, without colour, the hardest for homographs."""

KINDS_OF_WORDS = ("kind", "color", "size", "relation", "place")
"""What a marked word can be (`data.source.Word`)."""

MAX_BYTES = 64
"""No caption is longer than this in UTF-8."""


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """A noun phrase.

    Attributes:
      word: the name of the toy in the caption's language.
      color: one of ``world.COLORS``, None where not said.
      size: one of ``world.SIZES``, None where not said.
    """

    word: str
    color: str | None = None
    size: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """What a caption says: there are different toys that fit the phrases and stand in the relation.

    Attributes:
      phrases: one or two noun phrases, in order.
      relation: of the first to the second, one of ``world.RELATIONS``; with one phrase, to the picture's middle, one of
        ``world.PLACES``; None where none is said.
      alone: whether it says that there is no other toy.
    """

    phrases: tuple[Phrase, ...]
    relation: str | None = None
    alone: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class PlayCaption(Caption):
    """A caption of the playroom.

    Attributes:
      meaning: what it says.
    """

    meaning: Meaning = Meaning(())


# For each language and style: pieces in order. A number is a phrase, with the particle that follows its noun (without
# and with a final consonant); "relation" is the relation word; anything else is text.
_Piece = str | tuple[int, str, str]
_TEMPLATES: dict[tuple[str, str], tuple[_Piece, ...]] = {
    ("en", "pair"): ((0, "", ""), " ", "relation", " ", (1, "", "")),
    ("en", "size"): ((0, "", ""), " ", "relation", " ", (1, "", "")),
    ("en", "list"): ((0, "", ""), " and ", (1, "", "")),
    ("en", "plain"): ((0, "", ""), " and ", (1, "", "")),
    ("en", "one"): ("there is ", (0, "", "")),
    ("en", "bare"): ("there is ", (0, "", "")),
    ("en", "place"): ((0, "", ""), " ", "relation", " the middle"),
    ("en", "alone"): ("only ", (0, "", "")),
    # The noun before the relation takes no particle, not even before "들고" (holding), where spoken Korean drops it:
    # an object particle would give the relation away.
    ("ko", "pair"): ((0, "가", "이"), " ", (1, "", ""), " ", "relation", " 있다"),
    ("ko", "size"): ((0, "는", "은"), " ", (1, "", ""), " ", "relation"),
    ("ko", "list"): ((0, "와", "과"), " ", (1, "가", "이"), " 있다"),
    ("ko", "plain"): ((0, "와", "과"), " ", (1, "를", "을"), " 본다"),
    ("ko", "one"): ((0, "가", "이"), " 있다"),
    ("ko", "bare"): ((0, "가", "이"), " 있다"),
    ("ko", "place"): ((0, "가", "이"), " 가운데 ", "relation", " 있다"),
    ("ko", "alone"): ((0, "만", "만"), " 있다"),
}
_WITH_COLOR = {"pair", "list", "size", "one", "place"}
_WITH_SIZE = {"size", "one"}
_RELATED = {"pair", "size"}
_SINGLE = {"one", "bare"}


def compose(meaning: Meaning, language: str, style: str) -> PlayCaption:
    """Puts a meaning into words.

    Args:
      meaning: phrases that hold what the style says: colours but for "plain" and "bare", sizes for "size" and "one".
      language: "en" or "ko".
      style: one of ``ALL_STYLES``.
    """
    text = ""
    offset = 0
    words: list[Word] = []
    for piece in _TEMPLATES[language, "alone" if meaning.alone else style]:
        if piece == "relation":
            assert meaning.relation is not None
            kind = "relation" if len(meaning.phrases) == 2 else "place"
            added, length, units = _relation_unit(meaning.relation, language, kind)
        elif isinstance(piece, str):
            text += piece
            offset += len(piece) if piece.isascii() else len(piece.encode())
            continue
        else:
            added, length, units = _phrase_units(meaning.phrases[piece[0]], piece[1], piece[2], language)
        text += added
        for start, end, kind in units:
            words.append(Word(offset + start, offset + end, kind))
        offset += length
    return PlayCaption(text, language, style, tuple(words), meaning=meaning)


_Units = tuple[str, int, tuple[tuple[int, int, str], ...]]


@functools.cache
def _relation_unit(relation: str, language: str, kind: str) -> _Units:
    text = RELATIONS[language][relation]
    length = len(text.encode())
    return text, length, ((0, length, kind),)


@functools.cache
def _phrase_units(phrase: Phrase, after_vowel: str, after_consonant: str, language: str) -> _Units:
    """A phrase's text, its length in bytes, and its units as (start, end, class) in bytes."""
    parts = []
    if phrase.size is not None:
        parts.append(("size", SIZES[language][phrase.size]))
    if phrase.color is not None:
        parts.append(("color", COLORS[language][phrase.color]))
    noun = phrase.word
    if language == "ko":
        noun += after_consonant if (ord(noun[-1]) - 0xAC00) % 28 else after_vowel
    parts.append(("kind", noun))
    if language == "en":
        article = "an " if parts[0][1][0] in "aeiou" else "a "
        parts[0] = (parts[0][0], article + parts[0][1])
    units = []
    offset = 0
    for kind, part in parts:
        length = len(part.encode())
        units.append((offset, offset + length, kind))
        offset += length + 1
    return " ".join(part for _, part in parts), offset - 1, tuple(units)


@functools.cache
def _phrase(kind: str, color: str, size: str, language: str, style: str) -> Phrase:
    return Phrase(NAMES[language][kind], color if style in _WITH_COLOR else None, size if style in _WITH_SIZE else None)


def _about(toy: Toy, language: str, style: str) -> Phrase:
    return _phrase(toy.kind, toy.color, toy.size, language, style)


def captions(scene: Scene, language: str, style: str) -> list[PlayCaption]:
    """All true captions of a scene in a language and style, each once, in a fixed order.

    They define an exact match. A scene with a single toy has none but in the styles "one", "bare" and "place".
    """
    toys = scene.toys
    meanings: list[Meaning] = []
    if style in _SINGLE:
        meanings = [Meaning((_about(toy, language, style),)) for toy in toys]
        if len(toys) == 1:
            meanings.append(Meaning(meanings[0].phrases, alone=True))
    elif style == "place":
        meanings = [Meaning((_about(toys[i], language, style),), relation) for i, relation in places(scene)]
    elif style in _RELATED:
        for i, relation, j in relations(scene):
            meanings.append(Meaning((_about(toys[i], language, style), _about(toys[j], language, style)), relation))
    else:
        for i in range(len(toys)):
            for j in range(len(toys)):
                if i != j:
                    meanings.append(Meaning((_about(toys[i], language, style), _about(toys[j], language, style))))
    return [compose(meaning, language, style) for meaning in dict.fromkeys(meanings)]


def named(scene: Scene, toy: int, language: str) -> PlayCaption:
    """The caption that says of one toy its size, colour and kind."""
    return compose(Meaning((_about(scene.toys[toy], language, "one"),)), language, "one")


def draw_caption(scene: Scene, language: str, style: str, draws: Iterator[float]) -> PlayCaption:
    """Draws one true caption of a scene.

    Args:
      scene: what to speak of.
      language: "en" or "ko".
      style: the wording asked for. Where it says nothing true, the next best is taken: "place" or "one" for a single
        toy, "list" where no two toys are in a clear relation and none in a clear place.
      draws: numbers in [0, 1).
    """
    toys = scene.toys
    if style == "place" or (style in _RELATED and len(toys) == 1):
        clear = places(scene)
        if clear:
            i, relation = clear[int(next(draws) * len(clear))]
            return compose(Meaning((_about(toys[i], language, "place"),), relation), language, "place")
        style = "list"
    if len(toys) == 1:
        style = style if style in _SINGLE else "one"
        return compose(Meaning((_about(toys[0], language, style),), alone=True), language, style)
    if style in _SINGLE:
        return compose(Meaning((_about(toys[int(next(draws) * len(toys))], language, style),)), language, style)
    if style in _RELATED:
        true = relations(scene)
        if true:
            i, relation, j = true[int(next(draws) * len(true))]
            phrases = (_about(toys[i], language, style), _about(toys[j], language, style))
            return compose(Meaning(phrases, relation), language, style)
        style = "list"
    i = int(next(draws) * len(toys))
    j = (i + 1 + int(next(draws) * (len(toys) - 1))) % len(toys)
    return compose(Meaning((_about(toys[i], language, style), _about(toys[j], language, style))), language, style)


def label(kind: str, color: str, language: str) -> str:
    """What a toy is called where it is pointed at: its colour and its name, without article or particle."""
    return f"{COLORS[language][color]} {NAMES[language][kind]}"


def templates(label: str, alone: bool) -> tuple[str, ...]:
    """Captions of a toy in every size, with {} in the place of its colour and name.

    Args:
      label: what goes there; its letters tell the language, and its end the Korean particle.
      alone: whether they say that there is no other toy.
    """
    if label.isascii():
        return tuple(f"{'only' if alone else 'there is'} a {size} {{}}" for size in SIZES["en"].values())
    particle = "만" if alone else "이" if (ord(label[-1]) - 0xAC00) % 28 else "가"
    return tuple(f"{size} {{}}{particle} 있다" for size in SIZES["ko"].values())


def regions(scene: Scene, language: str) -> tuple[Region, ...]:
    """The toys of a scene in reading order, from left to right, with their boxes; their depth is not told."""
    found = []
    for toy in scene.toys:
        y0, x0, y1, x1 = (edge / scene.image_size for edge in toy.box)
        found.append(Region((y0, x0, y1, x1), label(toy.kind, toy.color, language)))
    return tuple(sorted(found, key=lambda region: (region.box[1], region.box[0])))
