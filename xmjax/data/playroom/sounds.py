"""What a toy sounds like: timbre tells its kind, pitch its size, rhythm its colour, and a slow sweep its place.

With the kind alone a listener who knows the truth would find the right picture among a hundred in 7 of 100: many
scenes have a toy of the kind. All four together tell 360 toys and their places apart.
"""

import functools
import itertools

import numpy as np
from jaxtyping import Float32, Int16

from xmjax.data.playroom.world import COLORS, KINDS, SIZES, Scene
from xmjax.data.source import RATE

PITCH = {"big": 220.0, "medium": 350.0, "small": 560.0}
"""Hertz of the fundamental. None is a multiple of another, or partials of one would be those of the other."""

RHYTHM = {
    "red": "11111111",
    "green": "10101010",
    "blue": "11001100",
    "yellow": "11110000",
    "purple": "10001000",
    "white": "11101000",
}
"""Which eighths of a half second sound. No pattern is another one shifted, for a sound may begin anywhere in it."""

BAR = 0.5
"""Seconds of a pattern."""

SWEEP = (5900.0, 1900.0)
"""Hertz at which every sweep begins, and by how much it rises for a toy at the picture's right edge."""

_PARTIALS = 9  # above the fundamental
_DISTANCE = 3  # partials in which two kinds differ at least
_NOISE = 0.003
_BANK = 1 << 18


@functools.cache
def timbres() -> dict[str, tuple[int, ...]]:
    """Which partials above the fundamental each kind has: codes that differ in three places at least."""
    codes: list[tuple[int, ...]] = []
    for code in itertools.product((0, 1), repeat=_PARTIALS):
        if all(sum(a != b for a, b in zip(code, other, strict=True)) >= _DISTANCE for other in codes):
            codes.append(code)
    return dict(zip(KINDS, codes, strict=False))


@functools.cache
def _tones(length: int) -> dict[tuple[str, str], Float32[np.ndarray, " T"]]:
    """For each kind and size a steady tone of ``length`` samples and unit power."""
    time = np.arange(length) / RATE
    found = {}
    for size in SIZES:
        partials = np.sin(2 * np.pi * PITCH[size] * np.arange(1, _PARTIALS + 2)[:, None] * time)
        for kind, code in timbres().items():
            tone = np.array([1, *code]) @ partials
            found[kind, size] = (tone * (2 / (1 + sum(code))) ** 0.5).astype(np.float32)
    return found


@functools.cache
def _gates(length: int) -> dict[str, Float32[np.ndarray, " T"]]:
    """For each colour its rhythm, with edges of five milliseconds."""
    edge = np.hanning(RATE // 100)
    found = {}
    for color in COLORS:
        steps = np.repeat([float(c) for c in RHYTHM[color]], int(BAR * RATE / 8))
        gate = np.resize(steps, length + 2 * len(edge))
        found[color] = np.convolve(gate, edge / edge.sum(), "same")[len(edge) : len(edge) + length].astype(np.float32)
    return found


@functools.cache
def _noise(length: int) -> Float32[np.ndarray, " T"]:
    """A bank of noise, of which any part of that length is a slice: its beginning stands behind its end once more."""
    bank = np.random.default_rng(6).normal(0, _NOISE, _BANK).astype(np.float32)
    return np.resize(bank, _BANK + length)


@functools.cache
def _time(length: int) -> tuple[Float32[np.ndarray, " T"], Float32[np.ndarray, " T"]]:
    """Seconds, and their squares."""
    time = np.arange(length, dtype=np.float32) / np.float32(RATE)
    return time, np.square(time)


def sound(scene: Scene, toy: int, seconds: float, rng: np.random.Generator) -> Int16[np.ndarray, " T"]:
    """The sound of one toy of a scene, PCM at 16 kHz.

    Args:
      scene: where the toy is.
      toy: its index in ``scene.toys``.
      seconds: length.
      rng: of where in its tone and rhythm the sound begins, its loudness, and the noise.
    """
    what, length = scene.toys[toy], round(seconds * RATE)
    longest = length + RATE
    begin, bar = rng.integers(RATE), rng.integers(int(BAR * RATE))
    tone = _tones(longest)[what.kind, what.size][begin : begin + length]
    gate = _gates(longest)[what.color][bar : bar + length]
    middle = (what.box[1] + what.box[3]) / 2 / scene.image_size
    base, rise = SWEEP
    time, squares = _time(length)
    sweep = np.sin(2 * np.pi * (base * time + rise * middle / 2 / seconds * squares))
    start = rng.integers(_BANK)
    noise = _noise(length)[start : start + length]
    mixed = 0.15 * tone * gate + 0.05 * sweep
    return np.rint(32767 * (rng.uniform(0.5, 1.0) * mixed + noise)).astype(np.int16)
