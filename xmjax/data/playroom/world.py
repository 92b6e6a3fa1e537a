"""The world of the playroom: toys, scenes, and how a scene is drawn by chance.

Kinds of toys are not equally frequent: a kind that shares its name with another is half as frequent as one that
does not. So the senses of a homograph are balanced, and no word is likelier than the next for a reader of text only.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from xmjax.data.playroom import lexicon, shapes

VERSION = 3
"""Raised whenever a record changes; figures published for one version do not hold for another."""

KINDS = tuple(shapes.SHAPES)
COLORS = tuple(lexicon.COLORS["en"])
SIZES = tuple(lexicon.SIZES["en"])
RELATIONS = tuple(lexicon.RELATIONS["en"])
PLACES = ("left of", "right of", "above", "below")
"""Relations that a toy can have to the picture's middle."""
GRADES = ("easy", "cluttered", "single", "alike")
SPLITS = ("train", "val", "test", "heldout")

SIDE_OF_SIZE = {"small": 0.28, "medium": 0.36, "big": 0.46}
"""Longer side of a toy as a share of the image's side."""

# Colours of toys in one scene differ, so a caption's other colour already tells a reader of text something about a
# masked one. A held-out combination tells it more, the less so the rarer its kind: these are all rare kinds, and eight
# keep what can be had from text within five points of chance.
HELDOUT = frozenset(
    {
        ("bat_animal", "red"),
        ("bat_club", "yellow"),
        ("crane_bird", "green"),
        ("crane_machine", "purple"),
        ("bow_ribbon", "blue"),
        ("bow_archery", "white"),
        ("pear", "purple"),
        ("boat", "green"),
    }
)
"""Combinations of kind and colour that only the split "heldout" shows."""

_COUNTS = {
    "easy": ((1, 0.15), (2, 0.60), (3, 0.15), (4, 0.10)),
    "cluttered": ((2, 0.2), (3, 0.4), (4, 0.3), (5, 0.1)),
    "single": ((1, 1.0),),
    "alike": ((2, 0.7), (3, 0.2), (4, 0.1)),
}
_AMBIGUOUS = {kind for kinds in lexicon.HOMOGRAPHS.values() for kind in kinds}
_TICKETS = tuple(kind for kind in KINDS for _ in range(1 if kind in _AMBIGUOUS else 2))
_ALLOWED = {kind: tuple(color for color in COLORS if (kind, color) not in HELDOUT) for kind in KINDS}
_ORDERED_HELDOUT = tuple(sorted(HELDOUT))
_DOMINANCE = 1.3  # how many times the distance along an axis exceeds the other for a word of place to be used

_HIDDEN = 0.25  # share of a toy that the toy in front of it hides at least, on the easy grade, where shapes allow it

Box = tuple[int, int, int, int]
_Places = tuple[list[tuple[int, int]], tuple[int, int] | None]  # corners (y, x), and (holder, held)


@dataclasses.dataclass(frozen=True, slots=True)
class Toy:
    """One toy in a scene.

    Attributes:
      kind: one of ``KINDS``.
      color: one of ``COLORS``.
      size: one of ``SIZES``.
      box: (y0, x0, y1, x1) in pixels, ends excluded, tight around the silhouette.
    """

    kind: str
    color: str
    size: str
    box: Box


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """What there is to see in one image.

    Attributes:
      toys: back to front; a toy's index is its depth.
      holding: (holder, held) indices of toys, or None.
      grade: one of ``GRADES``.
      image_size: pixels along each side.
      ground: RGB of the ground.
      texture: integer that the noise and all clutter follow from.
      sounding: index of the toy that is heard, None in a silent scene.
    """

    toys: tuple[Toy, ...]
    holding: tuple[int, int] | None
    grade: str
    image_size: int
    ground: tuple[int, int, int]
    texture: int
    sounding: int | None = None


def margin(image_size: int) -> int:
    """Free pixels between two toys from which on a word of place ("left of") is used."""
    return max(2, image_size // 16)


def relations(scene: Scene) -> list[tuple[int, str, int]]:
    """All relations that are true with margin, as (toy, relation, toy) with indices into ``scene.toys``."""
    found = []
    gap = margin(scene.image_size)
    toys = scene.toys
    for j in range(1, len(toys)):
        top, left, bottom, right = toys[j].box
        for i in range(j):
            y0, x0, y1, x1 = toys[i].box
            if scene.holding is not None and (scene.holding == (i, j) or scene.holding == (j, i)):
                found.append((scene.holding[0], "holding", scene.holding[1]))
                continue
            free_x = max(left - x1, x0 - right)
            free_y = max(top - y1, y0 - bottom)
            if free_x < 0 and free_y < 0:
                shared = (min(x1, right) - max(x0, left)) * (min(y1, bottom) - max(y0, top))
                if shared >= 0.08 * (y1 - y0) * (x1 - x0):
                    found.append((j, "in front of", i))
                continue
            dx, dy = left + right - x0 - x1, top + bottom - y0 - y1
            if free_x >= gap and abs(dx) >= _DOMINANCE * abs(dy):
                found += [(i, "left of", j), (j, "right of", i)] if dx > 0 else [(j, "left of", i), (i, "right of", j)]
            elif free_y >= gap and abs(dy) >= _DOMINANCE * abs(dx):
                found += [(i, "above", j), (j, "below", i)] if dy > 0 else [(j, "above", i), (i, "below", j)]
    return found


def places(scene: Scene) -> list[tuple[int, str]]:
    """Where toys are clearly to one side of the picture's middle, as (toy, relation)."""
    found = []
    for i, toy in enumerate(scene.toys):
        y0, x0, y1, x1 = toy.box
        dx, dy = x0 + x1 - scene.image_size, y0 + y1 - scene.image_size  # twice the way from the middle
        if max(abs(dx), abs(dy)) < scene.image_size // 4:
            continue
        if abs(dx) >= _DOMINANCE * abs(dy):
            found.append((i, "right of" if dx > 0 else "left of"))
        elif abs(dy) >= _DOMINANCE * abs(dx):
            found.append((i, "below" if dy > 0 else "above"))
    return found


def length(size: str, image_size: int) -> int:
    """Pixels along the longer side of a toy of a size."""
    return round(SIDE_OF_SIZE[size] * image_size)


def extent(kind: str, size: str, image_size: int) -> tuple[int, int]:
    """Height and width in pixels of a kind at a size."""
    height, width = shapes.solid(kind, length(size, image_size)).shape
    return height, width


def uniforms(rng: np.random.Generator) -> Iterator[float]:
    """Endless numbers in [0, 1), drawn in blocks: one call of a generator per number would be far slower."""
    while True:
        yield from rng.random(48).tolist()


def sample(draws: Iterator[float], grade: str = "easy", image_size: int = 32, heldout: bool = False) -> Scene:
    """Draws a scene.

    Args:
      draws: numbers in [0, 1) from ``uniforms``; as many are taken as are needed.
      grade: "easy" (toys apart, kinds and colours distinct), "cluttered", "single" (easy, one toy), or "alike" (easy,
        but all toys are of one kind, and what tells them apart is colour, size and place).
      image_size: pixels along each side.
      heldout: whether one toy is a held-out combination of kind and colour; none is otherwise.
    """
    easy = grade != "cluttered"
    count = _pick_count(next(draws), grade)
    looks: list[tuple[str, str, str]] = []
    if heldout:
        kind, color = _ORDERED_HELDOUT[int(next(draws) * len(_ORDERED_HELDOUT))]
        looks.append((kind, color, SIZES[int(next(draws) * 3)]))
    while len(looks) < count:
        kind = looks[0][0] if grade == "alike" and looks else _TICKETS[int(next(draws) * len(_TICKETS))]
        colors = _ALLOWED[kind]
        color = colors[int(next(draws) * len(colors))]
        if easy and any((kind == other[0] and grade != "alike") or color == other[1] for other in looks):
            continue
        looks.append((kind, color, SIZES[int(next(draws) * 3)]))
    if heldout and count > 1:  # the held-out toy is at any depth and any place
        place = int(next(draws) * count)
        looks[0], looks[place] = looks[place], looks[0]
    return arrange(draws, looks, grade, image_size)


def arrange(draws: Iterator[float], looks: Sequence[tuple[str, str, str]], grade: str, image_size: int) -> Scene:
    """Draws where toys of given kinds, colours and sizes lie, and what they lie on."""
    solids = [shapes.solid(kind, length(size, image_size)) for kind, _, size in looks]
    corners, held = (_scatter if grade == "cluttered" else _place)(draws, solids, image_size)
    toys = tuple(
        Toy(kind, color, size, (y, x, y + height, x + width))
        for (kind, color, size), (y, x), (height, width) in zip(
            looks, corners, (solid.shape for solid in solids), strict=True
        )
    )
    shade = 88 + 76 * next(draws)
    tint = (int(shade + 16 * next(draws) - 8), int(shade + 16 * next(draws) - 8), int(shade + 16 * next(draws) - 8))
    return Scene(toys, held, grade, image_size, tint, int(next(draws) * 2**32))


def _pick_count(draw: float, grade: str) -> int:
    for count, weight in _COUNTS[grade]:
        draw -= weight
        if draw < 0:
            return count
    return _COUNTS[grade][-1][0]


def _place(draws: Iterator[float], solids: list[np.ndarray], image_size: int) -> _Places:
    """Places toys so that none overlap, but for a pair one of which may be in front of the other."""
    if len(solids) == 1:
        height, width = solids[0].shape
        return [(_within(draws, image_size - height), _within(draws, image_size - width))], None
    relation = ("place", "place", "place", "place", "front", "hold")[int(next(draws) * 6)]
    axis = int(next(draws) * 2)  # the pair lies along y (0) or x (1)
    across = image_size
    start = 0
    rest: list[tuple[int, int]] = []
    if len(solids) > 2:  # the pair in one half of the image, the others in the quarters of the other half
        across = image_size // 2
        start = across * int(next(draws) * 2)
        swap = int(next(draws) * 2)
        for number, solid in enumerate(solids[2:]):
            along = across * ((number + swap) % 2) + _within(draws, across - solid.shape[axis])
            side = across - start + _within(draws, across - solid.shape[1 - axis])
            rest.append((along, side) if axis == 0 else (side, along))
    pair, held = _place_pair(draws, relation, solids, axis, image_size, across)
    corners = [(along, start + side) if axis == 0 else (start + side, along) for along, side in pair]
    return corners + rest, held


def _place_pair(
    draws: Iterator[float], relation: str, solids: list[np.ndarray], axis: int, room: int, width: int
) -> _Places:
    """Places the first two toys, (along, across) in a strip ``room`` pixels along ``axis`` and ``width`` across."""
    first = int(next(draws) * 2)  # which of the two comes first along the strip
    a, b = solids[first].shape, solids[1 - first].shape
    across_a = _within(draws, width - a[1 - axis])
    center_a = across_a + a[1 - axis] / 2
    along_a = along_b = 0
    if relation == "place":
        gaps = sorted(_within(draws, room - a[axis] - b[axis] - margin(room)) for _ in range(2))
        along_a, along_b = gaps[0], gaps[1] + a[axis] + margin(room)
        reach = (along_b - along_a + (b[axis] - a[axis]) / 2) / _DOMINANCE
    else:
        reach = room / 16
    low = max(0, min(width - b[1 - axis], int(np.ceil(center_a - reach - b[1 - axis] / 2))))
    high = max(low, min(width - b[1 - axis], int(center_a + reach - b[1 - axis] / 2)))
    across_b = low + _within(draws, high - low)
    if relation != "place":
        step = a[axis] + 1 if relation == "hold" else _step_into(solids, first, axis, across_b - across_a)
        along_a = _within(draws, room - max(a[axis], step + b[axis]))
        along_b = along_a + step
    placed = [(along_a, across_a), (along_b, across_b)]
    if first == 1:
        placed.reverse()
    if relation != "hold":
        return placed, None
    holder = int(next(draws) * 2)
    return placed, (holder, 1 - holder)


def _step_into(solids: list[np.ndarray], first: int, axis: int, shift: int) -> int:
    """Pixels along ``axis`` between the starts of two toys for one to hide a quarter of the other, or nearly so.

    Args:
      solids: the two silhouettes, the hidden one first.
      first: which of the two comes first along the axis.
      axis: 0 for y, 1 for x.
      shift: pixels across the axis from the start of the one that comes first to the start of the other.
    """
    back, front = solids[0], solids[1]
    sign = 1 if first == 0 else -1
    size = solids[first].shape[axis]
    shortest = max(1, size - max(back.shape[axis], front.shape[axis]) * 2 // 3)
    best, most = size - 2, -1.0
    for step in range(size - 2, shortest, -1):
        offset = (sign * step, sign * shift)
        share = shapes.hidden(back, front, *(offset if axis == 0 else offset[::-1]))
        if share >= _HIDDEN:
            return step
        if share > most:
            best, most = step, share
    return best


def _scatter(draws: Iterator[float], solids: list[np.ndarray], image_size: int) -> _Places:
    """Places toys anywhere, such that boxes rarely share more than 45% of the smaller one."""
    corners: list[tuple[int, int]] = []
    held = None
    if int(next(draws) * 6) == 0:
        axis = int(next(draws) * 2)
        pair, held = _place_pair(draws, "hold", solids, axis, image_size, image_size)
        corners = [spot if axis == 0 else (spot[1], spot[0]) for spot in pair]
    for solid in solids[len(corners) :]:
        height, width = solid.shape
        y = x = 0
        for _ in range(8):
            y, x = _within(draws, image_size - height), _within(draws, image_size - width)
            if all(
                max(0, min(y + height, v + h) - max(y, v)) * max(0, min(x + width, u + w) - max(x, u))
                <= 0.45 * min(h * w, height * width)
                for (v, u), (h, w) in zip(corners, (other.shape for other in solids), strict=False)
            ):
                break
        corners.append((y, x))
    return corners, held


def _within(draws: Iterator[float], largest: int) -> int:
    """A whole number from 0 to ``largest`` inclusive."""
    return int(next(draws) * (largest + 1))
