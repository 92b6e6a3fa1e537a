"""Localisation: where in a picture what is heard lies."""

import gzip
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from xmjax.data import playroom
from xmjax.data.arrays import audio_bytes
from xmjax.data.image_files import squared
from xmjax.data.source import Record, Region
from xmjax.errors import UserError
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.retrieval import vectors
from xmjax.evaluation.sound import sound_records
from xmjax.models.embedders import lean
from xmjax.models.objects import relations

Box = tuple[float, float, float, float]

THRESHOLD = 0.6
"""Share of a map's range above which it counts; this and `EVENED` were chosen on training scenes (docs/log.md)."""

EVENED = 8
"""Power of the relation between two tokens by which they share a map: the greater, the less they share."""

THRESHOLDS = np.linspace(0, 1, 21)
"""Overlaps at which the curve of successes is read."""


@EVALUATORS.register("localize")
class LocalizeEvaluator(Evaluator):
    """Share of sounds whose part of the picture overlaps the truth by half (cIoU@0.5), and the area under all overlaps.

    A map counts where it is above `THRESHOLD` of its range; what is scored is the box around the largest part of it
    (Choe et al. 2020), for the truth is a box of which most toys fill a half. "map" is the share for the map itself. Of
    data without boxes, or without sound, nothing is scored.
    """

    stream = "frame_audio"

    @classmethod
    def check(cls, config):
        """Raises UserError for boxes that cannot be read."""
        if config.evaluation.boxes:
            read_boxes(Path(config.evaluation.boxes))

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        known = read_boxes(Path(config.evaluation.boxes)) if config.evaluation.boxes else {}
        fit = config.frame_audio.fit
        found = [(r, boxes) for r in sound_records(config, captions=False) if (boxes := boxes_of(r, known, fit))]
        self.records = [record for record, _ in found]
        if not self.records:
            return
        size = config.model.image.size
        self.truth = [mask(boxes, size) for _, boxes in found]
        self.arrays = (
            self.pictures(self.records),
            np.stack([audio_bytes(r) for r in self.records]),
        )
        self.run = self.compiled(heat)

    def __call__(self, params):
        if not self.records:
            return Report({"localize/n": 0})
        image, audio = self.arrays
        options = self.config.model.image
        size, aside = options.size, lean(options)
        maps = self.run(params, image, audio)
        other = self.run(params, image, np.roll(audio, 1, 0))
        cells = math.isqrt(maps.shape[1])
        seen = [spread(t.reshape(-1), size, -aside) for t in self.truth]  # moved to the cells that tell of it
        middle = centre(float(np.mean([truth.mean() for truth in self.truth])), size)

        def regions(maps: Iterable[np.ndarray], share: float = THRESHOLD) -> list[np.ndarray]:
            return [above(spread(m, size, aside), share) for m in maps]

        found = regions(maps)
        shown = {
            "": [boxed(region) for region in found],
            "map": found,
            "shuffled_sound": [boxed(region) for region in regions(other)],
            "oracle": [boxed(region) for region in regions((coarse(t, cells) for t in seen), 0.5)],
            "whole_image": [np.ones((size, size), bool)] * len(self.truth),
            "centre": [middle] * len(self.truth),
        }
        overlap = {k: np.array([iou(m, t) for m, t in zip(v, self.truth, strict=True)]) for k, v in shown.items()}
        scores = {
            "localize/cIoU@0.5": at_half(overlap[""]),
            "localize/cIoU@0.5/oracle": at_half(overlap["oracle"]),
            "localize/AUC": area(overlap[""]),
            "localize/AUC/oracle": area(overlap["oracle"]),
            **{f"localize/{k}": at_half(overlap[k]) for k in ("map", "shuffled_sound", "whole_image", "centre")},
            "localize/n": len(self.truth),
        }
        return Report(scores)


def heat(model: Any, image: Array, audio: Array) -> Array:
    """How near each token of a picture is to a sound [B, T]: cosines, evened out among tokens that belong together.

    What belongs together is told by the embedder alone, which sees what lies under a token and no further.
    """
    tokens = model.alone("image", model.encode("image", image))
    near = jnp.einsum("bte,be->bt", model.units("image", tokens), vectors(model, audio, "audio"))
    if tokens.spans.shape[-1] != 4:
        return near  # bytes of a file have no places
    seen = model.embedders["image"](image)
    related = relations(seen.vectors.astype(jnp.float32), seen.spans) ** EVENED
    return jnp.einsum("bmt,bt->bm", related / jnp.sum(related, -1, keepdims=True), near)


def spread(values: Shaped[np.ndarray, " T"], size: int, aside: float = 0.0) -> Float[np.ndarray, "S S"]:
    """A map of square cells, row by row, as one of ``size`` pixels, linear between the middles of what cells tell of.

    Args:
      values: of the cells.
      size: pixels a side.
      aside: those middles lie so many pixels to the right of and below the cells' own, see `lean`.

    Raises:
      UserError: the picture's tokens are no square of cells.
    """
    side = math.isqrt(len(values))
    if side * side != len(values):
        raise UserError(f"the picture has {len(values)} tokens, which are no square of cells: choose a pixel embedder")
    place = ((np.arange(size) + 0.5 - aside) * side / size - 0.5).astype(np.float32)
    x, y = np.meshgrid(place, place)
    cells = values.reshape(side, side).astype(np.float32)
    return cv2.remap(cells, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def above(heat: Float[np.ndarray, "S S"], share: float = THRESHOLD) -> Bool[np.ndarray, "S S"]:
    """Where a map is above this share of its range; nowhere on a constant one."""
    return heat > heat.min() + share * (heat.max() - heat.min())


def boxed(region: Bool[np.ndarray, "S S"]) -> Bool[np.ndarray, "S S"]:
    """The box around the largest connected part of a region, filled; nothing of nothing."""
    count, _, parts, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8))
    found = np.zeros_like(region)
    if count > 1:
        x, y, width, height, _ = parts[1 + np.argmax(parts[1:, cv2.CC_STAT_AREA])]
        found[y : y + height, x : x + width] = True
    return found


def box_around(heat: Float[np.ndarray, "S S"]) -> Box | None:
    """What is scored of a map, (y0, x0, y1, x1) as fractions of the side; None of a constant one."""
    region = boxed(above(heat))
    if not region.any():
        return None
    ends = [np.flatnonzero(region.any(axis)) for axis in (1, 0)]
    (y0, y1), (x0, x1) = ((float(e[0] / len(heat)), float((e[-1] + 1) / len(heat))) for e in ends)
    return y0, x0, y1, x1


def mask(boxes: Sequence[Box], size: int) -> Bool[np.ndarray, "S S"]:
    """Pixels whose middle lies in one of several boxes (y0, x0, y1, x1), fractions of the side."""
    middle = (np.arange(size) + 0.5) / size
    found = np.zeros((size, size), bool)
    for y0, x0, y1, x1 in boxes:
        found |= ((y0 <= middle) & (middle < y1))[:, None] & ((x0 <= middle) & (middle < x1))
    return found


def coarse(truth: Shaped[np.ndarray, "S S"], cells: int) -> Float[np.ndarray, " T"]:
    """The share of each cell that is true: the best that a map of so many cells a side can say."""
    return cv2.resize(truth.astype(np.float32), (cells, cells), interpolation=cv2.INTER_AREA).reshape(-1)


def centre(share: float, size: int) -> Bool[np.ndarray, "S S"]:
    """A square in the middle of the picture that covers this share of it."""
    edge = (1 - math.sqrt(share)) / 2
    return mask([(edge, edge, 1 - edge, 1 - edge)], size)


def iou(found: Bool[np.ndarray, "S S"], truth: Bool[np.ndarray, "S S"]) -> float:
    """Intersection over union, 0 where both are empty."""
    union = np.sum(found | truth)
    return float(np.sum(found & truth) / union) if union else 0.0


def at_half(overlap: Float[np.ndarray, " N"]) -> float:
    """Share of overlaps of a half and more."""
    return float(np.mean(overlap >= 0.5))


def area(overlap: Float[np.ndarray, " N"]) -> float:
    """Area under the share of overlaps that reach a threshold, over thresholds from 0 to 1."""
    return float(np.trapezoid([np.mean(overlap >= t) for t in THRESHOLDS], THRESHOLDS))


def boxes_of(record: Record, known: dict[str, list[Box]], fit: str = "stretch") -> list[Box]:
    """Where what is heard of a record lies: by its truth, or by its id or the name of its file in a list of boxes.

    Boxes of a list are of the whole frame; ``fit`` tells what square was made of it (`data.images.decode`).
    """
    if isinstance(record.truth, playroom.Scene):
        if record.truth.sounding is None:
            return []
        y0, x0, y1, x1 = (edge / record.truth.image_size for edge in record.truth.toys[record.truth.sounding].box)
        return [(y0, x0, y1, x1)]
    found = known.get(record.id) or known.get(Path(record.id.split("#")[0]).stem, [])
    if record.frame is None:
        return found
    fitted = (squared(Region(box, ""), record.frame, fit) for box in found)
    return [region.box for region in fitted if region]


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """A list in the form of VGG-SS: JSON, also gzipped, of {"file", "bbox": [[x0, y0, x1, y1], ...]}, fractions.

    Boxes are cut to the frame; those of which nothing is left, as the published list has some, are none.

    Raises:
      UserError: it cannot be read, or is of another form.
    """
    try:
        data = path.read_bytes()
        rows = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        found = {row["file"]: [_within(*map(float, box)) for box in row["bbox"]] for row in rows}
        return {name: [box for box in boxes if box[0] < box[2] and box[1] < box[3]] for name, boxes in found.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"config.evaluation.boxes={path} cannot be read ({error!r}): give a JSON list of "
            '{"file": NAME, "bbox": [[x0, y0, x1, y1]]}, as VGG-SS has it'
        ) from error


def _within(x0: float, y0: float, x1: float, y1: float) -> Box:
    """The part of a box that lies in the frame."""
    return min(max(y0, 0.0), 1.0), min(max(x0, 0.0), 1.0), min(max(y1, 0.0), 1.0), min(max(x1, 0.0), 1.0)
