"""What is true: whether a caption fits a scene, and which words could stand in place of a masked one."""

import dataclasses
import itertools
from collections.abc import Collection

from xmjax.data.playroom.language import Meaning, Phrase, PlayCaption, compose
from xmjax.data.playroom.lexicon import KINDS_OF, NAMES
from xmjax.data.playroom.world import COLORS, PLACES, RELATIONS, SIZES, Scene, Toy, extent, places, relations


def describes(caption: PlayCaption, scene: Scene) -> bool:
    """Whether a caption is true of a scene."""
    return _true(caption.meaning, caption.language, scene)


def _fits(phrase: Phrase, language: str, toy: Toy) -> bool:
    return (
        toy.kind in KINDS_OF[language][phrase.word]
        and phrase.color in (None, toy.color)
        and phrase.size in (None, toy.size)
    )


def _true(meaning: Meaning, language: str, scene: Scene) -> bool:
    if meaning.alone and len(scene.toys) != 1:
        return False
    fitting = [
        [index for index, toy in enumerate(scene.toys) if _fits(phrase, language, toy)] for phrase in meaning.phrases
    ]
    if len(fitting) == 1 and meaning.relation is not None:
        return any(relation == meaning.relation and i in fitting[0] for i, relation in places(scene))
    if len(fitting) == 1 or not all(fitting):
        return all(fitting)
    first, second = fitting
    if meaning.relation is None:
        return any(i != j for i in first for j in second)
    return any(relation == meaning.relation and i in first and j in second for i, relation, j in relations(scene))


def candidates(caption: PlayCaption, index: int, scene: Scene) -> tuple[list[str], list[bool]]:
    """All words that could stand at a word of a caption.

    Args:
      caption: a caption of any scene.
      index: position in ``caption.words``.
      scene: what truth is asked of.

    Returns:
      The strings of all words of the class in that language, each with the article or particle that it needs there,
      none twice, in a fixed order; and for each whether the caption with it put in is true of the scene.
    """
    strings, truths = [], []
    for meaning in _fillings(caption, index):
        filled = compose(meaning, caption.language, caption.style)
        assert filled.words is not None
        word = filled.words[index]
        strings.append(filled.text.encode()[word.start : word.end].decode())
        truths.append(_true(meaning, caption.language, scene))
    return strings, truths


def meant(caption: PlayCaption, index: int, scene: Scene) -> int | None:
    """The toy that a word of a caption speaks of, where the caption leaves one only; words of place speak of none.

    Args:
      caption: a caption of the scene.
      index: position in ``caption.words``.
      scene: what it is said of.

    Returns:
      Index into ``scene.toys``, or None.
    """
    assert caption.words is not None
    kind = caption.words[index].kind
    if kind in ("relation", "place"):
        return None
    phrase = caption.meaning.phrases[sum(word.kind == kind for word in caption.words[:index])]
    fitting = [i for i, toy in enumerate(scene.toys) if _fits(phrase, caption.language, toy)]
    return fitting[0] if len(fitting) == 1 else None


def readings(caption: PlayCaption, scene: Scene, hidden: Collection[int]) -> list[tuple[int, ...]]:
    """The toys that a true caption's phrases may speak of, for one who sees nothing but the boxes of some of the toys.

    A box tells the kinds and sizes that fill it, and where its toy lies; which of two hidden toys is in front of the
    other, or holds it, it does not tell.

    Args:
      caption: a caption of the scene.
      scene: what it is said of.
      hidden: indices of the toys of which only the boxes are seen.

    Returns:
      For every possible reading the index of a toy for each phrase.
    """
    meaning, there = caption.meaning, set(relations(scene))
    there |= {(j, r, i) for i, r, j in there if r in ("holding", "in front of") and {i, j} <= set(hidden)}

    def may(phrase: Phrase, index: int) -> bool:
        toy = scene.toys[index]
        if index not in hidden:
            return _fits(phrase, caption.language, toy)
        y0, x0, y1, x1 = toy.box
        sizes = SIZES if phrase.size is None else (phrase.size,)
        looks = itertools.product(KINDS_OF[caption.language][phrase.word], sizes)
        return any(extent(kind, size, scene.image_size) == (y1 - y0, x1 - x0) for kind, size in looks)

    def related(toys: tuple[int, ...]) -> bool:
        if meaning.relation is None or len(toys) == 1:
            return meaning.relation is None or (toys[0], meaning.relation) in places(scene)
        return (toys[0], meaning.relation, toys[1]) in there

    return [
        toys
        for toys in itertools.permutations(range(len(scene.toys)), len(meaning.phrases))
        if all(map(may, meaning.phrases, toys)) and related(toys)
    ]


def has_named(caption: PlayCaption, scene: Scene) -> bool:
    """Whether a scene has the toys that a caption names, by name and colour, wherever they are and however big."""
    phrases = tuple(dataclasses.replace(phrase, size=None) for phrase in caption.meaning.phrases)
    return _true(dataclasses.replace(caption.meaning, phrases=phrases, relation=None), caption.language, scene)


def one_label(caption: PlayCaption, index: int, language: str = "en") -> bool:
    """Whether a word for a kind, with the colour said of it, leaves one label (`language.label`) only."""
    assert caption.words is not None
    kind = caption.words[index].kind
    phrase = caption.meaning.phrases[sum(word.kind == kind for word in caption.words[:index])]
    names = {NAMES[language][found] for found in KINDS_OF[caption.language][phrase.word]}
    return phrase.color is not None and len(names) == 1


def fills(scene: Scene, caption: PlayCaption) -> list[int]:
    """Indices of the words of a caption that the scene leaves exactly one candidate for."""
    assert caption.words is not None
    return [
        index
        for index in range(len(caption.words))
        if sum(_true(meaning, caption.language, scene) for meaning in _fillings(caption, index)) == 1
    ]


def _fillings(caption: PlayCaption, index: int) -> list[Meaning]:
    """The caption's meaning with each word of the class at ``index`` in turn."""
    assert caption.words is not None
    meaning = caption.meaning
    kind = caption.words[index].kind
    if kind in ("relation", "place"):
        fitting = RELATIONS if kind == "relation" else PLACES
        return [dataclasses.replace(meaning, relation=relation) for relation in fitting]
    # Phrases come in the order of the text in every wording, and each has the same classes of words.
    place = sum(word.kind == kind for word in caption.words[:index])
    before, phrase, after = meaning.phrases[:place], meaning.phrases[place], meaning.phrases[place + 1 :]
    field, values = {
        "kind": ("word", tuple(KINDS_OF[caption.language])),
        "color": ("color", COLORS),
        "size": ("size", SIZES),
    }[kind]
    return [
        dataclasses.replace(meaning, phrases=(*before, dataclasses.replace(phrase, **{field: value}), *after))
        for value in values
    ]
