"""Tests of image folders."""

import concurrent.futures
import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmjax.data.folder import Folder
from xmjax.data.source import Record, Unreadable, varies
from xmjax.errors import UserError

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (shade, 0, 0)).save(path)


def write(path: Path, lines: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((line if isinstance(line, str) else json.dumps(line, ensure_ascii=False)) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


def folder(root: Path, lines: list, count: int = 2, **options) -> Folder:
    for number in range(count):
        picture(root / f"{number}.png", number)
    write(root / "metadata.jsonl", lines)
    return Folder(str(root), **({"split": "all", "image_size": 4} | options))


def line(number: int, text, **more) -> dict:
    return {"file_name": f"{number}.png", "text": text} | more


def test_reads_records_in_order(tmp_path):
    source = folder(tmp_path, [line(0, "zero"), "", line(1, ["one", " eins ", "", None])], keep_file_bytes=True)
    assert len(source) == 2 and source.name == "folder"
    second, first, again = source.read(np.array([1, 0, 1]))
    assert isinstance(first, Record)
    assert (first.id, second.id, again.id) == ("0.png", "1.png", "1.png")
    assert [caption.text for caption in second.captions] == ["one", "eins"]
    assert [(word.start, word.end) for word in first.captions[0].words] == [(0, 4)]
    assert second.image.shape == (4, 4, 3) and np.all(second.image == (1, 0, 0))
    assert first.file == (tmp_path / "0.png").read_bytes()


def test_many_threads_read_the_same(tmp_path):
    source = folder(tmp_path, [line(number, f"n{number}") for number in range(40)], 40)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for records in pool.map(source.read, [range(40)] * 8):
            assert [record.image[0, 0, 0] for record in records] == list(range(40))
            assert [record.captions[0].text for record in records] == [f"n{number}" for number in range(40)]


def test_languages(tmp_path):
    lines = [line(0, {"en": "pear", "ko": ["배", "배나무"]}), line(1, {"de": "Boot"})]
    source = folder(tmp_path, lines, languages=("ko", "en"))
    assert [(caption.language, caption.text) for caption in source.read([0])[0].captions] == [
        ("en", "pear"),
        ("ko", "배"),
        ("ko", "배나무"),
    ]
    assert len(source) == 1
    assert len(folder(tmp_path, lines)) == 2


def test_lines_of_one_image_are_one_record(tmp_path):
    source = folder(tmp_path, [line(0, "a"), line(1, "b"), line(0, "c")])
    assert [caption.text for caption in source.read([0])[0].captions] == ["a", "c"]


def test_lines_of_one_id_are_one_record_of_several_pictures(tmp_path):
    lines = [
        line(0, "a", key="x", label="front"),
        line(1, "b", key="y", label=""),
        line(2, ["c", "a"], key="x", label="back"),
        line(3, "", key="x", label=""),
        line(0, "e", key="x", label="red"),
    ]
    options = {"id_column": "key", "label_column": "label"}
    source = folder(tmp_path, lines, 4, **options)
    assert len(source) == 2 and varies(source) and source.manifest()["pictures"] == 4
    seen = [source.read([2 * turn, 2 * turn + 1]) for turn in range(7)]
    # Each of a record's texts meets each of its pictures, one without a text of its own too, and nothing of another.
    assert [[record.id for record in records] for records in seen] == [["x", "y"]] * 7
    assert [[caption.text for caption in records[0].captions] for records in seen] == [list("ace")] * 7
    shades = [records[0].image[0, 0, 0] for records in seen]
    assert shades[0] == 0 and sorted(shades[1:4]) == [0, 2, 3] and shades[1:4] == shades[4:7]
    labels = {0: ("front", "red"), 2: ("back",), 3: ()}
    assert all(records[0].labels == labels[shade] for records, shade in zip(seen, shades, strict=True))
    alone = folder(tmp_path, lines[:2], 4, **options)
    assert not varies(alone) and "pictures" not in alone.manifest()


def test_a_picture_may_have_its_text_in_another_language(tmp_path):
    lines = [line(0, {"ko": "배"}, key="x"), line(1, {"en": "ship"}, key="x"), line(2, {"ko": "눈"}, key="y")]
    source = folder(tmp_path, lines, 3, id_column="key", languages=("en",))
    assert len(source) == 1 and {source.read([turn])[0].image[0, 0, 0] for turn in range(3)} == {0, 1}


def test_objects_are_of_the_picture_that_is_shown(tmp_path):
    boxes = [[{"bbox": [x, 0, 6, 10], "category": name}] for x, name in ((0, "left"), (6, "right"))]
    lines = [line(n, "a", key="x", objects=boxes[n], width=12, height=10) for n in range(2)]
    source = folder(tmp_path, lines, id_column="key", regions_column="objects", fit="stretch")
    assert [source.read([turn])[0].regions[0].label for turn in range(3)] in (
        ["left", "right", "left"],
        ["left", "left", "right"],
    )


@pytest.mark.parametrize("column", ["text", "caption", "captions"])
def test_columns_found_by_default(tmp_path, column):
    assert len(folder(tmp_path, [{"file_name": "0.png", column: "a"}])) == 1


def test_named_columns_metadata_and_ids(tmp_path):
    picture(tmp_path / "images" / "a.png")
    write(tmp_path / "list.jsonl", [{"n": 7, "path": "images/a.png", "words": "x", "text": "y"}])
    options = {"metadata": "list.jsonl", "file_column": "path", "text_column": "words", "id_column": "n"}
    (record,) = Folder(str(tmp_path), split="all", image_size=4, **options).read([0])
    assert record.id == "7" and record.captions[0].text == "x"


def test_csv_and_subfolders(tmp_path):
    picture(tmp_path / "b" / "deep" / "0.png")
    picture(tmp_path / "1.png")
    with open(tmp_path / "b" / "metadata.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["file_name", "text"], ["deep/0.png", 'a "red", wide\nboat']])
    write(tmp_path / "metadata.jsonl", [line(1, "top")])
    records = Folder(str(tmp_path), split="all", image_size=4).read([0, 1])
    assert {record.id: record.captions[0].text for record in records} == {
        "b/deep/0.png": 'a "red", wide\nboat',
        "1.png": "top",
    }


def test_split_depends_on_the_id_alone(tmp_path):
    lines = [line(number, "a") for number in range(60)]

    def ids(lines, **options):
        source = folder(tmp_path, lines, 60, **options)
        return {record.id for record in source.read(range(len(source)))}

    train, val = ids(lines, split="train", validation_fraction=0.3), ids(lines, split="val", validation_fraction=0.3)
    assert not train & val and len(train | val) == 60 and 8 <= len(val) <= 28
    assert ids(lines[::-1][:50], split="val", validation_fraction=0.3) <= val
    assert ids(lines, split="val", validation_fraction=0.1) <= val


def test_unreadable_images_are_returned(tmp_path):
    lines = [line(number, "a") for number in range(5)]
    source = folder(tmp_path, lines, 5, keep_file_bytes=True)
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    (tmp_path / "2.png").unlink()
    (tmp_path / "3.png").unlink()
    os.mkfifo(tmp_path / "3.png")
    *bad, good = source.read(range(5))
    assert isinstance(good, Record)
    assert all(isinstance(record, Unreadable) and "\n" not in record.reason for record in bad)
    assert [record.id for record in bad] == ["0.png", "1.png", "2.png", "3.png"]
    assert "empty" in bad[0].reason and "decoded" in bad[1].reason and "missing" in bad[2].reason


def test_unreadable_names_id_and_file(tmp_path):
    source = folder(tmp_path, [line(0, "a", key="k")], id_column="key")
    (tmp_path / "0.png").write_bytes(b"")
    assert source.read([0])[0].id == "k (0.png)"


def test_manifest_changes_with_the_records_only(tmp_path):
    lines = [line(0, {"en": "a"}), line(1, {"en": "b"})]
    first = folder(tmp_path / "a", lines).manifest()
    assert json.loads(json.dumps(first)) == first
    assert folder(tmp_path / "b", lines, name="other").manifest() == first
    changed = [
        folder(tmp_path / "a", lines[::-1]),
        folder(tmp_path / "a", lines, image_size=5),
        folder(tmp_path / "a", lines, languages=("en",)),
    ]
    picture(tmp_path / "b" / "1.png", 200)
    (tmp_path / "b" / "1.png").write_bytes((tmp_path / "b" / "1.png").read_bytes() + b"x")
    changed.append(Folder(str(tmp_path / "b"), split="all", image_size=4))
    manifests = [first, *(source.manifest() for source in changed)]
    assert len({json.dumps(manifest) for manifest in manifests}) == len(manifests)


GOOD = line(0, "a")


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        ([], {}, ["no lines"]),
        ([GOOD, "{not json"], {}, ["metadata.jsonl, line 2", "not JSON"]),
        (["[" * 100_000], {}, ["metadata.jsonl, line 1", "not JSON"]),
        ([GOOD, "[1]"], {}, ["metadata.jsonl, line 2", "object"]),
        ([{"file": "0.png", "text": "a"}], {}, ["'file_name'", "file, text", "--config.data.file_column"]),
        ([{"file_name": "0.png", "note": "a"}], {}, ["'text'", "file_name, note", "--config.data.text_column"]),
        ([GOOD], {"text_column": "words"}, ["'words'", "file_name, text", "--config.data.text_column"]),
        ([GOOD], {"id_column": "key"}, ["'key'", "--config.data.id_column"]),
        ([GOOD | {"key": 1}, line(1, "b")], {"id_column": "key"}, ["line 2", "'key'"]),
        ([GOOD, {"text": "b"}], {}, ["line 2", "file_name"]),
        ([GOOD, line(1, 5)], {}, ["line 2", "int"]),
        ([GOOD, '{"file_name": "1.png", "text": "\\ud83d"}'], {}, ["line 2", "surrogate"]),
        ([GOOD, line(7, "b")], {}, ["1 of 2 images are missing", "7.png", "line 2", "--config.data.root"]),
        ([line(n, "b") for n in range(9)], {}, ["7 of 9", "2.png", "3.png", "4.png", "; ..."]),
        ([GOOD, {"file_name": "../x.png", "text": "b"}], {}, ["line 2", "../x.png", "outside"]),
        ([GOOD, {"file_name": "a/../../x.png", "text": "b"}], {}, ["line 2", "outside"]),
        ([GOOD, {"file_name": "/etc/passwd", "text": "b"}], {}, ["line 2", "outside"]),
        ([line(0, {"de": "a"})], {"languages": ("en",)}, ["en", "there is de", "--config.data.languages"]),
        ([GOOD], {"languages": ("en",)}, ["en", "no language tags"]),
        ([line(0, "")], {}, ["no captions"]),
        ([GOOD], {"split": "test"}, ["'test'", "train, val, all"]),
        (
            [GOOD],
            {"split": "val", "validation_fraction": 0.0},
            ["val split", "empty", "--config.data.validation_fraction"],
        ),
        ([GOOD], {"validation_fraction": 2.0}, ["validation_fraction"]),
        ([GOOD], {"fit": "squash"}, ["'squash'", "crop"]),
        ([GOOD], {"image_size": 0}, ["image_size"]),
        ([GOOD], {"metadata": "list.jsonl"}, ["list.jsonl", "--config.data.metadata"]),
    ],
)
def test_mistakes_are_named(tmp_path, lines, options, words):
    with pytest.raises(UserError) as caught:
        folder(tmp_path, lines, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_mistakes_in_csv_and_encoding(tmp_path):
    picture(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.png,red, wide\n")
    with pytest.raises(UserError, match=r"metadata\.csv, line 2: .*more cells than columns"):
        Folder(str(tmp_path))
    (tmp_path / "metadata.jsonl").write_bytes(b'{"file_name": "0.png"}\n{"text": "\xe9"}\n')
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 2: not UTF-8"):
        Folder(str(tmp_path))


def test_missing_roots(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for root in ("", str(tmp_path / "none"), str(tmp_path / "file")):
        with pytest.raises(UserError, match=r"--config\.data\.root"):
            Folder(root)
    with pytest.raises(UserError, match=r"is empty.*metadata\.jsonl"):
        Folder(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"has no metadata\.jsonl or metadata\.csv"):
        Folder(str(tmp_path))


@pytest.mark.skipif(not (DATA / "photos").is_dir(), reason="../shared/data/photos is not there")
def test_real_photos():
    options = {"metadata": "captions.jsonl", "file_column": "file", "text_column": "captions"}
    source = Folder(str(DATA / "photos"), split="all", image_size=32, **options)
    records = source.read(range(len(source)))
    assert len(records) == 126
    assert all(isinstance(record, Record) and len(record.captions) >= 5 for record in records)


@pytest.mark.skipif(not (DATA / "emoji").is_dir(), reason="../shared/data/emoji is not there")
def test_real_emoji():
    options = {"metadata": "emoji.jsonl", "file_column": "file", "text_column": "names", "languages": ("en", "ko")}
    train, val = (Folder(str(DATA / "emoji"), split=split, image_size=32, **options) for split in ("train", "val"))
    assert len(train) + len(val) == 1581 and len(val) > 100
    records = val.read(range(len(val)))
    assert all(isinstance(record, Record) for record in records)
    assert {caption.language for record in records for caption in record.captions} == {"en", "ko"}
