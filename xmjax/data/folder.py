"""Folders of images with captions, in the Hugging Face image folder convention."""

import csv
import hashlib
import io
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xmjax.config import DataConfig
from xmjax.data.image_files import ImageFiles, Row, check_root, choose_languages, squared
from xmjax.data.source import Region
from xmjax.errors import UserError

_METADATA = ("metadata.jsonl", "metadata.csv")
_TEXT_COLUMNS = ("text", "caption", "captions")
_REGION_EXAMPLE = '{"bbox": [x, y, width, height], "category": "dog"}'
_EXAMPLE = '{"file_name": "images/a.jpg", "text": "a red boat"}'


class Folder(ImageFiles):
    """Images with a metadata file beside them: ``metadata.jsonl`` or ``metadata.csv``.

    The metadata names a file per line, relative to itself, and stands in the root, in folders below it, or both.
    A text is a string, a list of strings, or a mapping from language to either. Lines of one id are
    one record with all their captions and pictures; records without a caption in the chosen languages are left out.

    Args:
      root: the folder.
      metadata: name of the metadata file where it is another; ".csv" is read as CSV, all else as JSON lines.
      file_column: the column that names the file.
      text_column: the column of the text. Empty: the first of ``text``, ``caption`` and ``captions`` that exists.
      id_column: the column of the record's id. Empty: the file's path relative to the root.
      regions_column: the column of the objects: as COCO has them, a list of ``{"bbox": [x, y, width, height],
        "category": name}`` in pixels, or as Hugging Face has them, ``{"bbox": [...], "category": [...]}``. Empty: none.
      width_column: the column of the width in pixels of what the boxes were drawn in.
      height_column: the column of its height.
      label_column: the column of the record's classes or tags, a text as of captions. Empty: none.
      languages: language tags to keep. Empty: all.
      **options: the keyword arguments of `ImageFiles`.

    Raises:
      UserError: anything that is wrong with the folder or its metadata, except images that cannot be decoded,
        which are `Unreadable` when read.
    """

    def __init__(
        self,
        root: str,
        *,
        metadata: str = "",
        file_column: str = "file_name",
        text_column: str = "",
        id_column: str = "",
        regions_column: str = "",
        width_column: str = "width",
        height_column: str = "height",
        label_column: str = "",
        languages: Sequence[str] = (),
        name: str = "folder",
        **options: Any,
    ):
        root = check_root(root)
        lines, digest = _read(root, _find_metadata(root, metadata))
        columns = dict.fromkeys(column for _, _, values in lines for column in values)
        _check_column(root, columns, file_column, "file_column")
        text_column = text_column or next((name for name in _TEXT_COLUMNS if name in columns), _TEXT_COLUMNS[0])
        _check_column(root, columns, text_column, "text_column")
        if id_column:
            _check_column(root, columns, id_column, "id_column")
        if label_column:
            _check_column(root, columns, label_column, "label_column")
        if regions_column:
            needed = {"regions_column": regions_column, "width_column": width_column, "height_column": height_column}
            for option, column in needed.items():
                _check_column(root, columns, column, option)
        rows = []
        for place, file, values in _files(root, lines, file_column):
            record_id = values.get(id_column) if id_column else file
            if record_id is None or record_id == "":
                raise UserError(f"{place}: column {id_column!r} is empty: set it or remove the line.")
            row = Row(str(record_id), file, list(captions(values.get(text_column), place)), place)
            if regions_column:
                row.frame = _frame(values.get(width_column), values.get(height_column), place)
                row.regions = tuple(regions(values.get(regions_column), row.frame, place))
            if label_column:
                row.labels = tuple(
                    dict.fromkeys(text for _, text in captions(values.get(label_column), place, "label"))
                )
            rows.append(row)
        further = [regions_column, width_column, height_column] if regions_column else []
        further += [label_column] if label_column else []
        settings = {
            "source": "folder",
            "metadata": digest,
            "columns": [file_column, text_column, id_column, *further],
            "languages": list(languages),
        }
        super().__init__(root, choose_languages(rows, languages, root), settings, name=name, **options)


def boxed(root: str, options: DataConfig) -> dict[str, tuple[Region, ...]]:
    """The objects of a folder's pictures, by file, in the squares that are made of them; {} where none are told.

    Args:
      root: the folder, with metadata as `Folder` reads it; captions are not asked for.
      options: the columns; the objects are in "boxes" where it names none.

    Raises:
      UserError: the metadata cannot be read, or a line's boxes are of another form.
    """
    paths = sorted(_listings(root, options.metadata))
    if not paths:
        return {}
    lines, _ = _read(root, paths)
    column, found = options.regions_column or "boxes", {}
    for place, file, values in _files(root, lines, options.file_column):
        if column not in values:
            continue
        frame = _frame(values.get(options.width_column), values.get(options.height_column), place)
        squares = (squared(region, frame, options.fit) for region in regions(values[column], frame, place))
        found[file] = tuple(region for region in squares if region is not None)
    return found


Line = tuple[str, int, dict[str, Any]]
"""Of a metadata file its path inside the root, the number of a line, and its columns."""


def _read(root: str, paths: Iterable[str]) -> tuple[list[Line], str]:
    """All lines of a folder's metadata files, and a digest of them."""
    digest = hashlib.blake2b(digest_size=16)
    lines: list[Line] = []
    for path in paths:
        try:
            data = Path(root, path).read_bytes()
        except OSError as error:
            raise UserError(f"{os.path.join(root, path)} cannot be read: {error.strerror}.") from error
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
        lines.extend((path, number, values) for number, values in parse(os.path.join(root, path), data))
    if not lines:
        raise UserError(f"the metadata in {root} has no lines: write one for each image, such as {_EXAMPLE}.")
    return lines, digest.hexdigest()


def _files(root: str, lines: Iterable[Line], column: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(place for errors, file inside the root, columns) of lines."""
    for path, number, values in lines:
        place = f"{os.path.join(root, path)}, line {number}"
        file = values.get(column)
        if not isinstance(file, str) or not file:
            raise UserError(f"{place}: column {column!r} names no file: set it or remove the line.")
        yield place, _inside_root(posixpath.join(posixpath.dirname(path), file), file, place), values


def _find_metadata(root: str, name: str) -> list[str]:
    """Paths of the metadata files, relative to the root with forward slashes, sorted."""
    found = list(_listings(root, name))
    if not found:
        missing = name or " or ".join(_METADATA)
        state = "is empty" if not os.listdir(root) else f"has no {missing}, nor has a folder below it"
        raise UserError(
            f"--config.data.root={root} {state}: write {name or _METADATA[0]} with one line for each image, "
            f"such as {_EXAMPLE}, or name another file with --config.data.metadata=NAME."
        )
    return sorted(found)


def _listings(root: str, name: str) -> Iterator[str]:
    """`_find_metadata`, in any order, none if there are none."""
    if "/" in name:
        yield from [name] if os.path.isfile(os.path.join(root, name)) else []
        return
    for folder, _, files in os.walk(root):
        present = set(files)
        match = next((wanted for wanted in ([name] if name else _METADATA) if wanted in present), None)
        if match:
            yield posixpath.normpath(posixpath.join(os.path.relpath(folder, root), match))


def parse(path: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, columns) of each line of a metadata file that is not blank."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {number}: not UTF-8: save the file in this encoding.") from error
    if path.endswith(".csv"):
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
        try:
            for values in reader:
                if None in values:
                    raise csv.Error("more cells than columns; a text with commas is put in quotes")
                yield reader.line_num, values
        except csv.Error as error:
            raise UserError(f"{path}, line {reader.line_num}: not CSV ({error}): mend or remove the line.") from error
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: not JSON ({error}): mend or remove the line.") from error
        if not isinstance(values, dict):
            raise UserError(f"{path}, line {number}: not a JSON object: write lines such as {_EXAMPLE}.")
        yield number, values


def _check_column(root: str, columns: Sequence[str] | dict[str, None], name: str, option: str) -> None:
    if name not in columns:
        raise UserError(
            f"the metadata in {root} has no column {name!r}; it has {', '.join(map(str, columns))}: "
            f"choose with --config.data.{option}=NAME."
        )


def captions(value: Any, place: str, what: str = "caption") -> Iterator[tuple[str, str]]:
    """(language, text) of a text: a string, a list of strings, or a mapping from language to either.

    Args:
      value: of the column.
      place: where it stands, for errors.
      what: the text is, for errors.

    Raises:
      UserError: it is none of these, or is not Unicode.
    """
    for language, texts in value.items() if isinstance(value, dict) else [("", value)]:
        for text in texts if isinstance(texts, list) else [texts]:
            if text is None:
                continue
            if not isinstance(text, str):
                raise UserError(f"{place}: a {what} is {type(text).__name__} where text is expected: mend the line.")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UserError(f"{place}: a {what} has half of a surrogate pair: mend the line.") from error
            if text.strip():
                yield language, text.strip()


def regions(value: Any, frame: tuple[float, float], place: str) -> Iterator[Region]:
    """The objects of a picture; see `Folder`. Crowds, and boxes without area inside the picture, are left out.

    Args:
      value: of the column.
      frame: (width, height) in pixels of what the boxes were drawn in.
      place: where it stands, for errors.

    Raises:
      UserError: it is of another form.
    """
    if isinstance(value, dict):
        boxes, names = value.get("bbox"), value.get("category", value.get("categories"))
        if not isinstance(boxes, list) or not isinstance(names, list) or len(boxes) != len(names):
            raise UserError(f"{place}: regions need as many 'bbox' as 'category', {_REGION_EXAMPLE} a region.")
        value = [{"bbox": box, "category": name} for box, name in zip(boxes, names, strict=True)]
    width, height = frame
    for one in value or []:
        try:
            x, y, w, h = (float(edge) for edge in one["bbox"])
            label, crowd = one["category"], one.get("iscrowd", 0)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise UserError(f"{place}: a region is {one!r}: write {_REGION_EXAMPLE}.") from None
        if not isinstance(label, str) or not label.strip():
            raise UserError(f"{place}: a region's category is {label!r}: write its name, {_REGION_EXAMPLE}.")
        box = (max(0.0, y / height), max(0.0, x / width), min(1.0, (y + h) / height), min(1.0, (x + w) / width))
        if not crowd and box[2] > box[0] and box[3] > box[1]:
            yield Region(box, label.strip())


def _frame(width: Any, height: Any, place: str) -> tuple[float, float]:
    try:
        frame = float(width), float(height)
    except (TypeError, ValueError):
        frame = 0.0, 0.0
    if not min(frame) > 0:
        raise UserError(f"{place}: width {width!r} and height {height!r} of the picture are no pixels: set them.")
    return frame


def _inside_root(path: str, written: str, place: str) -> str:
    path = posixpath.normpath(path)
    if posixpath.isabs(path) or path.split("/")[0] == "..":
        raise UserError(
            f"{place}: {written} is outside --config.data.root: name files inside it, relative to the metadata."
        )
    return path
