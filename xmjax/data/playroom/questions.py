"""Questions about a scene and their answers.

Every question has exactly one answer that is true of the scene: what it asks of is named so that one toy fits.
"""

from collections.abc import Callable, Iterator, Sequence

from xmjax.data.playroom.lexicon import COLORS, NAMES, RELATIONS, SIZES
from xmjax.data.playroom.world import Scene, Toy, relations
from xmjax.data.source import Question

KINDS_OF_QUESTIONS = ("color", "kind", "size", "count", "relation", "describe")
"""What is asked: a colour, a kind, a size, a number, a relation, or all that can be said of the one toy meant."""

ALL_KINDS = (*KINDS_OF_QUESTIONS, "scene")
"""With "scene", what the whole picture shows, which is asked only where it is asked for: to fine-tune on."""


SCENES = {
    "en": {"alone": "alone", "apart": "apart", "holding": "held", "in front of": "hidden", "crowd": "crowd"},
    "ko": {"alone": "혼자", "apart": "따로", "holding": "들고", "in front of": "가림", "crowd": "여럿"},
}
"""What scenes are called: one toy, two that are apart, one of two holds or hides the other, or more than two."""


def _particle(word: str, after_vowel: str, after_consonant: str) -> str:
    return word + (after_consonant if (ord(word[-1]) - 0xAC00) % 28 else after_vowel)


def _named(toy: Toy, language: str, *attributes: str) -> str:
    """A toy by some of its attributes, such as "red bat"."""
    words = {"size": SIZES[language][toy.size], "color": COLORS[language][toy.color], "kind": NAMES[language][toy.kind]}
    return " ".join(words[attribute] for attribute in attributes)


def _only(scene: Scene, language: str, *attributes: str) -> list[Toy]:
    """Toys that no other toy shares these attributes with, as the language has words for them."""
    names = [_named(toy, language, *attributes) for toy in scene.toys]
    return [toy for toy, name in zip(scene.toys, names, strict=True) if names.count(name) == 1]


def _color(scene: Scene, language: str) -> list[tuple[str, str]]:
    ask = {"en": lambda n: f"what color is the {n}?", "ko": lambda n: f"{_particle(n, '는', '은')} 무슨 색?"}[language]
    return [(ask(_named(toy, language, "kind")), COLORS[language][toy.color]) for toy in _only(scene, language, "kind")]


def _kind(scene: Scene, language: str) -> list[tuple[str, str]]:
    ask = {"en": lambda c: f"what is the {c} toy?", "ko": lambda c: f"{c} 것은 무엇?"}[language]
    return [(ask(_named(toy, language, "color")), NAMES[language][toy.kind]) for toy in _only(scene, language, "color")]


def _size(scene: Scene, language: str) -> list[tuple[str, str]]:
    ask = {"en": lambda n: f"how big is the {n}?", "ko": lambda n: f"{_particle(n, '는', '은')} 얼마나 커?"}[language]
    return [
        (ask(_named(toy, language, "color", "kind")), SIZES[language][toy.size])
        for toy in _only(scene, language, "color", "kind")
    ]


def _count(scene: Scene, language: str) -> list[tuple[str, str]]:
    return [({"en": "how many toys are there?", "ko": "모두 몇 개?"}[language], str(len(scene.toys)))]


def _pairs(scene: Scene, language: str) -> list[tuple[Toy, str, Toy]]:
    """Relations between toys that colour and kind name."""
    named = _only(scene, language, "color", "kind")
    return [
        (scene.toys[i], relation, scene.toys[j])
        for i, relation, j in relations(scene)
        if scene.toys[i] in named and scene.toys[j] in named
    ]


def _relation(scene: Scene, language: str) -> list[tuple[str, str]]:
    def ask(first: str, second: str) -> str:
        if language == "en":
            return f"how is the {first} to the {second}?"
        return f"{_particle(first, '는', '은')} {second}의 어디에?"

    return [
        (ask(_named(a, language, "color", "kind"), _named(b, language, "color", "kind")), RELATIONS[language][relation])
        for a, relation, b in _pairs(scene, language)
    ]


def _describe(scene: Scene, language: str) -> list[tuple[str, str]]:
    ask = {"en": "describe the {} one", "ko": "{} 것을 말해 줘"}[language]
    found = [
        (ask.format(_named(toy, language, attribute)), _named(toy, language, "size", "color", "kind"))
        for attribute in ("color", "size")
        for toy in _only(scene, language, attribute)
    ]
    pairs = _pairs(scene, language)
    for a, relation, b in pairs:
        if sum(other[1:] == (relation, b) for other in pairs) == 1:
            word, name = RELATIONS[language][relation], _named(b, language, "color", "kind")
            text = f"describe the one {word} the {name}" if language == "en" else f"{name} {word} 있는 것을 말해 줘"
            found.append((text, _named(a, language, "size", "color", "kind")))
    return found


def _scene(scene: Scene, language: str) -> list[tuple[str, str]]:
    touching = {relation for _, relation, _ in relations(scene)} & {"holding", "in front of"}
    kind = "alone" if len(scene.toys) == 1 else "crowd" if len(scene.toys) > 2 else min(touching, default="apart")
    ask = {"en": "what scene is this?", "ko": "어떤 장면?"}[language]
    return [(ask, SCENES[language][kind])]


_ASK: dict[str, Callable[[Scene, str], list[tuple[str, str]]]] = {
    "color": _color,
    "kind": _kind,
    "size": _size,
    "count": _count,
    "relation": _relation,
    "describe": _describe,
    "scene": _scene,
}


def questions(scene: Scene, language: str, kind: str) -> list[Question]:
    """All questions of a kind that a scene has one answer to, in a fixed order.

    Args:
      scene: what is asked of.
      language: "en" or "ko".
      kind: one of ``ALL_KINDS``.
    """
    return [Question(text, answer, language, kind) for text, answer in _ASK[kind](scene, language)]


def draw_question(
    scene: Scene, language: str, draws: Iterator[float], kinds: Sequence[str] = KINDS_OF_QUESTIONS
) -> Question | None:
    """Draws a kind of question that the scene has, all alike, then a question of it; None where it has none.

    Args:
      scene: what is asked of.
      language: "en" or "ko".
      draws: numbers in [0, 1).
      kinds: to choose from.
    """
    asked = [found for kind in kinds if (found := questions(scene, language, kind))]
    if not asked:
        return None
    of_kind = asked[int(next(draws) * len(asked))]
    return of_kind[int(next(draws) * len(of_kind))]
