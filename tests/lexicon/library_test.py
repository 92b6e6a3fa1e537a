"""Tests of the library of standard texts and crops."""

import numpy as np
import pytest

from xmjax.data.playroom import Playroom
from xmjax.data.source import Record, Region
from xmjax.errors import UserError
from xmjax.lexicon import library as libraries
from xmjax.pictures import draw_library


@pytest.fixture(scope="module")
def records():
    return Playroom("train").read(range(300))


@pytest.fixture(scope="module")
def library(records):
    return libraries.build(records, 16, seen="32 px, crop")


def test_a_text_has_many_crops_and_a_crop_one_text(library, records):
    assert len(library.texts) == len(set(library.texts)) and list(library.texts) == sorted(library.texts)
    assert len(library.crops) == len(library.text_of) == len(library.records) > 2 * len(library.texts)
    assert {region.label for record in records for region in record.regions} == set(library.texts)
    assert library.crops.shape[1:] == (16, 16, 3) and library.crops.dtype == np.uint8


def test_equal_crops_of_a_text_are_kept_once_and_of_two_texts_twice():
    image = np.zeros((8, 8, 3), np.uint8)
    regions = (Region((0, 0, 0.5, 0.5), "dog"), Region((0.5, 0.5, 1, 1), "dog"), Region((0, 0, 0.5, 0.5), "cat"))
    tiny = Region((0, 0, 0.1, 1), "line")
    made = libraries.build([Record(str(i), image=image, regions=(*regions, tiny)) for i in range(3)], 4)
    assert made.texts == ("cat", "dog") and made.text_of.tolist() == [0, 1] and made.records == ("0", "0")


def test_at_most_so_many_crops_of_a_text(records):
    made = libraries.build(records, 8, most=2)
    assert np.bincount(made.text_of).max() == 2


def test_it_comes_back_bit_by_bit(library, tmp_path):
    for name in ("a", "b"):
        library.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = libraries.load(tmp_path / "a")
    assert again.texts == library.texts and again.records == library.records and again.seen == library.seen
    np.testing.assert_array_equal(again.pictures, library.pictures)
    np.testing.assert_array_equal(again.crops, library.crops)
    np.testing.assert_array_equal(again.text_of, library.text_of)
    assert again.digest() == library.digest() != libraries.build(Playroom("train").read(range(50)), 16).digest()


def test_what_is_no_library_is_one_line(library, tmp_path, monkeypatch):
    (tmp_path / "broken").write_bytes(b"nothing")
    with monkeypatch.context() as patch:
        patch.setattr(libraries, "VERSION", "0")
        library.save(tmp_path / "old")
    for name, message in (("broken", "cannot be read"), ("none", "cannot be read"), ("old", "version 2")):
        with pytest.raises(UserError, match=message):
            libraries.load(tmp_path / name)


def test_a_crop_finds_itself_unless_its_own_record_is_left_out(library):
    crops = library.crops[:20]
    assert library.nearest(crops).tolist() == list(range(20))
    for i in range(20):
        [found] = library.nearest(crops[i : i + 1], {library.records[i]})
        assert library.records[found] != library.records[i]
    assert library.nearest(crops, set(library.records)).tolist() == [-1] * 20


def test_neighbours_are_more_often_right_than_by_chance(library):
    shown = [
        (libraries.cut(record.image, region.box, 16), region.label)
        for record in Playroom("val").read(range(100))
        for region in record.regions
    ]
    found = library.nearest(np.stack([crop for crop, _ in shown]))
    right = np.mean([library.texts[library.text_of[i]] == label for i, (_, label) in zip(found, shown, strict=True)])
    assert right > 10 / len(library.texts)


def test_texts_are_found_as_whole_words_the_longest_first():
    made = libraries.Library(
        ("red cup", "cup", "배"), np.zeros((0, 4, 4, 3), np.uint8), np.zeros(0, np.int32), (), np.zeros(0, np.int32)
    )
    assert made.mentioned("A red cup, a cupboard and a cup") == [(0, 2, 9), (1, 28, 31)]
    assert made.mentioned("é cup") == [(1, 3, 6)]
    assert made.mentioned("배가 배") == [(2, 7, 10)]


def test_it_is_drawn(library, tmp_path):
    draw_library(library, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 5000
