"""End to end: videos are prepared, whatever happens meanwhile, and trained on."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media.conftest import steady, tone, write_video
from xmjax.data.clips import Clips
from xmjax.data.source import Record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A dozen videos, each with a tone of its own."""
    root = tmp_path_factory.mktemp("videos")
    for number in range(12):
        write_video(root / f"{number:02d}.mkv", steady(3, Fraction(5)), tone(3, hertz=200 + 50 * number))
    return root


@pytest.fixture(scope="module")
def whole(folder, launcher) -> Path:
    """The data set of a run that was not disturbed."""
    root = folder.parent / "whole"
    flags = (f"--input={folder}", "--validation_fraction=0.4", "--workers=2")
    assert "of 12 files 0 dropped, 0 broken" in launcher.run("videos", *flags, f"--output={root}", script="prepare")
    return root


def test_a_killed_preparation_goes_on(folder, whole, launcher, tmp_path):
    flags = ("videos", f"--input={folder}", "--validation_fraction=0.4", "--workers=1", f"--output={tmp_path / 'set'}")
    run = launcher.start(*flags, script="prepare")
    assert run.until(lambda: len(list((tmp_path / "set" / "parts").glob("*.json"))) >= 3)
    run.process.kill()
    run.process.wait()
    assert not (tmp_path / "set" / "card.json").exists()
    assert "of 12 files were decoded before" in launcher.run(*flags, script="prepare")
    assert (tmp_path / "set" / "files.jsonl").read_bytes() == (whole / "files.jsonl").read_bytes()
    for split in ("train", "val"):
        ours, theirs = (Clips(str(root), split=split) for root in (tmp_path / "set", whole))
        assert ours.manifest() == theirs.manifest()
        for one, other in zip(ours.read(range(len(ours))), theirs.read(range(len(theirs))), strict=True):
            assert isinstance(one, Record) and isinstance(other, Record) and one.id == other.id
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.audio, other.audio)
    assert "is complete, nothing is left to do" in launcher.run(*flags, script="prepare")


def test_a_run_trains_on_it(whole, launcher, workdir):
    flags = (
        "--config=configs/sound.py:smoke",
        "--config.frame_audio.source=clips",
        f"--config.frame_audio.root={whole}",
        "--config.batch_size=8",
        "--config.evaluation.names=('sound',)",
    )
    launcher.run(*flags, "--config.steps=2", f"--workdir={workdir}")
    scores = workdir.evaluations()["step_2.json"]
    assert scores["clips/retrieval/audio_to_image/n"] == len(Clips(str(whole), split="val"))
    manifest = workdir.meta(2)["manifest"]["frame_audio"]
    assert manifest["source"] == "clips" and manifest["records"] > 0
