"""Tests of clips: which frame is read with which samples, at every time a record is read, and what cannot be."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmjax.config import Config, DataConfig
from xmjax.data.clips import RATE, Clips, centred, choose, window
from xmjax.data.pipeline import Stream
from xmjax.data.source import Record, Unreadable
from xmjax.data.sources import open_source
from xmjax.errors import UserError

tfds_writer = pytest.importorskip("xmjax.media.build")

SECONDS = 6
"""Of each clip; frame k is grey 10 k and its sound is the number of its sample, from a start of its own."""


def jpeg(level: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.new("RGB", (24, 16), (level,) * 3).save(file, "JPEG", quality=95)
    return io.BytesIO(file.getvalue())


def record(number: int, **changes) -> dict:
    times = np.arange(SECONDS, dtype=np.float32) + 0.5
    return {
        "id": f"clip{number}",
        "file": f"file{number}",
        "frames": [jpeg(10 * k) for k in range(SECONDS)],
        "times": times,
        "audio": (1 + np.arange(4 * RATE) % 30_000).astype(np.int16),
        "audio_start": 100 * number - 50,
        "captions": [{"text": f"number {number}", "language": "en"}, {"text": f"숫자 {number}", "language": "ko"}],
    } | changes


def written(path: Path, train: list[dict], val: list[dict], metadata: dict | None = None) -> str:
    path.mkdir()
    writer = tfds_writer.open_writer(path, {"window": 3.0} if metadata is None else metadata)
    for split, records in (("train", train), ("val", val)):
        if records:
            writer.initialize_splits([split], fail_if_exists=False)
            writer.add_examples({split: records})
    writer.close_all()
    return str(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    """Ten clips, of which the fifth has a broken frame, and three held-out ones."""
    broken = record(5, frames=[io.BytesIO(b"\xff\xd8\xff nothing")] * SECONDS)
    train = [broken if i == 5 else record(i) for i in range(10)]
    return written(tmp_path_factory.mktemp("clips") / "set", train, [record(i) for i in range(10, 13)])


def frame_of(found: Record) -> int:
    assert found.image is not None
    return round(float(found.image.mean()) / 10)


def test_evaluation_takes_the_middle_frame(root):
    source = Clips(root, split="val", image_size=8, samples=RATE)
    assert len(source) == 3 and source.name == "clips"
    for number, found in zip(range(10, 13), source.read(range(3)), strict=True):
        assert isinstance(found, Record) and found.id == f"clip{number}" and found.captions == ()
        assert found.image.shape == (8, 8, 3) and frame_of(found) == 3
        whole = record(number)
        np.testing.assert_array_equal(
            found.audio, window(whole["audio"], centred(3.5, RATE) - whole["audio_start"], RATE)
        )


def test_every_time_is_another_moment_and_always_the_same(root):
    source = Clips(root, image_size=8)
    indices = [turn * len(source) + 2 for turn in range(1, 60)]
    found, again = source.read(indices), source.read(indices[::-1])[::-1]
    assert {frame_of(r) for r in found} == set(range(SECONDS))
    for one, other in zip(found, again, strict=True):
        np.testing.assert_array_equal(one.audio, other.audio)
        first = centred(frame_of(one) + 0.5, 3 * RATE) - 150
        np.testing.assert_array_equal(one.audio, window(record(2)["audio"], first, 3 * RATE))
    same_turn = source.read(range(len(source), 2 * len(source)))
    assert len({frame_of(r) for r in same_turn if isinstance(r, Record)}) > 1


@pytest.mark.parametrize("seed", range(40))
def test_samples_are_where_they_belong(seed):
    """Sample i of the window is heard at the frame's time plus (i - samples // 2) / RATE, or is zero."""
    rng = np.random.default_rng(seed)
    samples = int(rng.choice([1, 2, 799, 16_000, 48_000, 70_000]))
    audio = np.arange(1, 1 + int(rng.integers(1, 30_000)), dtype=np.int64)
    start = int(rng.integers(-40_000, 40_000))
    rate = float(rng.choice([1, 12.5, 23.976, 25, 29.97]))
    time = float(rng.integers(0, 100)) / rate
    first = centred(time, samples)
    assert abs(first + samples // 2 - time * RATE) <= 0.5
    found = window(audio.astype(np.int16), first - start, samples)
    clock = first + np.arange(samples) - start
    heard = (clock >= 0) & (clock < len(audio))
    np.testing.assert_array_equal(found, np.where(heard, (clock + 1) * heard, 0).astype(np.int16))


def test_a_half_sample_is_rounded_up():
    assert [centred(x / RATE, 4) for x in (0.5, 1.5, 2.49, -0.5)] == [-1, 0, 0, -2]


def test_any_window_belongs_to_a_still_picture():
    times, audio = np.array([np.nan]), np.arange(1, 101, dtype=np.int16)
    starts = {int(choose(turn, "a", times, audio, 0, 30)[1][0]) for turn in range(1, 1500)}
    assert starts == set(range(1, 72))
    assert choose(0, "a", times, audio, 0, 30)[1].tolist() == list(range(36, 66))
    short = choose(3, "a", times, audio[:10], 0, 30)[1]
    assert short.tolist() == [0] * 10 + list(range(1, 11)) + [0] * 10


def test_silent_moments_are_passed_over():
    times, audio = np.arange(4) + 0.5, np.zeros(4 * RATE, np.int16)
    audio[-10:] = 5
    assert {choose(turn, "a", times, audio, 0, RATE)[0] for turn in range(30)} <= {0, 1, 2, 3}
    with_sound = [choose(turn, "a", times, audio, 0, RATE)[1].any() for turn in range(100)]
    assert np.mean(with_sound) > 0.75
    assert not choose(1, "a", times, 0 * audio, 0, RATE)[1].any()


def test_captions_are_read_if_they_are_asked_for(root, tmp_path):
    found = Clips(root, image_size=8, captions=True).read([1])[0]
    assert [(c.language, c.text) for c in found.captions] == [("en", "number 1"), ("ko", "숫자 1")]
    assert [(w.start, w.end) for w in found.captions[0].words] == [(0, 6), (7, 8)]
    found = Clips(root, image_size=8, captions=True, languages=("ko",)).read([1])[0]
    assert [c.text for c in found.captions] == ["숫자 1"]
    bare = written(tmp_path / "bare", [record(0, captions=[])], [record(1, captions=[])])
    assert Clips(bare, captions=True).read([1]) == [Unreadable("clip0", "it has no caption")]
    assert Clips(bare, split="val", captions=True).read([0])[0].captions == ()
    assert isinstance(Clips(bare).read([1])[0], Record)


def test_without_sound_and_with_the_file(root):
    found = Clips(root, split="val", image_size=8, samples=0, keep_file_bytes=True).read([0])[0]
    assert found.audio is None and found.file == jpeg(30).getvalue()


@pytest.fixture
def config(make_config, root) -> Config:
    """Clips as the stream of frames and sounds, in batches of eight."""
    changes = {"frame_audio.source": "clips", "frame_audio.root": root, "frame_audio.captions": 0, "batch_size": 8}
    return make_config(changes | {"model.audio.embedder": "mel", "frame_audio.max_unreadable": 0.1})


def test_batches_are_a_function_of_the_step_and_resume(config):
    def stream() -> Stream:
        return Stream(config, "frame_audio", open_source(config, config.frame_audio, "train"), ())

    whole = stream()
    batches = [whole.batch(range(8 * step, 8 * step + 8)) for step in range(6)]
    assert batches[0]["audio"].shape == (8, 2 * config.model.audio.samples)
    assert list(whole.quarantine.reasons) == ["clip5"]
    late = stream().batch(range(40, 48))
    for key, value in late.items():
        np.testing.assert_array_equal(value, batches[5][key])
    indices = whole.indices(range(30))
    assert sorted(i % 10 for i in indices[10:20]) == list(range(10)) and {i // 10 for i in indices[:10]} == {1}
    assert [i // 10 for i in indices] == [1] * 10 + [2] * 10 + [3] * 10


def test_sources_that_do_not_vary_keep_their_indices(config):
    class Fixed:
        name = "fixed"

        def __len__(self) -> int:
            return 10

    varying = Stream(config, "frame_audio", open_source(config, config.frame_audio, "train"), ())
    fixed = Stream(config, "frame_audio", Fixed(), ())
    assert fixed.indices(range(35)) == [i % 10 for i in varying.indices(range(35))]


def test_the_manifest_tells_data_and_options_apart(root, tmp_path):
    manifest = Clips(root).manifest()
    assert manifest == Clips(root).manifest() and manifest["records"] == 10
    other = written(tmp_path / "other", [record(i) for i in range(9)], [])
    for changed in (Clips(root, split="val"), Clips(root, samples=RATE), Clips(root, captions=True), Clips(other)):
        assert changed.manifest() != manifest


def test_mistakes_are_named(root, tmp_path, config):
    (tmp_path / "empty").mkdir()
    alone = written(tmp_path / "alone", [record(0)], [])
    for arguments, words in [
        ((str(tmp_path / "empty"),), ["is no data set of clips", "launch/prepare.py"]),
        ((str(tmp_path / "none"),), ["does not exist", "--config.data.root"]),
        (("",), ["--config.data.root is not set"]),
    ]:
        with pytest.raises(UserError) as caught:
            Clips(*arguments)
        assert "\n" not in str(caught.value) and all(word in str(caught.value) for word in words), caught.value
    with pytest.raises(UserError, match=r"the val split of .*alone is empty: .*--validation_fraction"):
        Clips(alone, split="val")
    with pytest.raises(UserError, match=r"config\.model\.audio\.seconds=4 is more than the 3 s around a frame"):
        Clips(root, samples=4 * RATE)
    whole = written(tmp_path / "whole", [record(0, times=np.array([np.nan] * SECONDS))], [], metadata={})
    assert len(Clips(whole, samples=10 * RATE).read([1])[0].audio) == 10 * RATE
    next(Path(alone).glob("*array_record*")).unlink()
    with pytest.raises(UserError, match="is missing: make it with"):
        Clips(alone)
    with pytest.raises(UserError, match="held_out does not reach clips"):
        options = DataConfig(source="clips", root=root, held_out="x.txt")
        open_source(config, options, "train")


def test_reading_imports_neither_tensorflow_nor_decoders(root):
    code = (
        "import sys\n"
        "from xmjax.data.clips import Clips\n"
        "assert len(Clips(sys.argv[1]).read(range(10, 20))) == 10\n"
        "assert not {'tensorflow', 'av', 'soxr'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, root], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
