"""Tests of captions of similar pictures: the nearest ones, the file, and what training reads."""

import dataclasses
import json

import numpy as np
import pytest

from xmjax.config import DataConfig
from xmjax.data import similar
from xmjax.data.pipeline import Example
from xmjax.data.similar import WithSimilar, mine, neighbours
from xmjax.data.source import Caption, Record, Unreadable
from xmjax.data.sources import open_source
from xmjax.errors import UserError
from xmjax.lexicon import join, open_dictionary
from xmjax.objectives import make, options


class Few:
    """Three records, the last of which cannot be read."""

    name = "few"

    def __len__(self) -> int:
        return 3

    def read(self, indices):
        records = [Record("a", (Caption("a red bat", "en"),)), Record("b", (Caption("a cup", "en"),))]
        return [*records, Unreadable("c", "broken")][slice(indices[0], indices[-1] + 1)]

    def manifest(self):
        return {"name": "few"}


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.normal(size=(rows, 4))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize(("count", "least"), [(3, -1.0), (2, 0.5), (50, 0.0)])
def test_neighbours_are_those_of_a_double_loop(block, count, least, monkeypatch):
    monkeypatch.setattr(similar, "BLOCK", block)
    queries, keys = unit(np.random.default_rng(0), 20), unit(np.random.default_rng(1), 30)
    for query, found in zip(queries, neighbours(queries, keys, count, least), strict=True):
        near = [(float(query @ key), j) for j, key in enumerate(keys)]
        expected = [(j, c) for c, j in sorted(near, key=lambda pair: -pair[0])[:count] if c >= least]
        assert [j for j, _ in found] == [j for j, _ in expected]
        assert [c for _, c in found] == pytest.approx([c for _, c in expected])


def test_of_equally_near_keys_the_first_comes_first():
    found = list(neighbours(np.ones((2, 1)), np.ones((4, 1)), 2, 0.0))
    assert [[j for j, _ in row] for row in found] == [[0, 1], [0, 1]]


def test_captions_of_a_twin_are_no_captions_of_others_and_no_text_is_taken_twice():
    texts = {"a": ("a cat", "a pet"), "b": ("a cat",), "c": ("a dog", "a pet"), "d": ("a dog",)}
    records = [Record(name, tuple(Caption(text, "en") for text in said)) for name, said in texts.items()]
    ones = np.ones((4, 1)), np.ones((6, 1))
    lines = list(mine(records, [b"1", b"1", b"2", b"3"], *ones, 2, 0.0))
    found = {line["id"]: [(o["id"], o["captions"][0]["text"]) for o in line["similar"]] for line in lines}
    assert found == {
        "a": [("c", "a dog")], "b": [("c", "a dog"), ("c", "a pet")], "c": [("a", "a cat")],
        "d": [("a", "a cat"), ("a", "a pet")],
    }  # fmt: skip
    assert lines[0]["similar"][0] == {
        "id": "c", "similarity": 1.0, "captions": [{"text": "a dog", "language": "en"}]
    }  # fmt: skip
    assert list(mine(records[:1], [b"1"], np.ones((1, 1)), np.ones((2, 1)), 1, 0.0)) == []


def test_records_bring_captions_of_similar_pictures_along(tmp_path):
    path = tmp_path / "similar.jsonl"
    captions = [{"text": "a white bat", "language": "en"}, {"text": "박쥐"}]
    line = {"id": "a", "similar": [{"id": "z", "similarity": 0.9, "captions": captions}]}
    path.write_text(json.dumps(line) + "\n\n")
    source = WithSimilar(Few(), str(path))
    a, b, c = source.read(range(3))
    assert a.similar == (Caption("a white bat", "en", origin="z"), Caption("박쥐", origin="z"))
    assert a.captions == (Caption("a red bat", "en"),) and b.similar == () and c == Unreadable("c", "broken")
    assert (len(source), source.name) == (3, "few")
    before = source.manifest()
    path.write_text(path.read_text().replace("white", "green"))
    assert WithSimilar(Few(), str(path)).manifest() != before and before["name"] == "few"


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "a"}', '{"id": "a", "similar": [{"id": "b"}]}', '{"similar": []}'])
def test_a_bad_line_is_named(line, tmp_path):
    path = tmp_path / "similar.jsonl"
    path.write_text('{"id": "a", "similar": []}\n' + line)
    with pytest.raises(UserError, match=r"similar\.jsonl, line 2: .*launch/prepare\.py similar"):
        WithSimilar(Few(), str(path))


def test_a_missing_file_is_named(tiny_config):
    options = dataclasses.replace(tiny_config.data, similar="/nowhere.jsonl")
    with pytest.raises(UserError, match=r"config\.data\.similar=/nowhere\.jsonl cannot be read"):
        open_source(tiny_config, options, "train")
    assert isinstance(tiny_config.data, DataConfig) and len(open_source(tiny_config, options, "val"))


def test_a_caption_of_another_picture_is_joined_only_where_it_names_the_entity():
    dictionary = open_dictionary("playroom")
    first = Caption("a red bat", "en")
    away, near = Caption("a blue cup", "en", origin="z"), Caption("박쥐가 있다", "ko", origin="y")
    assert join(first, [away], dictionary, np.random.default_rng(0), 64) is None
    for seed in range(5):
        text, words = join(first, [away, near], dictionary, np.random.default_rng(seed), 64)
        assert text.text == "a red bat\n박쥐가 있다"
        masked = [text.text.encode()[w.start : w.end].decode() for w in words]
        assert [word.rstrip("가") for word in masked] == ["bat", "박쥐"]


def test_fill_masks_the_entity_in_both(make_config):
    changes = {
        "objectives": {"fill": options("fill", thirds=1.0, spans=3, max_span_bytes=12)},
        "model.text.max_bytes": 48,
    }
    fill = make(make_config(changes))["fill"]
    own = Caption("a red bat", "en")
    record = Record("a", (own,), similar=(Caption("the bat sleeps", "en", origin="z"),))
    masked = fill.features(Example(record, (own,), np.random.default_rng(0)))["masked"][0]
    text = bytes(id if id < 256 else 0x5F for id in masked.tolist() if id < 256 or id >= 300)
    assert b"bat" not in text and b"sleeps" in text
