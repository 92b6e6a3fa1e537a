"""A trained model asked from the shell and from Python."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import xmjax
from xmjax import predict
from xmjax.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a picture."""
    path = tmp_path_factory.mktemp("questions")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path / "그림.png")
    return path


@pytest.fixture(scope="module")
def model(smoke):
    """The smoke run's model."""
    return xmjax.load(smoke.workdir.path)


def test_load(smoke, model, folder):
    assert model.step == 12 and xmjax.load(str(smoke.workdir), 8).step == 8
    assert model.embed(image=folder / "그림.png").shape == (1, 32)
    for path, step, message in ((folder, None, "no config.json"), (smoke.workdir.path, 9, "no checkpoint of step 9")):
        with pytest.raises(UserError, match=message):
            xmjax.load(path, step)


def test_one_question_from_the_shell(smoke, model, launcher, folder):
    picture = f"--image={folder / '그림.png'}"
    flags = [f"--workdir={smoke.workdir}", "fill", picture, "--text=a red bat", "--word=bat", "--candidates=hat,배,cup"]
    found = model.fill("a red ___", folder / "그림.png", candidates=["hat", "배", "cup"])
    lines = launcher.run(*flags, script="predict").splitlines()
    assert lines == [f"{share:6.1%}  {word}" for word, share in found]


def test_a_file_of_questions(smoke, model, launcher, folder):
    """Answers stand in the order of the questions; what is wrong is named by its line, and the rest is answered."""
    lines = [
        '{"id": 7, "text": "a ___ hat", "image": "그림.png", "candidates": ["red", "파란"]}',
        '{"text": "a ___ and a ___"}',
        "",
        '{"text": "a ___", ',
        "[1]",
        '{"text": 3}',
        '{"text": "a ___", "lang": "en"}',
        '{"image": "그림.png"}',
        '{"text": "a ___", "image": "missing.png"}',
        '{"text": "a ___", "candidates": ["a", 3]}',
        '{"text": "a ___", "top": true}',
        '{"text": "a bat", "word": "bat", "candidates": ["red", "파란"], "image": null}',
    ]
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = [f"--input={folder / 'questions.jsonl'}", f"--output={folder / 'answers.jsonl'}"]
    output = launcher.run(f"--workdir={smoke.workdir}", "fill", *files, script="predict", code=1)
    answers = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(answers) == 11  # blank lines are none
    assert [("error" in answer) for answer in answers] == [False] + [True] * 9 + [False]
    assert answers[0]["id"] == 7 and {w["word"] for w in answers[0]["words"]} == {"red", "파란"}
    assert sum(w["probability"] for w in answers[0]["words"]) == pytest.approx(1, abs=1e-5)
    assert answers[1]["text"] == "a ___ and a ___" and answers[-1]["words"]
    reported = output.splitlines()
    assert reported[-1] == "error: 9 of 11 lines failed; mend them and ask again"
    expected = [
        (2, "2 masked places"),
        (4, "not JSON"),
        (5, "not a JSON object"),
        (6, "text=3 must be a string"),
        (7, "fill does not read lang"),
        (8, "fill needs text"),
        (9, "missing.png does not exist"),
        (10, "must be a list of strings"),
        (11, "top=True must be a whole number"),
    ]
    for line, (number, text) in zip(reported[:-1], expected, strict=True):
        assert line.startswith(f"error: {folder / 'questions.jsonl'}, line {number}: ") and text in line, line


def test_labels_from_the_shell(smoke, model, launcher, folder):
    asked = [f"--workdir={smoke.workdir}", "classify", f"--image={folder / '그림.png'}", "--labels=red bat,파란 컵"]
    found = model.classify(folder / "그림.png", ["red bat", "파란 컵"])
    lines = launcher.run(*asked, script="predict").splitlines()
    assert lines == [f"{share:6.1%}  {label}" for label, share in found]
    wrong = launcher.run(*asked, "--templates=b", script="predict", code=2).splitlines()
    assert wrong[-1].startswith("error: template 'b' has no {}")


def test_every_command_answers(model, folder):
    picture = str(folder / "그림.png")
    asked = {
        "fill": {"text": "a ___", "image": picture},
        "caption": {"image": picture, "lang": "ko", "method": "sample", "n": 2},
        "embed": {"text": "a bat"},
        "objects": {"image": picture},
        "classify": {"image": picture, "labels": ["red bat", "파란 컵"], "templates": ["a {}"]},
        "tags": {"image": picture, "top": 3},
    }
    # Of runs that have trained more: see meaning_test.py, search_test.py and semantic_test.py.
    further = {"answer", "sense", "associate", "localize", "index", "retrieve", "match"}
    assert asked.keys() == predict.COMMANDS.items.keys() - further
    for name, given in asked.items():
        predict._check(name, given)
        answer = predict.COMMANDS[name](model, **given)
        json.dump(answer.values, io.StringIO())
        assert answer.lines
    assert len(predict.caption(model, picture).lines) == 1
    assert np.linalg.norm(predict.embed(model, "a bat").values["vector"]) == pytest.approx(1, abs=1e-4)
