"""Tests of finding maskable words."""

import itertools
import random
import string
import unicodedata

import pytest

from xmjax.data.words import pieces, words


def units(text: str) -> list[str]:
    data = text.encode()
    return [data[word.start : word.end].decode() for word in words(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n", []),
        ("... !?", []),
        ("A dog, running (fast)!", ["A", "dog", "running", "fast"]),
        ("don't 'n' $5 C++ well-known", ["don't", "n", "5", "C", "well-known"]),
        ("¿Qué? «Quarter»", ["Qué", "Quarter"]),
        ("개구리가 뛴다.", ["개구리가", "뛴다"]),
        ("مرحبا، عالم", ["مرحبا", "عالم"]),
        ("एक मेंढक|", ["एक", "मेंढक"]),
        ("no\u00a0break\u3000wide\u200bzero", ["no", "break", "wide", "zero"]),
        ("カエルの写真。犬、猫", ["カエル", "の", "写真", "犬", "猫"]),
        ("机壳机", ["机", "壳机"]),
        ("iPhone手机", ["iPhone", "手机"]),
        ("กบ. ช้างกำลังเดิน", ["กบ", "ช้าง", "กำลัง", "เดิน"]),
        ("👨\u200d👩\u200d👧 family ❤\ufe0f 1\ufe0f\u20e3", ["family", "1\ufe0f\u20e3"]),
        ("\ud55c\uad6d \u1112\u1161\u11ab", ["\ud55c\uad6d", "\u1112\u1161\u11ab"]),
    ],
)
def test_units(text, expected):
    assert units(text) == expected


@pytest.mark.parametrize(
    "cluster",
    ["e\u0301", "か\u3099", "ｶ\uff9e", "ช้", "กำ", "ក\u17d2ក", "မ\u1039မ", "葛\U000e0100", "ក\u200dខ"],
)
def test_characters_are_not_split(cluster):
    for count in range(1, 9):
        text = cluster * count
        for unit in units(text):
            assert len(unit) % len(cluster) == 0 and unit.startswith(cluster)
        assert "".join(units(text)) == text


def test_marks_on_punctuation_go_with_it():
    assert units("x!\u0301 -\u20d2y") == ["x", "y"]


def test_random_text_keeps_the_contract():
    rng = random.Random(0)
    alphabet = " a.é\u0301漢字かカーกำខ្\u200d\ufe0f👍\U0001f3fd🇰🇷\u200b!“"
    for _ in range(3000):
        text = "".join(rng.choices(alphabet, k=rng.randrange(20)))
        found = words(text)
        data = text.encode()
        starts = {len(text[:i].encode()): i for i in range(len(text) + 1)}
        assert all(left.end <= right.start for left, right in itertools.pairwise(found))
        for word in found:
            assert word.start < word.end <= len(data)
            assert word.start in starts and word.end in starts
            unit = text[starts[word.start] : starts[word.end]]
            assert not any(char.isspace() for char in unit)
            following = text[starts[word.end] : starts[word.end] + 1]
            assert not following or (unicodedata.category(following)[0] != "M" and following != "\u200d")


def test_fast_path_for_ascii_agrees():
    rng = random.Random(0)
    for _ in range(2000):
        text = "".join(rng.choices(string.ascii_letters[:6] + "019.,'- $", k=rng.randrange(24)))
        # One more letter of another script takes the general path.
        assert words(text) == words(text + " é")[:-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a small red bat.", ["a", " small", " red", " bat."]),
        ("파란 여우가 있다", ["파란", " 여우가", " 있다"]),
        ("一只小狗", ["一只", "小狗"]),
        ("  pneumonoultra x", ["  pneumo", "noultra", " x"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_pieces_are_all_of_a_text(text, expected):
    assert pieces(text, 12 if "여" in text else 8) == expected
