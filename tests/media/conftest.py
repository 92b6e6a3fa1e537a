"""Tiny videos and sounds, written by PyAV."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

SIZE = (32, 24)
"""Width and height of the videos."""


def tone(seconds: float, rate: int = 16_000, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """A tone, int16 [channels, T]."""
    wave = 8000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave.astype(np.int16)[None], channels, 0)


def write_video(
    path: Path,
    starts: Sequence[Fraction],
    sound: np.ndarray | None = None,
    rate: int = 16_000,
    offset: float = 0.0,
    levels: Sequence[int] | None = None,
) -> Path:
    """A video of plain grey frames, without loss.

    Args:
      path: of the file; its ending tells the container.
      starts: seconds at which frames begin, ascending, multiples of 1/90000.
      sound: int16 [channels, T]; None has no track of sound.
      rate: samples a second.
      offset: seconds at which the sound begins.
      levels: grey of every frame; by default the frame's number.
    """
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream("ffv1", rate=30)
        picture.width, picture.height = SIZE
        picture.pix_fmt = "gray"
        picture.codec_context.time_base = picture.time_base = Fraction(1, 90_000)
        track: Any = None
        if sound is not None:
            layout = "mono" if len(sound) == 1 else "stereo"
            track = container.add_stream("pcm_s16le", rate=rate, layout=layout)
        for number, start in enumerate(starts):
            level = number if levels is None else levels[number]
            frame = av.VideoFrame.from_ndarray(np.full(SIZE[::-1], level, np.uint8), "gray")
            frame.pts, frame.time_base = int(start * 90_000), Fraction(1, 90_000)
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        if sound is not None:
            write_sound(container, track, sound, rate, round(offset * rate))
    return path


def write_sound(container: Any, track: Any, sound: np.ndarray, rate: int, first: int = 0, more: bool = False) -> None:
    """Writes int16 [channels, T] to a track, from sample ``first`` on, which it ends unless there is more to come."""
    for begin in range(0, sound.shape[1], 1024):
        part = np.ascontiguousarray(sound[:, begin : begin + 1024].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(part, "s16", "mono" if len(sound) == 1 else "stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, first + begin, Fraction(1, rate)
        container.mux(track.encode(frame))
    if not more:
        container.mux(track.encode())


def steady(seconds: float, rate: Fraction) -> list[Fraction]:
    """When the frames of a video of constant rate begin."""
    return [i / rate for i in range(round(seconds * rate))]


@pytest.fixture
def make_video(tmp_path) -> Callable[..., Path]:
    """Function from a name and the arguments of `write_video` to a file in the test's folder."""
    return lambda name, *arguments, **options: write_video(tmp_path / name, *arguments, **options)
