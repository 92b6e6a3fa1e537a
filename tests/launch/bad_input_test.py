"""Bad input ends in one clear line with the remedy, and exit status 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SMOKE = "--config=configs/base.py:smoke"
PHOTOS = "--config=configs/photos.py:smoke"


def check(output: str, expected: tuple[str, ...]) -> None:
    """One line that begins with "error: " and says all that is expected of it."""
    lines = [line for line in output.splitlines() if line]
    assert "Traceback" not in output
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], output
    for text in expected:
        assert text in lines[-1], f"{text!r} is not in: {lines[-1]}"


FORKS = """
import json, os, runpy, sys
import xmjax.cli, xmjax.inference, xmjax.predict, xmjax.report, xmjax.training.loop
import xmjax.data.folder, xmjax.data.tfds_source

for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if child == 0:
        output = os.open(order["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = order["command"]
        runpy.run_path(sys.argv[0], run_name="__main__")
        sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs launch scripts in children that have imported everything, on two devices: a tenth of the time of a process of
their own."""


@pytest.fixture(scope="module")
def forks():
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "2"}
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], cwd=ROOT, env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        yield process
        process.stdin.close()


@pytest.fixture
def fails(forks, tmp_path):
    """Function that runs a launch script and checks how it ends."""

    def run(arguments: list[str], expected: tuple[str, ...], script: str = "pretrain") -> None:
        if script == "pretrain" and not any(a.startswith("--workdir") for a in arguments):
            arguments = [*arguments, f"--workdir={tmp_path / 'run'}"]
        order = {"command": [f"launch/{script}.py", *arguments], "output": str(tmp_path / "output.txt")}
        forks.stdin.write(json.dumps(order) + "\n")
        forks.stdin.flush()
        code = int(forks.stdout.readline())
        output = (tmp_path / "output.txt").read_text()
        check(output, expected)
        assert code == 2, output

    return run


FLAGS = {
    "no config": ([], ("--config", "configs/")),
    "config that does not exist": (["--config=configs/bass.py"], ("configs/bass.py", "does not exist", "configs/")),
    "config in no folder": (["--config=nowhere/base.py:smoke"], ("nowhere/base.py", "does not exist")),
    "unknown mode": (["--config=configs/base.py:smok"], ("'smok'", "smoke", "size=", "tiny")),
    "unknown size": (["--config=configs/base.py:size=giant"], ("size=giant", "huge")),
    "a bucket for a workdir": ([SMOKE, "--workdir=gs://bucket/run"], ("gs:/bucket/run", "give a directory")),
    "unknown flag": ([SMOKE, "--stepz=3"], ("stepz", "--helpshort")),
    "positional argument": ([SMOKE, "steps=3"], ("'steps=3'", "--name=value")),
    "unknown field": ([SMOKE, "--config.stepz=3"], ("config.stepz", "did you mean 'steps'?")),
    "unknown group": ([SMOKE, "--config.modle.width=1"], ("config.modle.width", "did you mean 'model'?")),
    "unknown objective": ([SMOKE, "--config.objectives.nosuch.weight=1"], ("unknown config field", "nosuch", "fill")),
    "nothing near": ([SMOKE, "--config.workdir=3"], ("unknown config field config.workdir", "known: ", "batch_size")),
    "within a value": ([SMOKE, "--config.steps.more=3"], ("config.steps.more", "within a single value")),
    "unknown nested field": ([SMOKE, "--config.optimizer.learningrate=1"], ("learningrate", "learning_rate")),
    "wrong type": ([SMOKE, "--config.steps=many"], ("'many' is not of type int", "write it like config.steps=20")),
    "a word for a fraction": ([SMOKE, "--config.optimizer.clip=a"], ("type float", "like config.optimizer.clip=1.0")),
    "a number for a yes": ([SMOKE, "--config.model.association=5"], ("type bool", "like config.model.association=Fa")),
    "a value for a group": ([SMOKE, "--config.model=3"], ("config.model=3: it is a group", "such as config.model.")),
    "wrong type of a tuple": ([SMOKE, "--config.data.languages=3"], ("languages must be of type str, got 3; write",)),
    "a fraction for a number": ([SMOKE, "--config.batch_size=1.5"], ("'1.5' is not of type int", "batch_size=16")),
    "attention of GPUs": ([SMOKE, "--config.model.attention=cudnn"], ("attention=cudnn", "choose auto or xla")),
    "a mode for a sweep": (["--config=configs/sweeps/base.py:smoke"], ("sweeps/base.py takes no mode behind a colon",)),
    "a share above one": ([SMOKE, "--config.objectives.fill.rate=5.0"], ("fill.rate=5.0", "from 0 to 1")),
    "a negative weight": ([SMOKE, "--config.objectives.fill.weight=-1.0"], ("fill.weight=-1.0", "negative")),
    "an unknown modality": ([SMOKE, "--config.objectives.caption.modality=sound"], ("'sound'", "image, text")),
    "half a point of a schedule": ([SMOKE, "--config.objectives.fill.schedule=((3.0,),)"], ("fill.schedule", "factor")),
    "no buckets": ([SMOKE, "--config.model.text.buckets=0"], ("config.model.text.buckets=0", "at least 1")),
    "an odd kernel": ([SMOKE, "--config.model.image.file_kernel=3"], ("file_kernel=3", "even")),
    "an average that never moves": ([SMOKE, "--config.optimizer.ema=1.0"], ("optimizer.ema=1.0", "below 1")),
    "negative steps": ([SMOKE, "--config.steps=-3"], ("config.steps=-3", "at least 1")),
    "unknown source": ([SMOKE, "--config.data.source=playrom"], ("'playrom'", "did you mean 'playroom'")),
    "unknown evaluator": ([SMOKE, "--config.evaluation.names=('fil',)"], ("'fil'", "did you mean 'fill'")),
    "unknown optimizer": ([SMOKE, "--config.optimizer.name=sgd"], ("optimizer.name", "'sgd'", "adamw, muon")),
    "unknown embedder": ([SMOKE, "--config.model.text.embedder=word"], ("unknown embedder 'text/word'", "'text/")),
    "unknown grade": ([SMOKE, "--config.data.grade=hard"], ("hard", "cluttered")),
    "unknown language": ([SMOKE, "--config.data.languages=('fr',)"], ("fr", "ko")),
    "mesh of other devices": ([SMOKE, "--config.mesh.data=3"], ("data=3", "devices", "-1")),
    "mesh of fewer devices": ([SMOKE, "--config.mesh.data=1"], ("data=1 fsdp=1 tensor=1", "2 devices", "-1")),
    "batch that does not divide": (
        [SMOKE, "--config.batch_size=15"],
        ("config.batch_size=15", "does not divide", "use a multiple of 2"),
    ),
    "heads that do not divide over the mesh": (
        [SMOKE, "--config.mesh.data=1", "--config.mesh.tensor=2", "--config.model.heads=1"],
        ("attention_key", "does not divide", "'tensor'", "config.mesh.tensor"),
    ),
    "heads that do not divide": ([SMOKE, "--config.model.heads=3"], ("config.model.heads=3", "width")),
    "patch that does not divide": ([SMOKE, "--config.model.image.patch=7"], ("config.model.image.patch=7", "32")),
    "held out of the playroom": ([SMOKE, "--config.data.held_out=ids.txt"], ("data.held_out='ids.txt'", "of a folder")),
    "no stream": ([SMOKE, "--config.data.source=none"], ("every stream is left out", "choose a source")),
    "no root": ([PHOTOS], ("--config.data.root",)),
    "root that does not exist": ([PHOTOS, "--config.data.root=/nowhere"], ("/nowhere", "does not exist", "pass")),
    "no data set": ([SMOKE, "--config.data.source=tfds"], ("--config.data.builder=NAME",)),
    "unknown data set": (
        [SMOKE, "--config.data.source=tfds", "--config.data.builder=nosuchset", "--config.data.root=/tmp"],
        ("nosuchset", "/tmp", "tfds build"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), FLAGS.values(), ids=FLAGS.keys())
def test_flag(arguments, expected, fails):
    fails(arguments, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def get_config(:\n", ("broken.py", "line 1", "syntax")),
        ("import no_such_module\n", ("no_such_module",)),
        ("x = 1\n", ("broken.py", "get_config")),
        ("def get_config():\n    return colour\n", ("colour", "broken.py")),
    ],
    ids=["syntax", "import", "no get_config", "name"],
)
def test_broken_config_file(text, expected, fails, tmp_path):
    (tmp_path / "broken.py").write_text(text)
    fails([f"--config={tmp_path / 'broken.py'}"], expected)


def folder(root: Path, count: int = 4) -> Path:
    """A folder of pictures with their captions."""
    root.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (40, 40), (i * 20, 0, 0)).save(root / f"{i}.png")
    lines = [json.dumps({"file": f"{i}.png", "captions": [f"picture number {i}"]}) + "\n" for i in range(count)]
    (root / "captions.jsonl").write_text("".join(lines))
    return root


def test_folder(fails, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    fails([PHOTOS, f"--config.data.root={empty}"], (str(empty), "is empty", "captions.jsonl"))

    missing = folder(tmp_path / "missing")
    (missing / "2.png").unlink()
    fails([PHOTOS, f"--config.data.root={missing}"], ("2.png", "captions.jsonl, line 3", "remove their lines"))

    column = folder(tmp_path / "column")
    fails(
        [PHOTOS, f"--config.data.root={column}", "--config.data.text_column=text"],
        ("no column 'text'", "captions", "--config.data.text_column=NAME"),
    )

    torn = folder(tmp_path / "torn")
    with (torn / "captions.jsonl").open("a") as file:
        file.write('{"file": "4.pn')
    fails([PHOTOS, f"--config.data.root={torn}"], ("captions.jsonl, line 5", "not JSON", "mend or remove"))

    single = folder(tmp_path / "file") / "0.png"
    fails([PHOTOS, f"--config.data.root={single}"], ("0.png", "is not a folder"))


def test_workdir(fails, tmp_path):
    (tmp_path / "file").write_text("")
    fails([SMOKE, f"--workdir={tmp_path / 'file'}"], (str(tmp_path / "file"), "--workdir"))
    fails([SMOKE, f"--workdir={tmp_path / 'file' / 'run'}"], (str(tmp_path / "file"), "--workdir"))
    fails([PHOTOS, "--config.data.root=/nowhere", f"--workdir={tmp_path / 'refused'}"], ("/nowhere",))
    assert not (tmp_path / "refused").exists()


def test_evaluate_without_a_run(fails, tmp_path):
    fails([], ("--workdir",), "evaluate")
    fails([f"--workdir={tmp_path / 'none'}"], (str(tmp_path / "none"), "no config.json", "--workdir"), "evaluate")
    fails([f"--workdir={tmp_path}", "--step=x"], ("--step", "'x'"), "evaluate")


def test_workdir_of_a_run(smoke, fails, workdir):
    """In a copy, which stays as it is."""
    shutil.copytree(smoke.workdir.path, workdir.path)
    there = f"--workdir={workdir}"
    fails([*smoke.flags, "--config.seed=1", there], ("another config", "seed: 0 there, 1 now", "--workdir"))
    fails([*smoke.flags, "--config.data.grade=cluttered", there], ("data.grade: 'easy' there",))
    fails([there, "--step=9"], ("no checkpoint of step 9", "8, 12"), "evaluate")
    fails([there, "--only=fil"], ("'fil'", "did you mean 'fill'"), "evaluate")
    fails(
        [there, "--only=sense", "--set=evaluation.samples=20", "--name=x"],
        ("nothing was scored", "sense asks"),
        "evaluate",
    )
    (workdir.path / "eval" / "step_12.x.json").unlink()
    for change, words in (
        ("data.grade=cluttered", ("--name=''", "--set and --name together")),
        ("model.width=8", ("--set=model.width=8", "data, frame_audio, evaluation, objectives")),
        ("data.graed=easy", ("unknown config field config.data.graed", "did you mean 'grade'")),
        ("evaluation.samples=many", ("'many' is not of type int", "like config.evaluation.samples=40")),
        ("data.grade=messy", ("config.data.grade='messy'", "choose one of")),
    ):
        named = ["--name=other"] if change != "data.grade=cluttered" else []
        fails([there, f"--set={change}", *named], words, "evaluate")
    os.rename(workdir.path / "checkpoints", workdir.path / "elsewhere")
    fails([there], ("no checkpoint", str(workdir)), "evaluate")
    os.rename(workdir.path / "elsewhere", workdir.path / "checkpoints")
    workdir.assert_equals(smoke.workdir)


PREDICT = {
    "no command": (["--text=a"], ("name a command", "caption|classify|embed|fill")),
    "unknown command": (["fil", "--text=a ___"], ("unknown command 'fil'", "did you mean 'fill'")),
    "two commands": (["fill", "caption"], ("unexpected argument 'caption'", "--name=value")),
    "unknown flag": (["fill", "--txt=a ___"], ("txt", "--helpshort")),
    "no text": (["fill"], ("fill needs --text", "___")),
    "no picture": (["caption"], ("caption needs --image", "picture")),
    "a flag of another command": (["caption", "--image={png}", "--word=a"], ("caption does not read --word",)),
    "text and picture": (["embed", "--text=a", "--image={png}"], ("give one of them",)),
    "missing picture": (["caption", "--image=/nowhere.png"], ("/nowhere.png", "does not exist", "give the path")),
    "unreadable picture": (["caption", "--image={bad}"], ("bad.png", "cannot be decoded", "JPEG, PNG")),
    "a folder for a picture": (["embed", "--image={folder}"], ("is not a file", "give the path")),
    "no masked place": (["fill", "--text=a bat"], ("no masked place in 'a bat'", "___")),
    "two masked places": (["fill", "--text=a ___ and a ___"], ("2 masked places", "leave one ___")),
    "word not in the text": (["fill", "--text=a bat", "--word=cat"], ("'cat' is not in 'a bat'", "as it stands there")),
    "unknown language": (["caption", "--image={png}", "--lang=fr"], ("unknown language 'fr'", "en, ko")),
    "unknown method": (["caption", "--image={png}", "--method=bean"], ("'bean'", "did you mean 'beam'")),
    "not a number": (["caption", "--image={png}", "--n=two"], ("--n", "'two'")),
    "no best checkpoint": (["embed", "--text=a", "--step=best"], ("no best checkpoint", "--config.evaluation.best")),
    "no checkpoint of the step": (["embed", "--text=a", "--step=9"], ("no checkpoint of step 9", "8, 12")),
    "no file of questions": (["fill", "--input=/nowhere.jsonl"], ("/nowhere.jsonl", "cannot be read", "JSONL")),
    "no questions": (["fill", "--input={empty}"], ("empty.jsonl has no lines", "one JSON object a line")),
    "questions and flags": (["fill", "--input={empty}", "--text=a"], ("--text is given beside --input",)),
    "answers over questions": (["fill", "--input={full}", "--output={full}"], ("is the input too", "another file")),
    "answers nowhere": (["embed", "--text=a", "--output=/nowhere/a"], ("/nowhere/a cannot be written", "folder")),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "expected"), PREDICT.values(), ids=PREDICT.keys())
def test_predict(arguments, expected, smoke, fails, tmp_path):
    files = {"png": "good.png", "bad": "bad.png", "empty": "empty.jsonl", "full": "full.jsonl", "folder": ""}
    paths = {name: str(tmp_path / file) for name, file in files.items()}
    Image.new("RGB", (8, 8)).save(paths["png"])
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "full.jsonl").write_text('{"text": "a ___"}\n')
    fails([f"--workdir={smoke.workdir}", *(a.format(**paths) for a in arguments)], expected, "predict")


def test_predict_without_a_run(fails, tmp_path):
    fails(["fill", "--text=a ___"], ("--workdir is missing", "of the run"), "predict")
    fails([f"--workdir={tmp_path}", "fill", "--text=a ___"], (str(tmp_path), "no config.json"), "predict")


def test_predict_with_a_checkpoint_of_another_model(smoke, fails, workdir):
    shutil.copytree(smoke.workdir.path, workdir.path)
    values = json.loads((workdir.path / "config.json").read_text())
    values["model"]["text"]["ngrams"] = [2]
    (workdir.path / "config.json").write_text(json.dumps(values))
    fails([f"--workdir={workdir}", "fill", "--text=a ___"], ("step 12", "cannot be restored", "version"), "predict")


def test_a_run_that_was_killed_before_it_was_saved_keeps_its_metrics(smoke, fails, workdir):
    workdir.path.mkdir()
    for name in ("config.json", "metrics.jsonl"):
        shutil.copy(smoke.workdir.path / name, workdir.path / name)
    before = (workdir.path / "metrics.jsonl").read_text()
    fails([SMOKE, "--config.batch_size=8", f"--workdir={workdir}"], ("of another config", "batch_size"))
    assert (workdir.path / "metrics.jsonl").read_text() == before


def test_a_damaged_config_is_named(fails, workdir):
    workdir.path.mkdir()
    (workdir.path / "config.json").write_text('{"steps": ')
    fails([f"--workdir={workdir}"], ("config.json is damaged",), "evaluate")


def test_damaged_files_of_a_workdir_are_named(smoke, fails, workdir):
    shutil.copytree(smoke.workdir.path, workdir.path)
    evaluated = workdir.path / "eval" / "step_12.json"
    evaluated.write_text(evaluated.read_text()[:30])
    with (workdir.path / "metrics.jsonl").open("a") as file:
        file.write('{"loss": 1.0}\n')
    there = f"--workdir={workdir}"
    fails([*smoke.flags, there], ("step_12.json is damaged", "launch/evaluate.py"))
    arrays = workdir.path / "checkpoints" / "12" / "state"
    for path in [p for p in arrays.rglob("*") if p.is_file() and p.stat().st_size > 2000]:
        path.write_bytes(path.read_bytes()[:500])
    damaged = ("step 12", "is damaged", "checkpoints/12 to go on from the complete one of step 8")
    fails([*smoke.flags, there], damaged)
    fails([there], damaged, "evaluate")
    shutil.rmtree(workdir.path / "checkpoints" / "8")
    shutil.rmtree(arrays)
    fails([*smoke.flags, there], ("step 12", "no older one is complete", "another --workdir"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([SMOKE, "--config.batch_size=15"], ("config.batch_size=15", "does not divide", "use a multiple of 2")),
        pytest.param([SMOKE, "--config.stepz=3"], ("stepz",), marks=pytest.mark.slow),
        pytest.param([PHOTOS, "--config.data.root=/nowhere"], ("/nowhere", "does not exist"), marks=pytest.mark.slow),
        pytest.param(["--config=configs/bass.py"], ("configs/bass.py", "does not exist"), marks=pytest.mark.slow),
    ],
    ids=["batch", "field", "root", "file"],
)
def test_in_a_process_of_its_own(arguments, expected, launcher, workdir):
    """All that a user sees is the line."""
    output = launcher.run(*arguments, f"--workdir={workdir}", devices=2, code=2)
    assert len(output.splitlines()) == 1
    check(output, expected)
