"""Tests of cutting: every frame of a clip has the window that it has in the whole file."""

import numpy as np
import pytest

from xmjax.data.clips import centred, window
from xmjax.media.cut import RATE, WINDOW, cut


@pytest.mark.parametrize("seed", range(30))
def test_a_clip_has_the_windows_of_the_whole_file(seed):
    rng = np.random.default_rng(seed)
    seconds = int(rng.integers(1, 12))
    times = np.arange(int(rng.integers(1, 40))) + 0.5
    audio = rng.integers(-9, 10, int(rng.integers(1, 45 * RATE))).astype(np.int16)
    start = int(rng.integers(-5 * RATE, 5 * RATE))
    found = []
    for clip in cut(times, audio, start, seconds):
        found += clip.frames
        assert all(clip.second <= times[i] < clip.second + seconds for i in clip.frames)
        assert len(clip.audio) <= (seconds + WINDOW) * RATE
        for i in clip.frames:
            for samples in (1, 15_999, 16_000, WINDOW * RATE):
                first = centred(times[i], samples)
                whole = window(audio, first - start, samples)
                np.testing.assert_array_equal(window(clip.audio, first - clip.start, samples), whole)
    assert found == list(range(len(times)))


def test_a_short_video_is_one_clip():
    clips = list(cut(np.array([0.04]), np.ones(100, np.int16), 7, 10))
    assert len(clips) == 1 and clips[0].start == 7 and len(clips[0].audio) == 100


def test_a_clip_beyond_the_sound_has_none():
    first, second = cut(np.arange(20) + 0.5, np.ones(2 * RATE, np.int16), 0, 10)
    assert len(first.audio) == 2 * RATE and len(second.audio) == 0
