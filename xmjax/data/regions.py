"""Objects of a picture as arrays, and which of them are masked together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, UInt16
from scipy.sparse.csgraph import connected_components

from xmjax import vocab
from xmjax.data.arrays import written
from xmjax.data.source import Region

Box = tuple[float, float, float, float]


def kept(regions: Sequence[Region], count: int) -> tuple[Region, ...]:
    """The ``count`` largest of a picture's regions, in the order they came in."""
    if len(regions) <= count:
        return tuple(regions)
    areas = [(y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in (region.box for region in regions)]
    largest = set(np.argsort(areas, kind="stable")[-count:].tolist())
    return tuple(region for i, region in enumerate(regions) if i in largest)


def overlaps(boxes: Sequence[Box]) -> Bool[np.ndarray, "K K"]:
    """Which boxes share area with which."""
    edges = np.array(boxes, np.float64).reshape(-1, 4)
    low = np.maximum(edges[:, None, :2], edges[None, :, :2])
    high = np.minimum(edges[:, None, 2:], edges[None, :, 2:])
    return np.all(high > low, -1)


def groups(boxes: Sequence[Box]) -> list[list[int]]:
    """Boxes that hang together by overlaps; one that overlaps none is a group of its own (EP 3 889 830, claim 3)."""
    if not boxes:
        return []
    count, group = connected_components(overlaps(boxes), directed=False)
    return [np.flatnonzero(group == i).tolist() for i in range(count)]


def boxes_array(regions: Sequence[Region], count: int) -> Float32[np.ndarray, "K 4"]:
    """Boxes of ``count`` regions, (y0, x0, y1, x1); rows of zeros, which have no area, are no region."""
    found = np.zeros((count, 4), np.float32)
    for i, region in enumerate(kept(regions, count)):
        found[i] = region.box
    return found


def masked_group(
    regions: Sequence[Region], count: int, rng: np.random.Generator, whole: bool = True
) -> Bool[np.ndarray, " K"]:
    """One group of overlapping regions, or one that stands by itself, drawn at random; none of no regions.

    Not ``whole``: one region alone, though others may overlap it.
    """
    masked = np.zeros(count, bool)
    boxes = [region.box for region in kept(regions, count)]
    found = groups(boxes) if whole else [[i] for i in range(len(boxes))]
    if found:
        masked[found[int(rng.integers(len(found)))]] = True
    return masked


def label_ids(regions: Sequence[Region], masked: Bool[np.ndarray, " K"], max_bytes: int) -> UInt16[np.ndarray, "K W"]:
    """For every masked region the decoder's sequence sentinel, label, EOS; rows of padding for the others."""
    ids = np.full((len(masked), max_bytes + 2), vocab.PAD, np.uint16)
    for i, region in enumerate(kept(regions, len(masked))):
        if masked[i]:
            ids[i] = written(vocab.sentinel(0), region.label, max_bytes)
    return ids
