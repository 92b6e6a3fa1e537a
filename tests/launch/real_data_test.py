"""Runs on real image files through the launcher."""

import csv
import json
import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

DATA = Path(__file__).parents[2].parent / "shared" / "data"
TWO_STEPS = (
    "--config=configs/photos.py:smoke",
    "--config.steps=2",
    "--config.batch_size=24",
    "--config.evaluation.names=('retrieval','caption')",
)


def pictures(root: Path, count: int = 40) -> list[tuple[str, list[str]]]:
    """Writes small photos in both formats, of several shapes and modes; returns their names and captions."""
    rng = random.Random(0)
    (root / "images").mkdir(parents=True)
    rows = []
    for i in range(count):
        color = rng.choice(["red", "green", "blue"])
        shape = rng.choice(["circle", "square"])
        image = Image.new("RGB", (rng.randint(40, 90), rng.randint(40, 90)), "white")
        draw = ImageDraw.Draw(image)
        (draw.ellipse if shape == "circle" else draw.rectangle)((8, 8, 30, 30), fill=color)
        name = f"images/{i:02d}.{'jpg' if i % 2 else 'png'}"
        image.convert("L" if i % 5 == 0 else "P" if i % 4 == 0 else "RGB").save(root / name)
        rows.append((name, [f"a {color} {shape}", f"{shape} number {i} in {color}"]))
    return rows


def write_lines(root: Path, rows: list[tuple[str, list[str]]]) -> None:
    text = "".join(json.dumps({"file_name": name, "captions": captions}) + "\n" for name, captions in rows)
    (root / "metadata.jsonl").write_text(text)


LINES = ("--config.data.metadata=", "--config.data.file_column=file_name", "--config.data.text_column=captions")


@pytest.mark.slow
def test_folder_with_an_unreadable_file(launcher, workdir, tmp_path):
    """It is named, counted and replaced, and the run goes on; a second one more than the budget ends it."""
    rows = pictures(tmp_path / "data")
    write_lines(tmp_path / "data", rows)
    everything = [
        *TWO_STEPS,
        *LINES,
        f"--config.data.root={tmp_path / 'data'}",
        "--config.data.validation_fraction=0.2",
    ]
    launcher.run(*everything, f"--workdir={tmp_path / 'whole'}")
    whole = type(workdir)(tmp_path / "whole")
    assert whole.meta(2)["quarantine"] == {"image_text": {}}

    # Batches of 24 of some 32 training records: two steps meet every record but a few of the second epoch.
    import xmjax.data.folder as folder

    train = folder.Folder(str(tmp_path / "data"), text_column="captions", validation_fraction=0.2)
    names = [record.id for record in train.read(range(len(train)))]
    assert len(names) < 48
    bad = tmp_path / "data" / names[3]
    bad.write_bytes(bad.read_bytes()[:20])
    command = [*everything, "--config.data.max_unreadable=0.1", f"--workdir={workdir}"]
    output = launcher.run(*command)
    assert f"1 unreadable of photos, replaced by others: {names[3]}: the image cannot be decoded" in output
    assert list(workdir.meta(2)["quarantine"]["image_text"]) == [names[3]]
    assert all(key.startswith("photos/") for key in workdir.evaluations()["step_2.json"])

    for name in names[4:8]:
        (tmp_path / "data" / name).write_text("not an image")
    command[-1] = f"--workdir={tmp_path / 'beyond'}"
    output = launcher.run(*command, code=2)
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in output and len(errors) == 1
    assert "records of photos cannot be read, the budget is 3" in errors[0]
    assert "config.data.max_unreadable" in errors[0] and "cannot be decoded" in errors[0]


@pytest.mark.slow
def test_an_image_folder_needs_no_settings(launcher, workdir, tmp_path):
    write_lines(tmp_path, pictures(tmp_path))
    output = launcher.run(
        "--config=configs/folder.py:smoke", "--config.steps=2", f"--config.data.root={tmp_path}", f"--workdir={workdir}"
    )
    assert "folder / fill" in output and workdir.evaluations()["step_2.json"]["folder/caption/n"] > 0


@pytest.mark.slow
def test_folder_with_csv(launcher, workdir, tmp_path):
    rows = pictures(tmp_path / "data")
    with (tmp_path / "data" / "metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "sentence"])
        writer.writerows([name, captions[0]] for name, captions in rows)
    launcher.run(
        *TWO_STEPS,
        "--config.data.metadata=metadata.csv",
        "--config.data.file_column=path",
        "--config.data.text_column=sentence",
        "--config.data.name=drawings",
        f"--config.data.root={tmp_path / 'data'}",
        f"--workdir={workdir}",
    )
    assert all(key.startswith("drawings/") for key in workdir.evaluations()["step_2.json"])


@pytest.mark.slow
def test_pictures_with_boxes_learn_all_tasks(launcher, workdir, tmp_path):
    rows = pictures(tmp_path)
    lines = []
    for name, captions in rows:
        box = {"bbox": [8, 8, 22, 22], "category": captions[1].split()[0]}
        lines.append({"file": name, "captions": captions, "width": 90, "height": 90, "boxes": [box]})
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = launcher.run(
        "--config=configs/boxes.py:smoke", "--config.steps=2", f"--config.data.root={tmp_path}", f"--workdir={workdir}"
    )
    scores = workdir.evaluations()["step_2.json"]
    assert "photos / objects" in output and "photos / match" in output
    assert scores["photos/objects/n"] > 0 and scores["photos/mask_predict/n"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "config"),
    [*((name, f"{name}.py:smoke") for name in ("photos", "emoji", "stamps")), ("stamps", "boxes.py:stamps,smoke")],
)
def test_smoke_run(name, config, launcher, workdir):
    if not DATA.is_dir():
        pytest.skip(f"the real data are not at {DATA}")
    output = launcher.run(f"--config=configs/{config}", f"--config.data.root={DATA / name}", f"--workdir={workdir}")
    shown = ("retrieval", "objects") if "boxes" in config else ("retrieval", "caption")
    assert all(f"{name} / {evaluator}" in output for evaluator in shown)
    scores = workdir.evaluations()["step_20.json"]
    assert scores and all(key.startswith(f"{name}/") for key in scores)
    assert scores[f"{name}/retrieval/text_to_image/n"] > 0
    losses = workdir.losses()
    assert losses[20] < losses[5]
