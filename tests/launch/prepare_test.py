"""End to end: captions of similar pictures, from a trained run to the next one."""

import json

import numpy as np
import pytest
from PIL import Image

from xmjax.lexicon import library as libraries

pytestmark = pytest.mark.slow


def test_similar_pictures_are_written_and_trained_with(smoke, launcher, tmp_path):
    path = tmp_path / "similar.jsonl"
    command = ("similar", f"--workdir={smoke.workdir.path}", f"--output={path}", "--least=-1")
    output = launcher.run(*command, "--limit=50", "--count=3", script="prepare")
    assert "50 of 50 records have 150 captions of others" in output and "name a toy that the picture shows" in output
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"train/{i}" for i in range(50)]
    for line in lines:
        cosines = [other["similarity"] for other in line["similar"]]
        assert cosines == sorted(cosines, reverse=True) and line["id"] not in [o["id"] for o in line["similar"]]
    flags = (f"--config.data.similar={path}", "--config.objectives.fill.thirds=0.5", "--config.objectives.fill.spans=2")
    launcher.run(*launcher.SMOKE, *flags, "--config.steps=2", f"--workdir={tmp_path / 'run'}")


def test_a_library_is_made_of_what_a_run_was_trained_on(smoke, launcher, tmp_path):
    flags = (f"--workdir={smoke.workdir}", f"--output={tmp_path / 'a.safetensors'}", "--limit=40", "--size=8")
    output = launcher.run("library", *flags, f"--sheet={tmp_path / 'a.png'}", script="prepare")
    made = libraries.load(tmp_path / "a.safetensors")
    assert f"{len(made.crops)} crops of {len(made.texts)} texts from 40 of 40 records" in output
    assert all(record.startswith("train/") for record in made.records) and (tmp_path / "a.png").stat().st_size > 1000


def test_a_model_is_trained_with_a_library(smoke, launcher, workdir, tmp_path):
    path, run = tmp_path / "a.safetensors", workdir.path
    make = (f"--workdir={smoke.workdir}", f"--output={path}", "--size=8", "--limit=40")
    launcher.run("library", *make, script="prepare")
    flags = ("--config=configs/semantic.py:smoke", f"--config.model.library.path={path}", f"--workdir={run}")
    launcher.run(*flags, "--config.steps=3", "--config.save_every=2")
    launcher.run(f"--workdir={run}", "--only=objects", script="evaluate")
    state = workdir.state()
    gates = [array for name, array in state.items() if ".params" in name and "_gate" in name]
    assert len(gates) == 2 and all(np.abs(gate).max() > 0 for gate in gates)
    launcher.run("library", *make[:3], "--limit=30", script="prepare")
    output = launcher.run(f"--workdir={run}", "--only=objects", script="evaluate", code=2)
    assert "is not the library that it was trained with" in output and "Traceback" not in output
    output = launcher.run(*flags, "--config.steps=3", "--config.save_every=2", code=2)
    assert "the data changed" in output and "library was" in output


def test_ambiguous_words_of_pictures_are_trained_and_asked(launcher, tmp_path):
    """From a list of words over the table of senses to their scores."""
    data, rng = tmp_path / "data", np.random.default_rng(0)
    data.mkdir()
    lines = []
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(data / f"{i}.png")
        name, keywords = ("pear", ["배", "과일"]) if i % 2 else ("ship", ["배", "선박"])
        lines.append(
            {"n": str(i), "file": f"{i}.png", "names": {"en": name}, "keywords": {"ko": keywords, "en": [name]}}
        )
    (data / "emoji.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    senses = [[str(i) for i in range(k, 30, 2)] for k in (0, 1)]
    (tmp_path / "words.json").write_text(json.dumps({"ko": {"배": senses}}))
    table = tmp_path / "senses.jsonl"
    flags = (f"--input={tmp_path / 'words.json'}", f"--root={data}", "--metadata=emoji.jsonl", "--column=n")
    assert "1 words, 2 senses" in launcher.run("senses", *flags, f"--output={table}", script="prepare")
    run = (
        "--config=configs/senses.py:smoke",
        f"--config.data.root={data}",
        f"--config.data.held_out={table}.held_out.txt",
        f"--config.objectives.sense.dictionary={table}",
        "--config.steps=2",
        f"--workdir={tmp_path / 'run'}",
    )
    output = launcher.run(*run)
    scores = json.loads((tmp_path / "run" / "eval" / "step_2.json").read_text())
    assert "emoji / sense" in output and scores["emoji/sense/n"] == scores["emoji/sense/by_word/배/n"] == 2
    assert scores["emoji/sense/chance"] == 0.5 and scores["emoji/sense/seen/배"] == 1
    assert 0 <= scores["emoji/sense/image_95_low"] <= scores["emoji/sense/image"] <= scores["emoji/sense/image_95_high"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name a command: prepare.py coverage|library|senses|similar|sounds|stamps|videos"),
        (("similar",), "similar needs --workdir"),
        (("similar", "--workdir=/nowhere", "--output=x.jsonl"), "/nowhere is no workdir"),
        (("similar", "--workdir=x", "--output=/nowhere/x.jsonl"), "/nowhere/x.jsonl cannot be written"),
        (("similar", "--workdir=x", "--output=x.jsonl", "--count=0"), "--count=0"),
        (("simular",), "simular"),
        (("stamps", "--output=x", "--captions=y"), "stamps does not read --captions"),
        (("videos", "--input=x"), "videos needs --output"),
        (("videos", "--input=/nowhere", "--output=x"), "--input=/nowhere cannot be read"),
    ],
)
def test_what_cannot_be_prepared_is_said_in_one_line(arguments, message, launcher):
    output = launcher.run(*arguments, script="prepare", code=2)
    assert message in output and output.startswith("error: ") and "Traceback" not in output
