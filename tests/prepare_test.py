"""Tests of tables of senses: what is made of a list of ambiguous words, what is held out, and what is asked."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmjax import prepare
from xmjax.data.folder import Folder
from xmjax.data.source import Record, Word, picture_id
from xmjax.data.sources import open_source
from xmjax.errors import UserError
from xmjax.evaluation.sense import table_items
from xmjax.lexicon import library as libraries
from xmjax.lexicon import open_dictionary

PICTURES = {
    "P": ("pear", {"en": ["fruit"], "ko": ["배", "과일"]}),
    "S": ("ship", {"en": ["boat"], "ko": ["배", "선박"]}),
    "Y": ("yacht", {"en": ["boat", "sea"], "ko": ["배"]}),
    "B": ("bat", {"en": ["bat", "animal"], "ko": ["박쥐"]}),
}
WORDS = {"ko": {"배": [["P"], ["S", "Y"]]}, "en": {"bat": [["B"]]}}


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder of four pictures with names and keywords, and the list of words beside it."""
    (tmp_path / "data").mkdir()
    lines = []
    for letter, (name, keywords) in PICTURES.items():
        Image.fromarray(np.full((8, 8, 3), ord(letter), np.uint8)).save(tmp_path / "data" / f"{letter}.png")
        lines.append({"letter": letter, "file": f"{letter}.png", "names": {"en": name}, "keywords": keywords})
    (tmp_path / "data" / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "words.json").write_text(json.dumps(WORDS))
    return tmp_path


def made(root: Path, **changes: str) -> Path:
    given = {
        "input": str(root / "words.json"),
        "root": str(root / "data"),
        "metadata": "all.jsonl",
        "column": "letter",
        "output": str(root / "senses.jsonl"),
    }
    prepare.senses(**given | changes)
    return root / "senses.jsonl"


def test_senses_are_described_by_what_is_not_held_out(root, capsys):
    path = made(root)
    assert "2 words, 3 senses" in capsys.readouterr().out
    assert Path(f"{path}.held_out.txt").read_text() == "Y.png\n"
    pear, ship = open_dictionary(str(path)).lookup("배", "ko")
    assert (pear.gloss, pear.synonyms, pear.records) == ("pear", ("fruit", "과일"), ("P.png",))
    assert (ship.gloss, ship.synonyms, ship.records) == ("ship", ("boat", "선박"), ("S.png", "Y.png"))


def test_what_is_held_out_is_the_validation_split(root):
    options = {"metadata": "all.jsonl", "file_column": "file", "text_column": "keywords", "image_size": 8}
    held_out = frozenset({"Y.png"})
    train, val = (Folder(str(root / "data"), split=s, held_out=held_out, **options) for s in ("train", "val"))
    assert [r.id for r in train.read(range(len(train)))] == ["P.png", "S.png", "B.png"]
    assert [r.id for r in val.read(range(len(val)))] == ["Y.png"]
    assert train.manifest() != Folder(str(root / "data"), split="train", **options).manifest()
    with pytest.raises(UserError, match=r"held_out names 'X\.png', which is no record"):
        Folder(str(root / "data"), held_out=frozenset({"X.png"}), **options)
    with pytest.raises(UserError, match=r"val split .* is empty: change the file of --config\.data\.held_out"):
        Folder(str(root / "data"), split="val", held_out=frozenset(), **options)


def test_ambiguous_words_are_asked_of_their_pictures(root):
    table = open_dictionary(str(made(root)))
    items = table_items([Record("Y.png"), Record("B.png"), Record("P.png")], table, 32)
    assert [(item.record.id, item.text, item.word, item.answer) for item in items] == [
        ("P.png", "배", Word(0, 3), 0), ("Y.png", "배", Word(0, 3), 1),
    ]  # fmt: skip
    assert not items[0].fits(Record("Y.png")) and items[0].fits(Record("P.png"))
    assert table_items([Record("Y.png")], table, 3) == []


def test_pictures_of_another_source_are_asked_too(root):
    (root / "other.json").write_text(json.dumps({"ko": {"배": [["stamps/pear"], []]}}))
    path = made(root, other=str(root / "other.json"))
    assert Path(f"{path}.other.txt").read_text() == "stamps/pear\n"
    pear, ship = open_dictionary(str(path)).lookup("배", "ko")
    assert pear.records == ("P.png", "stamps/pear") and ship.records == ("S.png", "Y.png")
    (item,) = table_items([Record("stamps/pear")], open_dictionary(str(path)), 32)
    assert item.answer == 0
    for wrong in ({"ko": {"배": [["stamps/pear"]]}}, {"ko": {"밤": [["stamps/pear"], []]}}):
        (root / "other.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match="list the same ones in the same order"):
            made(root, other=str(root / "other.json"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input": "/nowhere.json"}, r"/nowhere\.json cannot be read"),
        ({"column": "emoji"}, r"all\.jsonl has no column 'emoji': it has letter, file, names, keywords"),
        ({"metadata": "none.jsonl"}, r"none\.jsonl has no lines of JSON"),
    ],
)
def test_what_is_missing_is_named(root, changes, message):
    with pytest.raises(UserError, match=message):
        made(root, **changes)


def test_a_word_with_an_unknown_picture_is_named(root):
    (root / "words.json").write_text(json.dumps({"en": {"bat": [["B"], ["Q"]]}}))
    with pytest.raises(UserError, match=r"'bat' names 'Q', which no line of all\.jsonl has as its letter"):
        made(root)
    (root / "words.json").write_text("[]")
    with pytest.raises(UserError, match=r"words\.json cannot be read"):
        made(root)


@pytest.mark.parametrize("pictures", [0, 24])
def test_a_library_knows_pictures_as_the_run_sees_them_and_leaves_out_held_out_ones(
    pictures, make_config, tmp_path, monkeypatch, capsys
):
    lines = []
    for i in range(40):  # each picture is of four records, some of which may be held out
        if i < 10:
            noise = np.random.default_rng(i).integers(0, 256, (24, 24, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / f"{i}.png")
        thing = {"bbox": [0, 0, 12, 24], "category": f"thing {i % 3}"}
        lines.append({"key": f"{i}", "file_name": f"{i % 10}.png", "text": f"text {i}", "objects": [thing]})
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(x | {"width": 24, "height": 24}) for x in lines))
    data = {"source": "folder", "root": str(tmp_path), "id_column": "key", "regions_column": "objects"}
    config = make_config({f"data.{name}": value for name, value in data.items()})
    monkeypatch.setattr(prepare.inference, "read_config", lambda workdir: config)
    prepare.library(str(tmp_path), str(tmp_path / "a"), size=8, pictures=pictures)
    library = libraries.load(tmp_path / "a")
    train, val = (open_source(config, config.data, split) for split in ("train", "val"))
    of = {record.id: picture_id(record) for record in train.read(range(len(train)))}
    held_out = {picture_id(record) for record in val.read(range(len(val)))}
    assert library.pictures.tolist() == [of[record] for record in library.records]
    assert set(library.pictures) == set(of.values()) - held_out and held_out & set(of.values())
    left_out = sum(picture in held_out for picture in of.values())
    assert f"{left_out} of {len(of)} records are left out, whose pictures are held out too" in capsys.readouterr().out
    assert library.seen == "32 px, stretch"
