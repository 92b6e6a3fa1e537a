"""From a whole file's frames and sound to records of a few seconds each."""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np

from xmjax.data.source import RATE

WINDOW = 3
"""Seconds of sound around a frame that every record holds, as far as its file has them."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A piece of a file.

    Attributes:
      second: at which it begins.
      frames: the frames that it has, a range of the file's.
      audio: int16 [T], the windows of all of them.
      start: time of the first sample on the file's clock, in samples.
    """

    second: int
    frames: range
    audio: np.ndarray
    start: int


def cut(times: np.ndarray, audio: np.ndarray, start: int, seconds: int) -> Iterator[Clip]:
    """Cuts a file into clips, from its beginning on.

    Args:
      times: of the frames, in seconds, ascending.
      audio: the file's sound, int16 [T] at 16 kHz.
      start: time of its first sample on the clock of the frames, in samples.
      seconds: length of a clip; its sound reaches half a window beyond its first and last frame.

    Yields:
      The clips that have frames. Those whose sound is silent or missing are among them.
    """
    edges = np.searchsorted(times, np.arange(0, times[-1] + 2 * seconds, seconds), side="left").tolist()
    for number, (first, last) in enumerate(itertools.pairwise(edges)):
        if first < last:
            low = math.floor(times[first] * RATE) - WINDOW * RATE // 2 - start
            high = math.ceil(times[last - 1] * RATE) + WINDOW * RATE // 2 - start
            low, high = (min(max(edge, 0), len(audio)) for edge in (low, high))
            yield Clip(number * seconds, range(first, last), audio[low:high], start + low)
