"""Tests of decoding: which frames are taken, where the sound lies, and what is told of files that are no pair."""

import io
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from tests.media.conftest import steady, tone, write_sound
from xmjax.media import decode


def levels(frames: list[bytes]) -> list[int]:
    """Grey of plain frames, which are their numbers."""
    return [round(float(np.asarray(Image.open(io.BytesIO(frame))).mean())) for frame in frames]


def shown(starts: list[Fraction], time: float) -> int:
    """The frame that is shown at a time."""
    return max(i for i, start in enumerate(starts) if start <= time)


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30_000, 1001), Fraction(15, 2), Fraction(24_000, 1001), 1])
def test_the_frame_in_the_middle_of_every_second_is_taken(make_video, rate):
    starts = steady(5.2 if rate != 1 else 5, Fraction(rate))
    starts = [Fraction(int(s * 90_000), 90_000) for s in starts]
    found = decode.video(str(make_video("a.nut", starts, tone(1))), 64)
    assert found.times.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
    assert levels(found.frames) == [shown(starts, time) for time in found.times]
    assert found.seconds == pytest.approx(float(len(starts) / rate), abs=0.05)


def test_frames_of_a_varying_rate(make_video):
    starts = [Fraction(n, 10) for n in (0, 1, 4, 5, 6, 22, 23, 47)]
    found = decode.video(str(make_video("a.nut", starts, tone(1))), 64)
    assert found.times.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5]  # the last is shown for a second at most
    assert levels(found.frames) == [3, 4, 6, 6, 6, 7]


def test_a_short_video_gives_its_last_frame(make_video):
    found = decode.video(str(make_video("a.nut", steady(0.4, Fraction(10)), tone(1))), 64)
    assert found.times.tolist() == [0.3] and levels(found.frames) == [3]


def test_the_clock_begins_with_the_picture(make_video):
    late = [start + 2 for start in steady(2, Fraction(10))]
    found = decode.video(str(make_video("late.nut", late, tone(3), offset=0.5)), 64)
    assert found.times.tolist() == [0.5, 1.5] and levels(found.frames) == [5, 15]
    assert found.start == -24_000
    found = decode.video(str(make_video("early.nut", steady(2, Fraction(10)), tone(1), offset=0.25)), 64)
    assert found.start == 4000 and len(found.audio) == 16_000


def test_sound_is_kept_bit_by_bit_or_resampled(make_video):
    frames = steady(1, Fraction(10))
    sound = np.random.default_rng(0).integers(-32768, 32768, (1, 9001)).astype(np.int16)
    found = decode.video(str(make_video("a.nut", frames, sound)), 64)
    np.testing.assert_array_equal(found.audio, sound[0])
    both = np.stack([sound[0], sound[0] // 2])
    found = decode.video(str(make_video("b.nut", frames, both)), 64)
    np.testing.assert_array_equal(found.audio, np.rint(both.mean(0)).astype(np.int16))
    found = decode.video(str(make_video("c.nut", frames, tone(1, 44_100, 1000.0, channels=2), rate=44_100)), 64)
    spectrum = np.abs(np.fft.rfft(found.audio.astype(float)))
    assert len(found.audio) == 16_000 and spectrum.argmax() == 1000
    np.testing.assert_allclose(found.audio[100:-100], tone(1, 16_000, 1000.0)[0, 100:-100], atol=80)


def test_a_hole_in_the_sound_is_silence(tmp_path):
    sound = tone(1)
    with av.open(str(tmp_path / "a.nut"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        write_sound(container, track, sound[:, :8192], 16_000, more=True)
        write_sound(container, track, sound[:, 8192:], 16_000, first=16_000)
    (tmp_path / "a.png").write_bytes(png(Image.new("RGB", (2, 2))))
    found = decode.sound(str(tmp_path / "a.nut"), str(tmp_path / "a.png"), 64).audio
    assert len(found) == 16_000 + 16_000 - 8192 and not found[8192:16_000].any()
    np.testing.assert_array_equal(found[16_000:], sound[0, 8192:])


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def test_the_first_of_several_tracks_is_heard(tmp_path):
    with av.open(str(tmp_path / "a.nut"), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        write_sound(container, tracks[0], tone(0.5, hertz=300), 16_000)
        write_sound(container, tracks[1], tone(1, hertz=900), 16_000)
    (tmp_path / "a.png").write_bytes(png(Image.new("RGBA", (40, 20))))
    found = decode.sound(str(tmp_path / "a.nut"), str(tmp_path / "a.png"), 10)
    np.testing.assert_array_equal(found.audio, tone(0.5, hertz=300)[0])
    assert np.isnan(found.times).all() and found.start == 0 and found.seconds == 0.5
    picture = np.asarray(Image.open(io.BytesIO(found.frames[0])))
    assert picture.shape == (10, 20, 3) and picture.min() > 250  # what is transparent is white


def test_what_is_no_pair_is_told_from_what_is_broken(make_video, tmp_path):
    frames = steady(1, Fraction(10))
    whole = make_video("whole.nut", frames, tone(1))
    cases = {
        str(make_video("mute.nut", frames)): ("dropped", "audio: missing"),
        str(make_video("zero.nut", frames, 0 * tone(1))): ("dropped", "audio: silent"),
        str(tmp_path / "absent.mp4"): ("broken", "absent.mp4 is missing or not a regular file"),
        str(tmp_path): ("broken", "is missing or not a regular file"),
    }
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(5000))
    cases[str(noise)] = ("broken", "InvalidDataError")
    for path, (state, reason) in cases.items():
        found = decode.outcome({"path": path, "size": 64, "part": str(tmp_path / "part.npz")})
        assert found["state"] == state and reason in found["reason"], found
    found = decode.outcome({"path": str(whole), "size": 64, "part": str(tmp_path / "part.npz")})
    assert found["state"] == "kept" and found["frames"] == 1 and len(found["sha256"]) == 64
    found = decode.outcome({"path": str(whole), "size": 64, "part": str(tmp_path / "none" / "part.npz")})
    assert found["state"] == "failed" and "cannot be written" in found["reason"]


def test_equal_frames_are_still(make_video):
    starts = steady(3, Fraction(10))
    assert decode.video(str(make_video("a.nut", starts, tone(1), levels=[90] * 30)), 64).still
    assert not decode.video(str(make_video("b.nut", starts, tone(1))), 64).still


def test_a_clock_that_leaps_is_broken(make_video):
    path = make_video("a.nut", [Fraction(0), Fraction(1), Fraction(8000)], tone(1))
    with pytest.raises(ValueError, match=r"clock of the picture leaps from 1\.000 to 8000\.000"):
        decode.video(str(path), 64)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [
        ((1, 0, 0, 1), [[1, 2, 3], [4, 5, 6]]),
        ((0, 1, -1, 0), [[4, 1], [5, 2], [6, 3]]),  # a quarter turn clockwise
        ((-1, 0, 0, -1), [[6, 5, 4], [3, 2, 1]]),
        ((0, -1, 1, 0), [[3, 6], [2, 5], [1, 4]]),
        ((-1, 0, 0, 1), [[3, 2, 1], [6, 5, 4]]),  # mirrored
        ((0, 1, 1, 0), [[1, 4], [2, 5], [3, 6]]),
    ],
)
def test_frames_stand_upright(matrix, turned):
    a, b, c, d = (value << 16 for value in matrix)
    data = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    pixels = np.repeat(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[:, :, None], 3, 2)
    frame = SimpleNamespace(to_ndarray=lambda format: pixels, side_data={"DISPLAYMATRIX": data})
    found, aspect = decode._upright(frame, Fraction(2))
    assert found[:, :, 0].tolist() == turned
    assert aspect == (2 if np.shape(turned) == (2, 3) else 0.5)


def test_a_frame_with_unknown_side_data_is_turned():
    class Strange:
        rotation = -90

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

        def to_ndarray(self, format):
            return np.repeat(np.array([[1, 2, 3], [4, 5, 6]], np.uint8)[:, :, None], 3, 2)

    found, aspect = decode._upright(Strange(), Fraction(2))
    assert found[:, :, 0].tolist() == [[4, 1], [5, 2], [6, 3]] and aspect == 0.5
