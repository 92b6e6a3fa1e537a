"""Tests of search: an index of a folder, what is nearest, queries that add and subtract, and what goes wrong."""

import io
import sys
import wave
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from xmjax.data import playroom
from xmjax.errors import UserError
from xmjax.media import children
from xmjax.media import listen as listen_module
from xmjax.model_api import Model
from xmjax.objectives import options
from xmjax.predict import COMMANDS
from xmjax.search import index_folder, load_index, query
from xmjax.training.step import make_model

RECORDS = playroom.Playroom("val", seconds=0.25).read(range(4))


def wav(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


@pytest.fixture(scope="module")
def model(make_sound_config) -> Model:
    chosen = {n: options(n) for n in ("contrast", "sound", "locate")}
    config = make_sound_config({"objectives": chosen, "model.image.patch": 8, "model.text.max_bytes": 64})
    params = jax.jit(lambda: make_model(config).init(jax.random.key(3), method="initialise")["params"])()
    return Model(config, jax.tree.map(lambda x: 2 * x, params))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, sounds, a text file of two lines, and a picture that is none."""
    path = tmp_path_factory.mktemp("folder")
    for i, record in enumerate(RECORDS):
        Image.fromarray(record.image).save(path / f"{i}.png")
        (path / f"{i}.wav").write_bytes(wav(record.audio))
    (path / "words.txt").write_text("a red cup\n\na blue hat\n")
    (path / "broken.png").write_bytes(b"no picture")
    (path / "broken.wav").write_bytes(b"no sound")
    (path / "ignored.csv").write_text("1,2")
    return path


@pytest.fixture(scope="module")
def index(model, folder):
    pytest.importorskip("av")
    return index_folder(model, folder)


def test_everything_that_the_model_reads_is_indexed(index, model):
    assert dict(zip(index.names, index.modalities, strict=True)) == {
        **{f"{i}.png": "image" for i in range(4)},
        **{f"{i}.wav": "audio" for i in range(4)},
        "a red cup": "text",
        "a blue hat": "text",
    }
    assert sorted(index.unreadable) == ["broken.png", "broken.wav"]
    assert "cannot be decoded" in index.unreadable["broken.png"] and "Invalid data" in index.unreadable["broken.wav"]
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-5)
    heard = model.embed(audio=[r.audio for r in RECORDS])
    np.testing.assert_allclose(index.vectors[[index.names.index(f"{i}.wav") for i in range(4)]], heard, atol=1e-5)


def test_a_sound_that_ends_its_decoder_costs_nothing_else(model, folder, monkeypatch):
    """A child that dies of one file, and answers for the others."""
    pytest.importorskip("av")
    dying = "import os, sys\nfrom xmjax.media import decode\nwhole = decode.outcome\n"
    dying += "decode.outcome = lambda job: os.abort() if '2.wav' in job['path'] else whole(job)\ndecode.main()"
    monkeypatch.setattr(listen_module, "run", partial(children.run, command=(sys.executable, "-c", dying)))
    found = index_folder(model, folder)
    assert "died of signal 6" in found.unreadable["2.wav"]
    heard = [name for name, modality in zip(found.names, found.modalities, strict=True) if modality == "audio"]
    assert heard == ["0.wav", "1.wav", "3.wav"]


def test_what_is_asked_is_nearest_to_itself_and_combinations_to_their_sum(index, model):
    image = query(model, [(1, "image", RECORDS[2].image)])
    assert index.nearest(image)[0].name == "2.png" and index.nearest(image)[0].score == pytest.approx(1, abs=1e-5)
    scores = [hit.score for hit in index.nearest(image, 10)]
    assert len(scores) == 10 and scores == sorted(scores, reverse=True)
    assert {hit.modality for hit in index.nearest(image, 10, "audio")} == {"audio"}
    assert "2.png" not in {hit.name for hit in index.nearest(image, 10, without=["2.png"])}
    parts = [(1, "image", RECORDS[0].image), (-1, "text", "a red cup"), (1, "audio", RECORDS[1].audio)]
    embedded = model.embed(image=RECORDS[0].image) - model.embed("a red cup") + model.embed(audio=RECORDS[1].audio)
    np.testing.assert_allclose(query(model, parts), embedded[0], atol=1e-5)


def test_a_model_retrieves_from_a_folder(index, model, folder, tmp_path):
    index.save(tmp_path / "a.npz")
    asked = {"image": RECORDS[0].image, "text": "a red cup"}
    hits = model.retrieve(asked, index, top=3, of="image")
    expected = query(model, [(1, "image", asked["image"]), (1, "text", asked["text"])])
    assert hits == index.nearest(expected, 3, "image")
    assert model.retrieve(asked, tmp_path / "a.npz", 3, "image") == hits
    assert model.index(tmp_path / "a.npz") is model.index(tmp_path / "a.npz")
    # What is asked by a path or as a text of the index is no answer.
    own = model.retrieve([(1, "image", folder / "1.png"), (-1, "text", "a blue hat")], index, top=20)
    assert {"1.png", "a blue hat"}.isdisjoint(hit.name for hit in own) and len(own) == len(index.names) - 2
    assert model.make_index(folder).names == index.names


@pytest.mark.parametrize("text", ["노" * 90, "~nobody sings", "a\0b"])
def test_a_text_that_is_no_path_is_a_text(text, index):
    assert index.name_of(text) == text


def test_vectors_of_other_layers_are_of_another_model(model):
    changed = {**model._params, "unimodal_image": jax.tree.map(lambda x: x + 1, model._params["unimodal_image"])}
    assert Model(model.config, changed).fingerprint() != model.fingerprint()
    decoder = {**model._params, "decoder": jax.tree.map(lambda x: x + 1, model._params["decoder"])}
    assert Model(model.config, decoder).fingerprint() == model.fingerprint()


def test_an_index_comes_back_and_belongs_to_its_model(index, model, tmp_path):
    index.save(tmp_path / "a.npz")
    again = load_index(tmp_path / "a.npz", model)
    assert again.names == index.names and again.root == index.root
    np.testing.assert_array_equal(again.vectors, index.vectors)
    other = Model(model.config, jax.tree.map(lambda x: x + 1, model._params))
    with pytest.raises(UserError, match="another model"):
        load_index(tmp_path / "a.npz", other)
    (tmp_path / "b.npz").write_bytes(b"no index")
    for path in ("b.npz", "none.npz"):
        with pytest.raises(UserError, match=r"is no index.*predict.py index"):
            load_index(tmp_path / path, model)
    with pytest.raises(UserError, match="cannot be written"):
        index.save(tmp_path / "no" / "a.npz")


def test_commands(index, model, folder, tmp_path):
    path = str(tmp_path / "index.npz")
    made = COMMANDS["index"](model, str(folder), path)
    assert made.values["items"] == {"image": 4, "audio": 4, "text": 2} and "left out" in made.lines[-1]
    sheet = tmp_path / "sheet.png"
    found = COMMANDS["retrieve"](model, path, image=str(folder / "1.png"), top=3, picture=str(sheet))
    names = [item["name"] for item in found.values["items"]]
    assert len(names) == 3 and "1.png" not in names  # a query does not find itself
    with Image.open(sheet) as drawn:
        assert drawn.size[0] > 100
    found = COMMANDS["retrieve"](model, path, text="a red cup", minus_text="a hat", of="audio", top=2)
    assert [item["modality"] for item in found.values["items"]] == ["audio"] * 2
    heat = tmp_path / "heat.png"
    where = COMMANDS["localize"](model, str(folder / "0.png"), str(folder / "0.wav"), str(heat))
    y0, x0, y1, x1 = where.values["box"]
    assert 0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1
    with Image.open(heat) as drawn:
        assert drawn.size[0] > 100


def test_what_cannot_work_is_one_line(index, model, tmp_path):
    for call, words in (
        (lambda: index_folder(model, tmp_path / "none"), "is no folder"),
        (lambda: index_folder(model, tmp_path), "nothing in"),
        (lambda: index.nearest(index.vectors[0], 0), "at least 1"),
        (lambda: index.nearest(index.vectors[0], of="smell"), "it has audio, image, text"),
        (lambda: query(model, []), "nothing is asked"),
        (lambda: model.embed(audio=np.zeros(9)), "int16"),
        (lambda: model.embed(audio=str(tmp_path / "none.wav")), "does not exist"),
        (lambda: model.embed(audio=b"no sound"), "cannot be decoded"),
        (lambda: model.embed("a", audio=np.zeros(9, np.int16)), "one of them"),
    ):
        with pytest.raises(UserError, match=words):
            call()


def test_the_model_hears_the_middle_of_a_sound(model):
    long = np.concatenate([np.zeros(3000, np.int16), RECORDS[0].audio, np.zeros(3000, np.int16)])
    np.testing.assert_allclose(model.embed(audio=long), model.embed(audio=RECORDS[0].audio), atol=1e-6)
