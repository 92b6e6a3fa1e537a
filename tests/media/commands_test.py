"""Tests of the commands that make data sets of frames with sound, from tiny files to what training reads."""

import json
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.media.conftest import steady, tone, write_video
from xmjax import sharding
from xmjax.data.clips import Clips
from xmjax.data.image_files import falls_in_val
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS
from xmjax.evaluation.videos import file_of, mean_by
from xmjax.media import build, children, commands

RATE = Fraction(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two videos that are alike, one of 25 seconds whose second half is silent, one without sound, and a broken one."""
    root = tmp_path_factory.mktemp("videos")
    (root / "sub").mkdir()
    long = tone(25)
    long[:, 9 * 16_000 :] = 0
    write_video(root / "a.mkv", steady(3, RATE), tone(3))
    write_video(root / "sub" / "long.mkv", steady(25, RATE), long)
    write_video(root / "mute.mkv", steady(1, RATE))
    (root / "sub" / "twin.mkv").write_bytes((root / "a.mkv").read_bytes())
    (root / "broken.mp4").write_bytes(b"\0" * 1000)
    (root / "notes.txt").write_text("no video")
    return root


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory) -> Path:
    """The data set of them."""
    root = tmp_path_factory.mktemp("made")
    (root / "held_out.txt").write_text("sub/*\n")
    texts = [
        {"file": "sub/long.mkv", "text": {"en": ["a grey film", "grey"], "ko": "영화"}},
        {"file": "other", "text": "x"},
    ]
    (root / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts))
    options = {"held_out": str(root / "held_out.txt"), "captions": str(root / "texts.jsonl"), "workers": 1}
    commands.videos(str(folder), str(root / "set"), **options)
    return root / "set"


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_data_set_is_read_by_tfds(made):
    builder = tfds.builder_from_directory(made)
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 1, "val": 1}
    example = builder.as_data_source("val")[0]
    assert (example["id"], example["file"]) == (b"sub/long.mkv@0", b"sub/long.mkv")
    assert [float(t) for t in example["times"]] == [k + 0.5 for k in range(10)]
    assert np.shape(example["frames"][0]) == (24, 32, 3) and len(example["frames"]) == 10
    assert example["audio_start"] == 0 and len(example["audio"]) == 11 * 16_000
    assert example["captions"] == {
        "text": [b"a grey film", b"grey", "영화".encode()], "language": [b"en", b"en", b"ko"],
    }  # fmt: skip


def test_what_is_left_out_is_listed_with_its_reason(made, folder):
    assert [line["file"] for line in lines(made / "quarantine.jsonl")] == ["broken.mp4"]
    found = {line["file"]: line for line in lines(made / "files.jsonl")}
    assert {name: (line["state"], line.get("reason", "")) for name, line in found.items() if name != "broken.mp4"} == {
        "a.mkv": ("kept", ""),
        "mute.mkv": ("dropped", "audio: missing"),
        "sub/long.mkv": ("kept", ""),
        "sub/twin.mkv": ("dropped", "duplicate"),
    }
    assert found["sub/twin.mkv"]["same_as"] == "a.mkv" and found["sub/long.mkv"]["silent_clips"] == 2
    card = json.loads((made / "card.json").read_text())
    assert card["files"] == 5 and card["splits"]["val"]["records"] == 1 and card["still"] == 0
    assert card["dropped"] == {"audio: missing": 1, "duplicate": 1} and sum(card["broken"].values()) == 1
    assert card["command"].startswith(f"python launch/prepare.py videos --input={folder} ")
    assert "| dropped | audio: missing | 1 |" in (made / "card.md").read_text()
    assert not (made / "parts").exists()


def test_it_is_trained_on_and_evaluated(made):
    train, val = (Clips(str(made), split=split, image_size=16, captions=split == "val") for split in ("train", "val"))
    found = val.read([0])[0]
    assert found.image.shape == (16, 16, 3) and round(found.image.mean()) == 27  # the frame shown at 5.5 s
    np.testing.assert_array_equal(found.audio, tone(25)[0, 4 * 16_000 : 7 * 16_000])
    assert [c.text for c in found.captions] == ["a grey film", "grey", "영화"]
    assert train.read([5])[0].id == "a.mkv@0"


def test_the_same_again_is_done_and_others_are_refused(made, folder, capsys, monkeypatch):
    monkeypatch.setattr(build, "run", None)
    root = made.parent
    options = {"held_out": str(root / "held_out.txt"), "captions": str(root / "texts.jsonl"), "workers": 1}
    commands.videos(str(folder), str(made), **options)
    assert "is complete" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"set holds a data set of other files or options .*give another folder"):
        commands.videos(str(folder), str(made), **options, size=100)


def test_what_was_decoded_is_not_decoded_again(folder, tmp_path, capsys, monkeypatch):
    """As after a kill: in the middle of decoding, and in the middle of writing."""
    asked = []

    def dying(jobs, *arguments):
        for count, done in enumerate(run(jobs, *arguments)):
            asked.append(done[0]["id"])
            yield done
            if count == 2:
                raise KeyboardInterrupt

    run, write = build.run, build.write_card
    monkeypatch.setattr(build, "run", dying)
    with pytest.raises(KeyboardInterrupt):
        commands.videos(str(folder), str(tmp_path / "set"), workers=1, validation_fraction=0)
    monkeypatch.setattr(
        build, "run", lambda jobs, *rest: (asked.append(j["id"]) or (j, o) for j, o in run(jobs, *rest))
    )
    monkeypatch.setattr(build, "write_card", None)
    with pytest.raises(TypeError):
        commands.videos(str(folder), str(tmp_path / "set"), workers=1, validation_fraction=0)
    assert "3 of 5 files were decoded before" in capsys.readouterr().out
    assert len(asked) == 5 or sorted(set(asked)) == sorted(asked)
    monkeypatch.setattr(build, "run", lambda jobs, *rest: iter(jobs))
    monkeypatch.setattr(build, "write_card", write)
    commands.videos(str(folder), str(tmp_path / "set"), workers=1, validation_fraction=0)
    assert "5 of 5 files were decoded before" in capsys.readouterr().out
    assert len(Clips(str(tmp_path / "set"))) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.doc").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        commands.videos(str(folder), str(tmp_path / "other"))


def test_sounds_with_pictures(tmp_path, folder):
    for number, color in enumerate(["red", "lime"]):
        Image.new("RGB", (30, 20), color).save(tmp_path / f"{number}.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    given = [
        {"sound": str(folder / "a.mkv"), "image": "0.png", "captions": ["a tone"], "id": "one"},
        {"sound": str(folder / "sub" / "long.mkv"), "image": "1.png"},
        {"sound": str(folder / "mute.mkv"), "image": "1.png"},
        {"sound": str(folder / "a.mkv"), "image": "bad.png"},
    ]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(line) + "\n" for line in given))
    commands.sounds(str(tmp_path / "all.jsonl"), str(tmp_path), str(tmp_path / "set"), workers=1, validation_fraction=0)
    source = Clips(str(tmp_path / "set"), image_size=8, samples=10 * 16_000)
    by_id = {record.id: record for record in source.read([0, 1])}
    assert set(by_id) == {"one", given[1]["sound"]}
    assert by_id["one"].image[4, 4].tolist() == pytest.approx([254, 0, 0], abs=3)
    assert by_id["one"].audio.any()
    broken = lines(tmp_path / "set" / "quarantine.jsonl")
    assert len(broken) == 1 and "the picture cannot be decoded: not an image" in broken[0]["reason"]


def test_stamps_with_sounds(tmp_path, folder):
    """As Debian installs them; the same stamps are held out as without sounds."""
    root = tmp_path / "stamps"
    (root / "animals").mkdir(parents=True)
    for name in ("bird", "cat", "dog", "frog"):
        Image.new("RGBA", (6, 4), (0, 200, 0, 255)).save(root / "animals" / f"{name}.png")
        (root / "animals" / f"{name}.txt").write_text(f"A {name}.\nko.utf8=동물\n", "utf-8")
        if name != "dog":
            os.link(folder / "a.mkv", root / "animals" / f"{name}.ogg")
    os.link(folder / "a.mkv", root / "animals" / "dog_desc.ogg")
    os.link(folder / "a.mkv", root / "animals" / "dog_desc_pt_BR.wav")
    options = {"root": str(root), "workers": 1, "validation_fraction": 0.5}
    commands.stamps(str(tmp_path / "set"), spoken=True, **options)
    found = {}
    for split in ("train", "val"):
        for record in Clips(str(tmp_path / "set"), split=split, image_size=8, captions=True).read(range(10))[:10]:
            found[record.id] = split
            assert record.captions[1].text == "동물"
    stems = {
        f"animals/{name}": "val" if falls_in_val(f"animals/{name}", 0.5) else "train"
        for name in ("bird", "cat", "dog", "frog")
    }
    expected = {stem: split for stem, split in stems.items() if stem != "animals/dog"}
    expected |= {f"animals/dog#{language}": stems["animals/dog"] for language in ("en", "pt_BR")}
    assert found == expected


def test_mistakes_are_named(folder, tmp_path):
    out = str(tmp_path / "out")
    (tmp_path / "list.txt").write_text("absent.mp4\n")
    (tmp_path / "pattern.txt").write_text("b*\nzebra*\n")
    (tmp_path / "texts.jsonl").write_text('{"file": "nothing", "text": "x"}\n')
    (tmp_path / "sounds.jsonl").write_text('{"sound": "a.wav"}\n')
    for call, words in [
        (lambda: commands.videos(str(tmp_path / "none"), out), ["--input", "cannot be read"]),
        (lambda: commands.videos(str(folder), out, timeout=0), ["--timeout=0 must be at least 1"]),
        (lambda: commands.videos(str(folder), out, validation_fraction=2), ["--validation_fraction=2"]),
        (lambda: commands.videos(str(folder), out, held_out=str(tmp_path / "pattern.txt")), ["'zebra*'", "mend"]),
        (lambda: commands.videos(str(folder), out, held_out="none.txt"), ["--held_out=none.txt cannot be read"]),
        (lambda: commands.videos(str(folder), out, captions=str(tmp_path / "texts.jsonl")), ["names no file of"]),
        (lambda: commands.videos(str(tmp_path / "list.txt"), out, workers=1), ["none of 1 files", "1: absent.mp4 is"]),
        (lambda: commands.sounds(str(tmp_path / "sounds.jsonl"), out, out), ["line 1", '"image" names no file']),
        (lambda: commands.stamps(out, root=str(tmp_path)), ["no stamps in"]),
    ]:  # fmt: skip
        with pytest.raises(UserError) as caught:
            call()
        assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value


def test_the_missing_extra_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(children, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'needs the package av: pip install -e "\.\[media\]"'):
        commands.videos(str(folder), str(tmp_path / "set"))


def test_a_list_that_is_searched_stays_whole(folder, tmp_path, make_sound_config):
    texts = [{"file": name, "text": f"a film {i}"} for i, name in enumerate(("a.mkv", "mute.mkv", "sub/twin.mkv"))]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in texts))
    root = tmp_path / "set"
    chosen = {"captions": str(tmp_path / "texts.jsonl"), "workers": 1, "validation_fraction": 1.0, "keep_silent": True}
    commands.videos(str(folder), str(root), **chosen)
    found = {line["file"]: line for line in lines(root / "files.jsonl")}
    assert [name for name, line in found.items() if line["state"] == "kept"] == [
        "a.mkv", "mute.mkv", "sub/long.mkv", "sub/twin.mkv"
    ]  # fmt: skip
    assert found["sub/long.mkv"]["records"] == 3 and found["broken.mp4"]["state"] == "broken"
    mute = next(r for r in Clips(str(root), split="val", samples=800).read(range(6)) if r.id.startswith("mute"))
    assert len(mute.audio) == 800 and not mute.audio.any()

    config = make_sound_config({
        "frame_audio.source": "clips", "frame_audio.root": str(root), "data.languages": ("en",),  # texts have none
        "evaluation.audio_share": 0.25, "evaluation.samples": 99, "evaluation.batch_size": 8,
    })  # fmt: skip
    evaluator = EVALUATORS["videos"](config, sharding.make_mesh(config.mesh), [])
    assert evaluator.files == ["a.mkv", "mute.mkv", "sub/twin.mkv"]  # the others have no text
    # Vectors are planted: every text is nearest to its own video's frames, and to another's sound.
    names = [file_of(record.id) for record in evaluator.records]
    own = np.eye(3, dtype=np.float32)[[evaluator.files.index(name) for name in names]]
    evaluator.read = lambda params, text: np.eye(3, dtype=np.float32)
    evaluator.show = lambda params, image, audio: [own, np.roll(own, 1, 1)]
    scores = evaluator(None).scores
    assert scores["retrieval/text_to_video/R@1"] == scores["retrieval/text_to_video+audio/R@1"] == 1
    assert scores["retrieval/text_to_video/R@1/random"] == pytest.approx(1 / 3)
    assert scores["retrieval/text_to_video/n"] == 3
    evaluator.audio_share = 0.75
    scores = evaluator(None).scores  # what has no sound is found by its picture
    assert scores["retrieval/text_to_video+audio/R@1"] == pytest.approx(2 / 3)
    assert scores["retrieval/text_to_video+audio/silent"] == 1


def test_pieces_of_a_video_are_one_item():
    assert [file_of(name) for name in ("a@b.mp4@20", "a.mp4@0", "rain#ko", "at@home")] == [
        "a@b.mp4", "a.mp4", "rain#ko", "at@home"
    ]  # fmt: skip
    rows = mean_by(np.array([[3.0, 0], [0, 4], [0, 2]], np.float32), np.array([0, 0, 1]), 2)
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 1]])
