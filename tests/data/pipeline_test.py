"""Tests of the stream of batches: its order, its independence of hosts, unreadable records, static shapes."""

import dataclasses
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from xmjax import vocab
from xmjax.config import Config, to_dict
from xmjax.data.pipeline import Batches, Stream, manifest, open_streams, stable_id
from xmjax.data.source import Caption, Record
from xmjax.data.sources import SOURCES, open_source
from xmjax.data.words import words
from xmjax.errors import UserError
from xmjax.objectives import features, make


class Tones:
    """Frames with their sound: record i is a grey picture and a tone that both follow from i."""

    name = "tones"

    def __len__(self) -> int:
        return 21

    def read(self, indices):
        time = np.arange(160)
        return [
            Record(
                f"tone/{i}",
                image=np.full((32, 32, 3), i, np.uint8),
                audio=(8000 * np.sin(time * (i + 1) / 20)).astype(np.int16),
            )
            for i in indices
        ]

    def manifest(self):
        return {"name": self.name, "size": len(self)}


SOURCES.register("tones")(lambda config, options, split: Tones())


@pytest.fixture(scope="module")
def both(make_config) -> Config:
    """Image-text pairs of the playroom and frame-audio pairs beside them."""
    return make_config({"frame_audio.source": "tones", "batch_size": 8, "steps": 6})


def streams_of(config: Config) -> dict[str, Stream]:
    return open_streams(config, features(make(config)))


def same(a, b) -> None:
    assert a.keys() == b.keys()
    for stream in a:
        assert a[stream].keys() == b[stream].keys()
        for key in a[stream]:
            assert a[stream][key].dtype == b[stream][key].dtype
            np.testing.assert_array_equal(a[stream][key], b[stream][key], f"{stream}/{key}")


def test_a_batch_is_a_function_of_seed_and_step(both):
    whole = slice(0, both.batch_size)
    expected = [Batches(both, streams_of(both), whole).at(step) for step in range(both.steps)]
    for start in (0, 1, 4):
        iterator = Batches(both, streams_of(both), whole).start(start)
        batches = list(iterator)
        iterator.close()
        assert len(batches) == both.steps - start
        for step, batch in enumerate(batches, start):
            same(batch, expected[step])
    assert not np.array_equal(expected[0]["image_text"]["id"], expected[1]["image_text"]["id"])
    other = dataclasses.replace(both, seed=1)
    assert not np.array_equal(
        Batches(other, streams_of(other), whole).at(0)["image_text"]["id"], expected[0]["image_text"]["id"]
    )


def test_a_batch_is_the_same_in_another_process(both):
    """Nothing hangs on Python's hash seed or on what was made before."""
    program = (
        "import sys, json, hashlib; from xmjax import config; from xmjax.data.pipeline import *\n"
        "from xmjax.objectives import features, make\n"
        "c = config.build(json.load(sys.stdin)); s = open_streams(c, features(make(c)))\n"
        "b = Batches(c, s, slice(0, c.batch_size)).at(3)['image_text']\n"
        "print(hashlib.sha256(b''.join(b[k].tobytes() for k in sorted(b))).hexdigest())"
    )
    alone = dataclasses.replace(both, frame_audio=dataclasses.replace(both.frame_audio, source="none"))
    found = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(to_dict(alone)), capture_output=True, text=True, check=True
    )
    batch = Batches(alone, streams_of(alone), slice(0, 8)).at(3)["image_text"]
    assert found.stdout.strip() == hashlib.sha256(b"".join(batch[k].tobytes() for k in sorted(batch))).hexdigest()


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_the_global_batch_does_not_depend_on_the_hosts(both, hosts):
    rows = both.batch_size // hosts
    parts = []
    for host in range(hosts):
        batches = Batches(both, streams_of(both), slice(host * rows, (host + 1) * rows))
        parts.append([batches.at(step) for step in (4, 0, 2)])  # each host in its own stream, out of order
    for number, step in enumerate((4, 0, 2)):
        whole = Batches(both, streams_of(both), slice(0, both.batch_size)).at(step)
        joined = {
            stream: {key: np.concatenate([p[number][stream][key] for p in parts]) for key in whole[stream]}
            for stream in whole
        }
        same(joined, whole)


def test_both_streams_are_in_every_batch(both):
    batch = Batches(both, streams_of(both), slice(0, 8)).at(1)
    assert set(batch) == {"image_text", "frame_audio"}
    assert set(batch["frame_audio"]) == {"id", "image", "picture_id", "audio"}
    assert batch["frame_audio"]["audio"].shape == (8, 320) and batch["frame_audio"]["audio"].dtype == np.uint8
    # What belongs together is together: picture, sound and id of a row are those of one record.
    for image, audio, id in zip(*(batch["frame_audio"][k] for k in ("image", "audio", "id")), strict=True):
        record = Tones().read([int(image[0, 0, 0])])[0]
        np.testing.assert_array_equal(audio.view("<i2"), record.audio)
        assert id == stable_id(record.id)
    assert set(manifest(streams_of(both))) == {"image_text", "frame_audio"}


def test_the_streams_have_orders_of_their_own(both):
    streams = streams_of(both)
    orders = [Stream(both, name, Tones(), ()).indices(range(21)) for name in streams]
    assert orders[0] != orders[1]


def test_every_epoch_is_a_permutation(both):
    stream = Stream(both, "frame_audio", Tones(), ())
    size = len(stream.source)
    epochs = [stream.indices(range(e * size, (e + 1) * size)) for e in range(4)]
    assert all(sorted(epoch) == list(range(size)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert epochs[0] != list(range(size))


def test_an_objective_without_its_stream_is_an_error(both, make_config):
    config = make_config({"data.source": "none", "frame_audio.source": "tones"})
    with pytest.raises(UserError, match=r"reads the stream image_text, but config\.data\.source is 'none'"):
        streams_of(config)


def test_an_unknown_source_is_an_error(make_config):
    config = make_config({"data.source": "playrom"})
    with pytest.raises(UserError, match="unknown data source 'playrom': did you mean 'playroom'"):
        open_source(config, config.data, "train")


def test_what_is_named_twice_is_trained_on_more_and_scored_alike(make_config):
    config = make_config({"data.styles": ("pair", "list", "pair"), "data.questions": ("color", "relation", "relation")})
    train, val = (open_source(config, config.data, split) for split in ("train", "val"))
    assert (train.styles, train.kinds_of_questions) == (config.data.styles, config.data.questions)
    assert (val.styles, val.kinds_of_questions) == (("pair", "list"), ("color", "relation"))


def test_shapes_are_static(both):
    streams = streams_of(both)
    shapes = [
        {
            (s, k): (v.shape, v.dtype)
            for s, rows in Batches(both, streams, slice(0, 8)).at(step).items()
            for k, v in rows.items()
        }
        for step in range(20)
    ]
    assert all(found == shapes[0] for found in shapes)
    found = {key: shapes[0]["image_text", key] for key in ("text", "masked", "spans", "caption", "image")}
    assert found == {
        "text": ((8, 2, 32), np.uint16),
        "masked": ((8, 2, 32), np.uint16),
        "spans": ((8, 2, 1, 17), np.uint16),
        "caption": ((8, 1, 32 + 8 + 3), np.uint16),
        "image": ((8, 32, 32, 3), np.uint8),
    }


@pytest.fixture
def folder(tmp_path, make_config):
    """Function from names of broken files to the config of a folder of 20 pictures."""

    def make_folder(*broken: int, max_unreadable: float = 0.2) -> Config:
        lines = []
        for i in range(20):
            path = tmp_path / f"{i}.png"
            Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
            if i in broken:
                path.write_bytes(path.read_bytes()[:40])
            lines.append(json.dumps({"file_name": path.name, "text": [f"number {i}", f"수 {i}"]}, ensure_ascii=False))
        (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
        return make_config(
            {"data.source": "folder", "data.root": str(tmp_path), "data.validation_fraction": 0.0,
             "data.max_unreadable": max_unreadable, "batch_size": 20}
        )  # fmt: skip

    return make_folder


def test_a_broken_file_is_substituted_and_named(folder):
    sound = Batches(folder(), streams_of(folder()), slice(0, 20)).at(1)["image_text"]
    config = folder(3, 11)
    streams = streams_of(config)
    batch = Batches(config, streams, slice(0, 20)).at(1)["image_text"]
    bad = {stable_id("3.png"), stable_id("11.png")}
    assert sorted(sound["id"]) == sorted(stable_id(f"{i}.png") for i in range(20))
    replaced = np.isin(sound["id"], list(bad))
    assert replaced.sum() == 2 and not bad & set(batch["id"])
    for key in batch:  # all other rows are what they were
        np.testing.assert_array_equal(batch[key][~replaced], sound[key][~replaced])
    for row in np.flatnonzero(replaced):  # the substitutes are whole records
        number = int(batch["image"][row, 0, 0, 0])
        assert batch["id"][row] == stable_id(f"{number}.png")
    reasons = streams["image_text"].quarantine.reasons
    assert {name.rsplit("/")[-1] for name in reasons} == {"3.png", "11.png"} and all(reasons.values())
    # The same substitutes again, in another order of reading and with other hosts.
    again = streams_of(config)
    halves = [Batches(config, again, rows).at(1)["image_text"] for rows in (slice(10, 20), slice(0, 10))]
    for key in batch:
        np.testing.assert_array_equal(np.concatenate([halves[1][key], halves[0][key]]), batch[key])


def test_too_many_broken_files_stop_the_run_and_are_named(folder):
    config = folder(3, 11, max_unreadable=0.05)
    with pytest.raises(UserError) as error:
        Batches(config, streams_of(config), slice(0, 20)).at(0)
    message = str(error.value)
    assert "2 records of folder cannot be read, the budget is 1" in message
    assert "3.png" in message and "11.png" in message and "config.data.max_unreadable" in message


def test_the_iterator_passes_the_error_on(folder):
    config = folder(3, 11, max_unreadable=0.05)
    iterator = Batches(config, streams_of(config), slice(0, 20)).start(0)
    with pytest.raises(UserError, match="the budget is 1"):
        next(iterator)
    iterator.close()


def test_real_captions_are_masked_by_words(folder):
    """English, Korean, Chinese and emoji through the whole pipeline."""
    texts = ["two small dogs run", "작은 개가 뛴다", "一只小狗在跑", "see 👩‍👩‍👧 and 👍🏽 here"]
    config = folder()
    source = open_source(config, config.data, "train")

    class Texts:
        name = "texts"

        def __len__(self):
            return len(source)

        def read(self, indices):
            return [dataclasses.replace(r, captions=tuple(Caption(t) for t in texts)) for r in source.read(indices)]

        def manifest(self):
            return {}

    config = dataclasses.replace(config, data=dataclasses.replace(config.data, captions=4))
    stream = Stream(config, "image_text", Texts(), features(make(config))["image_text"])
    batch, seen = stream.batch(range(20)), set()
    for masked, spans, ids in zip(batch["masked"], batch["spans"], batch["text"], strict=True):
        for row, sequences, text in zip(masked, spans, ids, strict=True):
            data = bytes(text[text < 256].tolist())
            whole = {data[w.start : w.end] for w in words(data.decode())}
            for sequence in sequences[sequences[:, 0] != vocab.PAD]:
                span = bytes(sequence[sequence < 256].tolist())
                assert span in whole
                seen.add(span.decode())
            bytes(row[row < 256].tolist()).decode()
    assert {"dogs", "개가", "一只", "小狗", "在跑", "and"} <= seen, seen


def test_ids_are_stable():
    # Written down once: another value would make positives of old and new data differ.
    assert [int(stable_id(t)) for t in ("", "a", "배", "train/0")] == [634351890, 1431053258, -267056134, -1139084543]
    assert stable_id("\ud800") != stable_id("\ud801")
    assert len({int(stable_id(str(i))) for i in range(10_000)}) == 10_000


def test_a_curriculum_begins_with_another_grade(make_config):
    options = {"data.first_grade": "single", "data.first_share": 0.5, "steps": 4}
    stream = streams_of(make_config(options))["image_text"]
    plain = streams_of(make_config({"steps": 4}))["image_text"]
    size = stream.config.batch_size
    for step in range(4):
        positions = range(step * size, (step + 1) * size)
        toys = [len(record.truth.toys) for record in stream.records(positions)]
        if step < 2:
            assert toys == [1] * size
        else:  # from then on it is the stream that it would have been without
            assert [r.truth for r in stream.records(positions)] == [r.truth for r in plain.records(positions)]
            assert max(toys) > 1


def test_a_grade_may_come_again_every_few_steps(make_config):
    options = {"data.first_grade": "single", "data.first_share": 0.25, "data.first_every": 3, "steps": 8}
    config = make_config(options)
    stream, size = streams_of(config)["image_text"], config.batch_size
    single = [{len(r.truth.toys) for r in stream.records(range(i * size, (i + 1) * size))} == {1} for i in range(8)]
    assert single == [True, True, False, True, False, False, True, False]
    assert single == [config.is_first("image_text", step) for step in range(8)]
    with pytest.raises(UserError, match="first_every"):
        make_config({"data.first_every": 1})
