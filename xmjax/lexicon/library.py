"""A library of standard texts and of what they look like: one text, many crops (EP 3 889 830, paragraphs 84 to 96)."""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import safetensors
from jaxtyping import Float32, Int, Int32, UInt8
from safetensors.numpy import save_file

from xmjax.data.source import Record, picture_id
from xmjax.errors import UserError

VERSION, METADATA = "2", "xmjax_library"  # 1 knew no pictures
FEATURES = 24
"""Numbers by which crops are compared: principal components of their pixels at `SIDE`."""

SIDE = 12
LEAST = 3
"""Pixels of a side below which a region is no crop."""


@dataclasses.dataclass(frozen=True)
class Library:
    """Standard texts with crops of what they stand for, sorted by text.

    Attributes:
      texts: the standard texts.
      crops: uint8 RGB.
      text_of: index of each crop's text.
      records: id of the record that each crop was cut from.
      pictures: `data.source.picture_id` of that record, as a model sees it.
      seen: how that model sees pictures, by which they are known; "" where nothing is told of it.
    """

    texts: tuple[str, ...]
    crops: UInt8[np.ndarray, "N S S 3"]
    text_of: Int[np.ndarray, " N"]
    records: tuple[str, ...]
    pictures: Int32[np.ndarray, " N"]
    seen: str = ""

    @functools.cached_property
    def components(self) -> tuple[Float32[np.ndarray, " P"], Float32[np.ndarray, "P F"]]:
        """Mean of the crops' pixels at `SIDE`, as fractions, and the directions in which they differ most."""
        pixels = _pixels(self.crops)
        mean = pixels.mean(0)
        _, _, rows = np.linalg.svd(pixels - mean, full_matrices=False)
        # Of either sign a component is as good; a model that was trained with one needs it everywhere.
        rows = rows[:FEATURES] * np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1))[:FEATURES]
        return mean, rows.T

    def features(self, crops: UInt8[np.ndarray, "K Y X 3"]) -> Float32[np.ndarray, "K F"]:
        """What crops of one size are compared by; it depends on nothing but the library and the crops."""
        mean, components = self.components
        return (_pixels(crops) - mean) @ components

    @functools.cached_property
    def _tree(self) -> Any:
        from scipy.spatial import KDTree  # as long to import as jax itself, and few runs have a library

        return KDTree(self.features(self.crops))

    def nearest(self, crops: UInt8[np.ndarray, "K Y X 3"], without: Collection[str] = ()) -> Int[np.ndarray, " K"]:
        """Index of the crop of the library that is most like each crop; -1 where none is left.

        Args:
          crops: to look up.
          without: ids of records whose own crops are passed over, so that none is found by itself.
        """
        own = sum(record in without for record in self.records) if without else 0
        count = min(own + 1, len(self.records))
        _, indices = self._tree.query(self.features(crops), k=count)
        found = np.reshape(indices, (len(crops), count))  # of one neighbour it has no axis
        return np.array([next((i for i in row if self.records[i] not in without), -1) for row in found])

    def mentioned(self, text: str) -> list[tuple[int, int, int]]:
        """Standard texts that stand in a text as whole words, the longest first where they overlap.

        Returns:
          (index of the standard text, first byte, one past the last byte), in order of the text.
        """
        found: list[tuple[int, int, int]] = []
        for match in self._pattern.finditer(text.lower()) if self.texts else ():
            start = len(text[: match.start()].encode())
            found.append((self._index[match.group()], start, start + len(match.group().encode())))
        return found

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {text.lower(): i for i, text in enumerate(self.texts)}

    @functools.cached_property
    def _pattern(self) -> re.Pattern:
        longest = sorted(self._index, key=lambda text: (-len(text), text))
        return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest)) + r")(?!\w)")

    def digest(self) -> str:
        """What identifies the library."""
        parts = (
            repr(self.texts).encode(), self.crops.tobytes(), self.text_of.tobytes(), repr(self.records).encode(),
            self.pictures.tobytes(), self.seen.encode(),
        )  # fmt: skip
        return hashlib.blake2b(b"\0".join(parts), digest_size=16).hexdigest()

    def save(self, path: Path) -> None:
        """Writes the library; equal ones are equal byte for byte."""
        about = json.dumps({"version": VERSION, "texts": self.texts, "records": self.records, "seen": self.seen})
        # One entry of metadata: the format writes several in any order.
        arrays = {"crops": self.crops, "text_of": self.text_of, "pictures": self.pictures}
        save_file(arrays, path, {METADATA: about})


def load(path: Path) -> Library:
    """A library that was saved.

    Raises:
      UserError: there is none, or it is damaged or of another version.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            about = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            if about.get("version") != VERSION:
                raise UserError(
                    f"{path} is no library of version {VERSION}: make it with launch/prepare.py library, and train "
                    "runs that read one of before again"
                )
            crops, text_of, pictures = map(file.get_tensor, ("crops", "text_of", "pictures"))
            return Library(tuple(about["texts"]), crops, text_of, tuple(about["records"]), pictures, about["seen"])
    except (OSError, safetensors.SafetensorError, LookupError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a library ({error}): launch/prepare.py library makes one") from None


def build(
    records: Sequence[Record],
    size: int,
    most: int = 0,
    pictures: Sequence[np.int32] | None = None,
    seen: str = "",
) -> Library:
    """The library of what records show in their regions; a text's equal crops are kept once.

    Args:
      records: with pictures and regions.
      size: side of a crop in pixels.
      most: crops of a text that are kept, the first ones; 0 keeps all.
      pictures: `data.source.picture_id` of the records as a model sees them, where crops are cut from larger pictures.
      seen: how it sees them.
    """
    kept: dict[str, dict[bytes, tuple[np.ndarray, str, np.int32]]] = {}
    for k, record in enumerate(records):
        if record.image is None:
            continue
        picture = picture_id(record) if pictures is None else pictures[k]
        for region in record.regions:
            crop = cut(record.image, region.box, size)
            of_text = kept.setdefault(region.label, {})
            if crop is not None and (not most or len(of_text) < most):
                of_text.setdefault(crop.tobytes(), (crop, record.id, picture))
    texts = tuple(sorted(text for text, crops in kept.items() if crops))
    entries = [(i, *entry) for i, text in enumerate(texts) for entry in kept[text].values()]
    text_of, crops, ids, known = zip(*entries, strict=True) if entries else ((), (), (), ())
    crops = np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)
    return Library(texts, crops, np.array(text_of, np.int32), ids, np.array(known, np.int32), seen)


def cut(image: UInt8[np.ndarray, "Y X 3"], box: Sequence[float], size: int) -> UInt8[np.ndarray, "S S 3"] | None:
    """What lies in a box (y0, x0, y1, x1; fractions of the sides) as a square; None where it is a few pixels."""
    height, width = image.shape[:2]
    y0, x0, y1, x1 = (round(edge * side) for edge, side in zip(box, (height, width, height, width), strict=True))
    if min(y1 - y0, x1 - x0) < LEAST:
        return None
    return cv2.resize(image[y0:y1, x0:x1], (size, size), interpolation=cv2.INTER_AREA)


def _pixels(crops: UInt8[np.ndarray, "N Y X 3"]) -> Float32[np.ndarray, "N P"]:
    small = [cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA).reshape(-1) for crop in crops]
    return np.array(small, np.float32).reshape(len(crops), SIDE * SIDE * 3) / 255
