"""Tests of entities and of senses carried from one dictionary to another."""

import numpy as np
import pytest

from xmjax.data.source import Caption
from xmjax.lexicon import Sense, Symbolic, Table, carry, entities


def table(*words: tuple[str, str]) -> Table:
    """A dictionary with one sense for each (word, language)."""
    return Table((language, Sense(f"{n}", word, "a thing", "en")) for n, (word, language) in enumerate(words))


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("一只红色的蝙蝠和一个球", "zh", ["蝙蝠", "球"]),
        ("黒猫がいる", "ja", ["黒猫"]),
        ("a big dog in a box", "en", ["dog"]),
        ("작은 배에서", "ko", ["배에서"]),
        ("a 球 there", "zh", ["球"]),
    ],
)
def test_entities(text, language, expected):
    listed = table(*((word, language) for word in ("蝙蝠", "球", "黒猫", "猫", "dog", "in", "a", "배")))
    found = entities(Caption(text, language), listed)
    assert [text.encode()[word.start : word.end].decode() for word in found] == expected


def test_all_forms_of_an_english_word_are_looked_up():
    listed = table(("glass", "en"), ("glasses", "en"), ("배가", "ko"), ("배", "ko"))
    assert [sense.word for sense in listed.lookup("the glasses", "en")] == ["glasses", "glass"]
    assert [sense.word for sense in listed.lookup("배가", "ko")] == ["배가"]


def test_senses_carry_over_by_the_names_that_they_share():
    fruit, ship = Sense("a", "배", "sweet", "ko", ("pear",)), Sense("b", "배", "swims", "ko", ("boat",))
    others = [
        Sense("1", "배", "a small vessel", "en", ("boat",)),
        Sense("2", "배", "the belly", "en", ("belly",)),
        Sense("3", "배", "a fruit", "en", ("Pear", "서양배")),
        Sense("4", "배", "a tree", "en", ("pear",)),
    ]
    found = carry([(fruit, 0.8), (ship, 0.2)], others)
    assert [sense.id for sense, _ in found] == ["3", "4", "1", "2"]
    np.testing.assert_allclose([share for _, share in found], [0.4, 0.4, 0.2, 0])
    np.testing.assert_allclose([share for _, share in carry([(fruit, 0.8), (ship, 0.2)], others[1:])], [0.5, 0.5, 0])
    assert carry([(fruit, 1.0)], others[1:2]) == []


def test_senses_carry_over_by_definitions_where_names_tell_nothing():
    animal = Sense("a", "bat", "a small furry animal with wings that flies at night", "en", ("박쥐",))
    club = Sense("b", "bat", "a wooden club for hitting the ball in baseball", "en", ("방망이",))
    others = [
        Sense("1", "bat", "use a bat", "en"),
        Sense("2", "bat", "nocturnal mammal with forelimbs that form membranous wings", "en"),
        Sense("3", "bat", "a club used for hitting a ball in various games", "en"),
    ]
    assert carry([(animal, 0.7), (club, 0.3)], others) == []
    scorer = Symbolic([sense.gloss for sense in (animal, club, *others)])
    found = carry([(animal, 0.7), (club, 0.3)], others, scorer)
    assert [(sense.id, share) for sense, share in found] == [("2", 0.7), ("3", pytest.approx(0.3)), ("1", 0.0)]
    assert carry([(Sense("c", "bat", "xylophone", "en"), 1.0)], others, scorer) == []
