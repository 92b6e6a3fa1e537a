"""From a scene to pixels: precomputed sprites put on a ground, then noise from a bank."""

import functools

import numpy as np

from xmjax.data.playroom import shapes
from xmjax.data.playroom.world import COLORS, KINDS, SIZES, Scene, length

# The noise reaches 12 levels up and down. Everything painted keeps that distance from 0 and 255, so that adding the
# noise modulo 256 never wraps and no clipping is needed.
RGB: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 34),
    "green": (28, 150, 52),
    "blue": (36, 70, 216),
    "yellow": (238, 208, 30),
    "purple": (158, 44, 178),
    "white": (242, 242, 242),
}
_DARK = 16  # of the arm with which one toy holds another
_BANK = 1 << 20


@functools.cache
def _sprites(image_size: int) -> dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]]:
    """For each (kind, size, color): uint16 [h, w, 1] share of the ground and [h, w, 3] paint, both times 256."""
    table = {}
    for kind in KINDS:
        for size in SIZES:
            alpha = shapes.silhouette(kind, length(size, image_size))[:, :, None]
            for color in COLORS:
                table[kind, size, color] = (256 - alpha, alpha * np.array(RGB[color], np.uint16))
    return table


@functools.cache
def _noise() -> np.ndarray:
    """uint8 [bank], light noise modulo 256: sigma 4 levels, at most 12."""
    bank = np.random.default_rng(4).normal(0, 4, _BANK + 3 * 64 * 64)
    return np.clip(np.rint(bank), -12, 12).astype(np.int8).view(np.uint8)


@functools.cache
def _textures(image_size: int) -> np.ndarray:
    """uint8 [64, S, S, 3] modulo 256: crossed waves of up to 30 levels around zero."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:image_size, :image_size] / image_size
    waves = np.zeros((64, image_size, image_size, 3))
    for texture in waves:
        for _ in range(4):
            angle, period, phase = rng.uniform(0, np.pi), rng.uniform(0.08, 0.5), rng.uniform(0, 2 * np.pi)
            wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + phase)
            texture += wave[:, :, None] * rng.uniform(2, 8, 3)
    return np.clip(np.rint(waves), -30, 30).astype(np.int8).view(np.uint8)


def render(scene: Scene) -> np.ndarray:
    """Paints a scene.

    Args:
      scene: the scene; its ``image_size`` is at most 64.

    Returns:
      uint8 [image_size, image_size, 3], RGB.
    """
    side = scene.image_size
    canvas = np.empty((side, side, 3), np.uint8)
    canvas[...] = scene.ground
    cluttered = scene.grade == "cluttered"
    if cluttered:
        canvas += _textures(side)[scene.texture % 64]
        _scribble(canvas, np.random.default_rng(scene.texture))
    sprites = _sprites(side)
    for toy in scene.toys:
        y0, x0, y1, x1 = toy.box
        ground, paint = sprites[toy.kind, toy.size, toy.color]
        part = canvas[y0:y1, x0:x1]
        part[...] = (part * ground + paint) >> 8
    if scene.holding is not None:
        _arm(canvas, scene.toys[scene.holding[0]].box, scene.toys[scene.holding[1]].box)
    start = scene.texture % _BANK
    canvas += _noise()[start : start + canvas.size].reshape(canvas.shape)
    return canvas


def _arm(canvas: np.ndarray, holder: tuple[int, int, int, int], held: tuple[int, int, int, int]) -> None:
    """Draws a dark bar out of the holder that ends in a hand on the held toy."""
    (a0, b0, a1, b1), (c0, d0, c1, d1) = holder, held
    sideways = d0 >= b1 or b0 >= d1
    if not sideways:
        canvas = canvas.transpose(1, 0, 2)
        (b0, a0, b1, a1), (d0, c0, d1, c1) = holder, held
    thick = max(1, canvas.shape[0] // 24)
    level = (max(a0, c0) + min(a1, c1) - thick) // 2
    reach, grip = (b1 - b0) // 4, max(2, (d1 - d0) // 4)
    if d0 >= b1:
        start, hand = b1 - reach, d0 + grip
        canvas[level : level + thick, start:hand] = _DARK
        canvas[level - thick : level + 2 * thick, hand - thick : hand + thick] = _DARK
    else:
        start, hand = b0 + reach, d1 - grip
        canvas[level : level + thick, hand:start] = _DARK
        canvas[level - thick : level + 2 * thick, hand - thick : hand + thick] = _DARK


def _scribble(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Draws a few short curved strokes in colours of toys and greys: shapes that are none of the kinds."""
    side = canvas.shape[0]
    thick = max(1, side // 32)
    for _ in range(rng.integers(2, 6)):
        shade = np.array(RGB[COLORS[rng.integers(len(COLORS))]]) * 0.5 + 60
        spots = rng.uniform(0, side, 2) + np.cumsum(
            np.cumsum(rng.normal(0, 0.35, (side // 3, 2)), axis=0) + rng.normal(0, 0.8, 2), axis=0
        )
        rows, columns = np.clip(spots.astype(int), 0, side - thick).T
        for shift in range(thick):
            canvas[rows + shift, columns] = shade
