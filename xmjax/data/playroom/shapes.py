"""Silhouettes of the toys: filled outlines in a square of 100 by 100 units, and their anti-aliased alpha.

The kinds differ in what is left at 8 to 15 pixels: aspect ratio, holes, gaps and slant.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

_SUPER = 8  # canvas pixels per unit; silhouettes are drawn large, cropped, and averaged down


class Pen:
    """Draws solid parts and cuts holes on the square, with y pointing down."""

    def __init__(self) -> None:
        """Starts with an empty square."""
        self.image = Image.new("L", (100 * _SUPER, 100 * _SUPER), 0)
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, *points: tuple[float, float], fill: int = 255) -> None:
        """Fills the polygon through ``points`` (x, y)."""
        self._draw.polygon([(x * _SUPER, y * _SUPER) for x, y in points], fill=fill)

    def disc(self, x: float, y: float, rx: float, ry: float | None = None, fill: int = 255) -> None:
        """Fills an ellipse around (x, y); a circle where ``ry`` is left out."""
        ry = rx if ry is None else ry
        self._draw.ellipse([(x - rx) * _SUPER, (y - ry) * _SUPER, (x + rx) * _SUPER, (y + ry) * _SUPER], fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: int = 255) -> None:
        """Fills an upright rectangle."""
        self._draw.rectangle([x0 * _SUPER, y0 * _SUPER, x1 * _SUPER, y1 * _SUPER], fill=fill)

    def line(self, width: float, *points: tuple[float, float]) -> None:
        """Draws straight strokes through ``points``."""
        self._draw.line([(x * _SUPER, y * _SUPER) for x, y in points], fill=255, width=round(width * _SUPER))


def _flying_bat(pen: Pen) -> None:
    left = [(50, 26), (46, 26), (40, 14), (38, 38), (28, 34), (12, 14), (0, 10)]
    below = [(4, 62), (17, 50), (26, 68), (38, 60)]
    half = left + below
    pen.polygon(*half, (50, 88), *[(100 - x, y) for x, y in reversed(half)])


def _club(pen: Pen) -> None:
    pen.polygon((2, 86), (14, 98), (60, 62), (94, 24), (96, 8), (90, 3), (74, 5), (38, 40))
    pen.disc(10, 90, 10)


def _wader(pen: Pen) -> None:
    pen.disc(42, 46, 28, 16)
    pen.line(11, (62, 44), (68, 10))
    pen.polygon((62, 2), (74, 2), (96, 16), (70, 20))
    pen.polygon((18, 34), (2, 60), (34, 58))
    pen.line(9, (38, 56), (38, 100))
    pen.line(9, (54, 56), (54, 78), (62, 100))


def _jib(pen: Pen) -> None:
    pen.box(14, 6, 32, 96)
    pen.box(0, 6, 100, 22)
    pen.box(0, 86, 48, 100)
    pen.box(80, 20, 88, 52)
    pen.box(68, 50, 100, 72)


def _ribbon(pen: Pen) -> None:
    pen.polygon((0, 16), (46, 44), (46, 56), (0, 84))
    pen.polygon((100, 16), (54, 44), (54, 56), (100, 84))
    pen.disc(50, 50, 11)


def _longbow(pen: Pen) -> None:
    pen.disc(30, 50, 58, 50)
    pen.disc(25, 50, 47, 40, fill=0)
    pen.box(0, 0, 32, 100, fill=0)
    pen.box(24, 2, 34, 98)
    pen.box(2, 44, 90, 56)
    pen.polygon((86, 36), (100, 50), (86, 64))


def _pear(pen: Pen) -> None:
    pen.disc(50, 70, 34, 30)
    pen.disc(50, 38, 20, 24)
    pen.polygon((31, 40), (69, 40), (80, 60), (20, 60))
    pen.line(10, (50, 18), (62, 0))


def _boat(pen: Pen) -> None:
    pen.polygon((0, 70), (100, 70), (80, 98), (20, 98))
    pen.polygon((46, 0), (46, 60), (6, 60))
    pen.polygon((58, 14), (58, 60), (92, 60))


def _eye(pen: Pen) -> None:
    top = [(x, 50 - 36 * math.sin(math.pi * x / 100)) for x in range(0, 101, 4)]
    pen.polygon(*top, *[(x, 100 - y) for x, y in reversed(top)])
    inner = [(x, 50 - 25 * math.sin(math.pi * (x - 14) / 72)) for x in range(14, 87, 4)]
    pen.polygon(*inner, *[(x, 100 - y) for x, y in reversed(inner)], fill=0)
    pen.disc(50, 50, 14)


def _snow(pen: Pen) -> None:
    for turn in range(3):
        angle = math.pi * (turn / 3 + 0.5)
        dx, dy = math.cos(angle), math.sin(angle)
        pen.line(10, (50 - 50 * dx, 50 - 50 * dy), (50 + 50 * dx, 50 + 50 * dy))
        for end in (-1, 1):
            pen.disc(50 + end * 42 * dx, 50 + end * 42 * dy, 9)


def _star(pen: Pen) -> None:
    angles = [math.pi * (k / 5 - 0.5) for k in range(10)]
    pen.polygon(*[(50 + r * math.cos(a), 53 + r * math.sin(a)) for a, r in zip(angles, [53, 23] * 5, strict=True)])


def _house(pen: Pen) -> None:
    pen.polygon((50, 0), (100, 46), (0, 46))
    pen.box(12, 44, 88, 100)
    pen.box(38, 62, 62, 100, fill=0)


def _tree(pen: Pen) -> None:
    pen.polygon((50, 0), (74, 40), (26, 40))
    pen.polygon((50, 20), (82, 78), (18, 78))
    pen.box(43, 76, 57, 100)


def _cup(pen: Pen) -> None:
    pen.disc(70, 46, 30, 28)
    pen.disc(70, 46, 17, 15, fill=0)
    pen.polygon((0, 4), (70, 4), (62, 96), (8, 96))


def _fish(pen: Pen) -> None:
    pen.disc(36, 50, 36, 26)
    pen.polygon((60, 50), (100, 20), (92, 50), (100, 80))
    pen.disc(20, 44, 7, fill=0)


def _key(pen: Pen) -> None:
    pen.disc(22, 50, 22)
    pen.disc(22, 50, 10, fill=0)
    pen.box(40, 44, 100, 56)
    pen.box(88, 50, 100, 74)
    pen.box(66, 50, 78, 70)


def _hat(pen: Pen) -> None:
    pen.polygon((24, 20), (76, 20), (74, 72), (26, 72))
    pen.box(0, 66, 100, 84)


def _heart(pen: Pen) -> None:
    pen.disc(26, 30, 26)
    pen.disc(74, 30, 26)
    pen.polygon((3, 42), (97, 42), (50, 98))
    pen.polygon((26, 30), (74, 30), (74, 50), (26, 50))


def _moon(pen: Pen) -> None:
    pen.disc(50, 50, 50)
    pen.disc(74, 44, 42, fill=0)


def _car(pen: Pen) -> None:
    pen.polygon((22, 12), (66, 12), (82, 42), (12, 42))
    pen.box(0, 40, 100, 66)
    pen.disc(23, 70, 16)
    pen.disc(77, 70, 16)
    pen.polygon((28, 20), (42, 20), (42, 38), (22, 38), fill=0)
    pen.polygon((52, 20), (62, 20), (70, 38), (52, 38), fill=0)


SHAPES: dict[str, Callable[[Pen], None]] = {
    "bat_animal": _flying_bat,
    "bat_club": _club,
    "crane_bird": _wader,
    "crane_machine": _jib,
    "bow_ribbon": _ribbon,
    "bow_archery": _longbow,
    "pear": _pear,
    "boat": _boat,
    "eye": _eye,
    "snow": _snow,
    "star": _star,
    "house": _house,
    "tree": _tree,
    "cup": _cup,
    "fish": _fish,
    "key": _key,
    "hat": _hat,
    "heart": _heart,
    "moon": _moon,
    "car": _car,
}


@functools.cache
def silhouette(kind: str, length: int) -> np.ndarray:
    """Alpha of a kind whose longer side is ``length`` pixels.

    Args:
      kind: a key of ``SHAPES``.
      length: pixels along the longer side.

    Returns:
      uint16 [h, w] in 0..256, tight around the shape; 256 is opaque.
    """
    pen = Pen()
    SHAPES[kind](pen)
    solid = pen.image.crop(pen.image.getbbox())
    scale = length / max(solid.size)
    width, height = (max(3, round(side * scale)) for side in solid.size)
    alpha = np.asarray(solid.resize((width, height), Image.Resampling.BOX), np.float64) / 255.0
    return np.round(alpha * 256).astype(np.uint16)


@functools.cache
def solid(kind: str, length: int) -> np.ndarray:
    """bool [h, w], where the silhouette of a kind is more toy than ground; arguments as for ``silhouette``."""
    return silhouette(kind, length) >= 128


def hidden(back: np.ndarray, front: np.ndarray, dy: int, dx: int) -> float:
    """Share of one solid silhouette that another hides.

    Args:
      back: bool [h, w], what is partly hidden.
      front: bool [h', w'], what hides it.
      dy: rows from the top of ``back`` down to the top of ``front``.
      dx: columns from the left of ``back`` to the left of ``front``.
    """
    (height, width), (high, wide) = back.shape, front.shape
    seen = back[max(0, dy) : max(0, dy + high), max(0, dx) : max(0, dx + wide)]
    cover = front[max(0, -dy) : max(0, height - dy), max(0, -dx) : max(0, width - dx)]
    return np.count_nonzero(seen & cover) / np.count_nonzero(back)
