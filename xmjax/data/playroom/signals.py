"""Further signals of a scene, as bytes: what a depth camera, a thermal camera, a motion sensor and tags would send.

Each tells a part of what the picture tells, so that it can be bound to the picture and found by what it shares with
others: depth tells shapes and places but no colours, warmth tells colours and places but shapes dimly, motion tells of
one toy what a sound tells of it, and tags name every toy without a place.
"""

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8

from xmjax.data.playroom import shapes, sounds
from xmjax.data.playroom.world import COLORS, KINDS, SIZES, Scene, length

WARMTH = {"red": 230, "yellow": 195, "purple": 160, "green": 125, "blue": 90, "white": 55}
"""Level of a toy in a thermal picture; the ground has 20."""

STEPS = 96
"""Samples of a motion, a second and a half at 64 Hz."""

CHANNELS = 6
"""Three of acceleration, three of turning."""

SHAKES = {"big": 2, "medium": 3, "small": 5}
"""Cycles of a motion in its whole length: what is heavy moves slowly."""

MOST = 5
"""Most toys of a scene, whose tags are sent one after the other."""


@functools.cache
def _cutouts(image_size: int) -> dict[tuple[str, str], np.ndarray]:
    """For each kind and size the share of the ground that it hides, float32 [h, w]."""
    return {
        (kind, size): shapes.silhouette(kind, length(size, image_size)).astype(np.float32) / 256
        for kind in KINDS
        for size in SIZES
    }


def _painted(
    scene: Scene, ground: np.ndarray, levels: list[float], rng: np.random.Generator
) -> UInt8[np.ndarray, "S S"]:
    plane = ground.copy()
    for toy, level in zip(scene.toys, levels, strict=True):
        y0, x0, y1, x1 = toy.box
        share = _cutouts(scene.image_size)[toy.kind, toy.size]
        plane[y0:y1, x0:x1] += share * (level - plane[y0:y1, x0:x1])
    return np.clip(np.rint(plane + rng.normal(0, 3, plane.shape)), 0, 255).astype(np.uint8)


@functools.cache
def _floor(side: int) -> np.ndarray:
    return np.repeat(np.linspace(20, 70, side, dtype=np.float32)[:, None], side, 1)


@functools.cache
def _turns(kind: str, color: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a toy's motion the amplitude of each channel's first and second wave [6, 1] and the rhythm [96]."""
    code = np.array(sounds.timbres()[kind])
    gate = np.resize([float(on) for on in sounds.RHYTHM[color]], STEPS // 6).repeat(6)
    return 1.0 * code[:CHANNELS, None], 0.6 * np.resize(code[CHANNELS:], CHANNELS)[:, None], 0.25 + 0.75 * gate


def depth(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, "S S"]:
    """Nearness: a floor that comes nearer towards the bottom, and toys in front of each other as they are drawn."""
    return _painted(scene, _floor(scene.image_size), [110 + 30 * i for i in range(len(scene.toys))], rng)


def thermal(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, "S S"]:
    """Warmth: every colour has its level, and the picture is out of focus."""
    side = scene.image_size
    ground = np.full((side, side), 20, np.float32)
    sharp = _painted(scene, ground, [WARMTH[toy.color] for toy in scene.toys], rng).astype(np.float32)
    wide = np.pad(sharp, 1, mode="edge")
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    return np.rint((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9).astype(np.uint8)


def inertial(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, " N"]:
    """What a motion sensor on one toy sends while it is shaken: 16-bit samples of six channels, little-endian.

    It is on the toy that is heard, in a silent scene on the one in front. The code that is a kind's timbre tells which
    channels move and how; size tells how fast, colour in which rhythm.
    """
    toy = scene.toys[-1 if scene.sounding is None else scene.sounding]
    first, second, gate = _turns(toy.kind, toy.color)
    turn = 2 * np.pi * (SHAKES[toy.size] * (np.arange(STEPS) / STEPS + rng.random()))
    waves = first * np.sin(turn) + second * np.sin(3 * turn)
    x = rng.uniform(0.6, 1.0) * waves * gate + rng.normal(0, 0.03, (CHANNELS, STEPS))
    return np.frombuffer(np.rint(16000 * x.T).astype("<i2").tobytes(), np.uint8)


def tags(scene: Scene, rng: np.random.Generator) -> UInt8[np.ndarray, " N"]:
    """What tags in the toys send: three bytes each for kind, colour and size, toys in any order, then zeros."""
    sent = np.zeros((MOST, 3), np.uint8)
    for row, i in enumerate(rng.permutation(len(scene.toys))):
        toy = scene.toys[i]
        sent[row] = 1 + KINDS.index(toy.kind), 101 + COLORS.index(toy.color), 201 + SIZES.index(toy.size)
    return sent.reshape(-1)


SIGNALS: dict[str, Callable[[Scene, np.random.Generator], np.ndarray]] = {
    "depth": depth,
    "thermal": thermal,
    "inertial": inertial,
    "tags": tags,
}
"""By the name of the modality."""
