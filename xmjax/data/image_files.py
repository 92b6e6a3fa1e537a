"""Sources over image files on disk, and what they have in common: checks, splits and decoding on many threads."""

import dataclasses
import functools
import hashlib
import itertools
import os
import posixpath
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xmjax.data import images
from xmjax.data.source import Caption, Record, Region, Unreadable, stable_id
from xmjax.data.words import words
from xmjax.errors import UserError

SPLITS = ("train", "val", "all")


@dataclasses.dataclass(slots=True)
class Row:
    """What is known of a record before its image is read.

    Attributes:
      id: name of the record, unique in its source.
      file: path of the image relative to the root, with forward slashes.
      captions: (language, text) pairs, at least one.
      place: where the row stands, such as "metadata.jsonl, line 3".
      regions: objects with boxes, as fractions of the sides of the picture as it is in the file.
      frame: (width, height) of the picture, or of what its boxes were drawn in, where there are regions.
      labels: classes or tags of the picture.
      others: rows of the same record that show further pictures of it; its captions are true of them too.
    """

    id: str
    file: str
    captions: list[tuple[str, str]]
    place: str
    regions: tuple[Region, ...] = ()
    frame: tuple[float, float] = (1.0, 1.0)
    labels: tuple[str, ...] = ()
    others: list["Row"] = dataclasses.field(default_factory=list)


class ImageFiles:
    """A source over image files that exist on disk; subclasses say which, and with what captions.

    A record of several pictures shows the next of them each time it is read in training, and the first in evaluation.

    Args:
      root: the folder that all files are in.
      rows: the records, all splits together.
      settings: plain values that tell these rows from those that other metadata or options would give.
      split: "train", "val" or "all". A record is in "val" by a hash of its id, whatever other records there are.
      validation_fraction: share of the records in "val".
      held_out: ids of the records in "val", in the place of such a share.
      image_size: side of the decoded images in pixels.
      fit: how images become square, see `images.decode`.
      keep_file_bytes: whether records also have the undecoded file.
      whole: whether a picture shows one object, as large as it and called like the last part of its id.
      name: what to call this source.

    Raises:
      UserError: an image is missing or outside the root, the split is empty, or an option is not valid.
    """

    def __init__(
        self,
        root: str,
        rows: Sequence[Row],
        settings: dict[str, Any],
        *,
        split: str = "train",
        validation_fraction: float = 0.1,
        held_out: frozenset[str] | None = None,
        image_size: int = 64,
        fit: str = "crop",
        keep_file_bytes: bool = False,
        whole: bool = False,
        name: str = "images",
    ):
        if split not in SPLITS:
            raise UserError(f"split {split!r} is not one of {', '.join(SPLITS)}.")
        if not 0 <= validation_fraction <= 1:
            raise UserError(f"--config.data.validation_fraction={validation_fraction} is not between 0 and 1.")
        check_image_options(image_size, fit)
        _check_files(root, list(itertools.chain.from_iterable(map(_pictures, rows))))
        missing = (held_out or frozenset()) - {row.id for row in rows}
        if missing:
            raise UserError(f"--config.data.held_out names {min(missing)!r}, which is no record of {root}.")

        def in_val(row: Row) -> bool:
            return falls_in_val(row.id, validation_fraction) if held_out is None else row.id in held_out

        chosen = [row for row in rows if split == "all" or in_val(row) == (split == "val")]
        if not chosen:
            raise UserError(
                f"the {split} split of {root} is empty: it has {len(rows)} records and validation_fraction is "
                f"{validation_fraction}. Change --config.data.validation_fraction."
                if held_out is None
                else f"the {split} split of {root} is empty: change the file of --config.data.held_out."
            )
        self.name = name
        self._root = root
        self._rows = chosen
        self.varies = any(row.others for row in chosen)
        self._image_size, self._fit, self._keep_file_bytes, self._whole = image_size, fit, keep_file_bytes, whole
        self._settings = settings | {
            "split": split,
            "validation_fraction": validation_fraction if held_out is None else sorted(held_out),
            "image_size": image_size,
            "fit": fit,
            "keep_file_bytes": keep_file_bytes,
        }

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        """Records at ``indices``, in order, with images uint8 [image_size, image_size, 3]; see `Source.read`."""
        turns = [divmod(int(index), len(self)) for index in indices]
        return read_parallel(self._read, [(self._rows[position], turn) for turn, position in turns])

    def manifest(self) -> dict[str, Any]:
        """The options that matter and a hash of the metadata and of the files' names and sizes in bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for row in itertools.chain.from_iterable(map(_pictures, self._rows)):
            try:
                size = os.path.getsize(os.path.join(self._root, row.file))
            except OSError:  # A file that went away since is an unreadable record, not an error of the whole.
                size = -1
            digest.update(f"{row.id}\0{row.file}\0{size}\n".encode())
        pictures = {"pictures": sum(1 + len(row.others) for row in self._rows)} if self.varies else {}
        return self._settings | {"records": len(self._rows), **pictures, "files": digest.hexdigest()}

    def _read(self, item: tuple[Row, int]) -> Record | Unreadable:
        record, turn = item
        # From another one of every record on: a run of less than an epoch would see the first of all.
        shown = (turn + int(stable_id(record.id))) % (1 + len(record.others)) if turn else 0
        row = _pictures(record)[shown]
        label = row.id if row.id == row.file else f"{row.id} ({row.file})"
        path = os.path.join(self._root, row.file)
        try:
            if not os.path.isfile(path):  # Opening a named pipe would wait forever.
                return Unreadable(label, "the file is missing or not a regular file")
            with open(path, "rb") as file:
                data = file.read()
        except OSError as error:
            return Unreadable(label, f"the file cannot be read: {error.strerror}")
        try:
            image = images.decode(data, self._image_size, self._fit)
        except ValueError as error:
            return Unreadable(label, f"the image cannot be decoded: {error}")
        captions = tuple(Caption(text, language, words=words(text)) for language, text in record.captions)
        given = (_whole(row),) if self._whole else row.regions
        regions = tuple(found for region in given if (found := squared(region, row.frame, self._fit)))
        file = data if self._keep_file_bytes else None
        return Record(row.id, captions, image, file, regions=regions, labels=row.labels)


def _pictures(record: Row) -> list[Row]:
    """The rows of a record, one a picture."""
    return [record, *record.others]


def _whole(row: Row) -> Region:
    return Region((0.0, 0.0, 1.0, 1.0), row.id.rpartition("/")[2].replace("_", " "))


LEFT = 0.25
"""Share of a region that must be left in a cropped picture for it to be kept."""


def squared(region: Region, frame: tuple[float, float], fit: str) -> Region | None:
    """A region of a picture as one of the square that is made of it; None where most of it is cut away.

    Args:
      region: with fractions of the picture's sides.
      frame: (width, height) of the picture.
      fit: as of `images.decode`.
    """
    width, height = frame
    side = {"stretch": (height, width), "crop": (min(frame),) * 2, "pad": (max(frame),) * 2}[fit]
    (y0, y1), (x0, x1) = (
        [(edge - 0.5) * whole / part + 0.5 for edge in edges]
        for edges, whole, part in (
            ((region.box[0], region.box[2]), height, side[0]),
            ((region.box[1], region.box[3]), width, side[1]),
        )
    )
    box = (max(0.0, y0), max(0.0, x0), min(1.0, y1), min(1.0, x1))
    left = max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])
    return Region(box, region.label) if left > 0 and left >= LEFT * (y1 - y0) * (x1 - x0) else None


def check_root(root: str) -> str:
    """Returns the path of an existing folder that a user gave, or says how to give one.

    Raises:
      UserError: it is not set, missing or not a folder.
    """
    if not root:
        raise UserError("--config.data.root is not set: pass --config.data.root=DIR, the folder that holds the images.")
    path = os.path.expanduser(root)
    if not os.path.isdir(path):
        problem = "is not a folder" if os.path.exists(path) else "does not exist"
        raise UserError(f"--config.data.root={root} {problem}: pass the folder that holds the images.")
    return path


def check_image_options(image_size: int, fit: str) -> None:
    """Checks what `images.decode` will be asked for.

    Raises:
      UserError: the size is not positive or the fit is unknown.
    """
    if image_size < 1:
        raise UserError(f"image_size {image_size} is not positive: set --config.model.image.size.")
    if fit not in images.FITS:
        raise UserError(f"--config.data.fit={fit!r} is not one of {', '.join(images.FITS)}.")


def choose_languages(rows: Sequence[Row], languages: Sequence[str], root: str) -> list[Row]:
    """Makes one row of those with one id, and keeps the captions in ``languages`` (all where empty) and what has any.

    Raises:
      UserError: no row is left.
    """
    wanted = set(languages)
    kept = []
    for row in _merged(rows):
        captions = [caption for caption in row.captions if not wanted or caption[0] in wanted]
        if captions:
            kept.append(dataclasses.replace(row, captions=captions))
    if not kept and wanted:
        present = sorted({language for row in rows for language, _ in row.captions if language})
        remedy = f"{'choose from them or ' if present else ''}leave --config.data.languages empty"
        there = f"there is {', '.join(present)}" if present else "its captions have no language tags"
        raise UserError(f"{root} has no captions in the languages {', '.join(languages)}: {there}; {remedy}.")
    if not kept:
        raise UserError(f"{root} has no captions: all texts in its metadata are empty.")
    return kept


def read_parallel(read: Callable[[Any], Record | Unreadable], items: Sequence[Any]) -> list[Record | Unreadable]:
    """``[read(item) for item in items]`` on as many threads as there are cores; decoders hold no interpreter lock."""
    # Runs of items, because handing a small image to a thread costs half as much as decoding it.
    length = max(1, len(items) // (4 * _CORES))
    runs = [items[start : start + length] for start in range(0, len(items), length)]
    if len(runs) < 2 or _CORES == 1:
        return [read(item) for item in items]
    done = _threads().map(lambda run: [read(item) for item in run], runs)
    return list(itertools.chain.from_iterable(done))


_CORES = os.cpu_count() or 1


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_CORES, thread_name_prefix="xmjax-decode")


def _merged(rows: Sequence[Row]) -> list[Row]:
    """One row for each id, with the different captions of all its rows, and further rows for its further pictures."""
    records: dict[str, Row] = {}
    for row in rows:
        record = records.setdefault(row.id, dataclasses.replace(row, captions=[], labels=(), others=[]))
        record.captions.extend(caption for caption in row.captions if caption not in record.captions)
        shown = next((picture for picture in _pictures(record) if picture.file == row.file), None)
        if shown is None:
            shown = dataclasses.replace(row, captions=[], labels=())
            record.others.append(shown)
        shown.labels = tuple(dict.fromkeys((*shown.labels, *row.labels)))
    return list(records.values())


def _check_files(root: str, rows: Sequence[Row]) -> None:
    """Looks all files up in directory listings, which takes far less time than to look for each."""
    listings: dict[str, frozenset[str]] = {}
    missing = []
    for row in rows:
        folder, name = posixpath.split(row.file)
        if folder not in listings:
            try:
                listings[folder] = frozenset(os.listdir(os.path.join(root, folder)))
            except (OSError, ValueError):
                listings[folder] = frozenset()
        if name not in listings[folder]:
            missing.append(row)
    if missing:
        named = "; ".join(f"{row.file} ({row.place})" for row in missing[:3])
        more = "; ..." if len(missing) > 3 else ""
        raise UserError(
            f"{len(missing)} of {len(rows)} images are missing in {root}: {named}{more}. "
            "Put them there, remove their lines, or pass another --config.data.root=DIR."
        )


def falls_in_val(record_id: str, validation_fraction: float) -> bool:
    """Whether a record is held out, by a hash of its id: adding records moves none."""
    digest = hashlib.blake2b(record_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < validation_fraction * 2**64
