"""Folders of images with captions, in the Hugging Face image folder convention."""

import csv
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from xmjax.data import images
from xmjax.data.source import Caption, Record, Unreadable
from xmjax.data.words import words
from xmjax.errors import UserError

SPLITS = ("train", "val", "all")

_METADATA = ("metadata.jsonl", "metadata.csv")
_TEXT_COLUMNS = ("text", "caption", "captions")


@dataclasses.dataclass(slots=True)
class Row:
    """What is known of a record before its image is read.

    Attributes:
      id: name of the record, unique in its source.
      file: path of the image relative to the root, with forward slashes.
      captions: (language, text) pairs, at least one.
      place: where the row stands, such as "metadata.jsonl, line 3".
    """

    id: str
    file: str
    captions: list[tuple[str, str]]
    place: str


class ImageFiles:
    """A source over image files that exist on disk; subclasses say which, and with what captions.

    Args:
      root: the folder that all files are in.
      rows: the records, all splits together.
      settings: plain values that tell these rows from those that other metadata or options would give.
      split: "train", "val" or "all". A record is in "val" by a hash of its id, whatever other records there are.
      val_fraction: share of the records in "val".
      image_size: side of the decoded images in pixels.
      fit: how images become square, see `images.decode`.
      keep_file_bytes: whether records also have the undecoded file.
      name: what to call this source.

    Raises:
      UserError: an image is missing or outside the root, an id stands for two files, the split is empty, or an
        option is not valid.
    """

    def __init__(
        self,
        root: str,
        rows: Sequence[Row],
        settings: dict[str, Any],
        *,
        split: str = "train",
        val_fraction: float = 0.1,
        image_size: int = 64,
        fit: str = "crop",
        keep_file_bytes: bool = False,
        name: str = "images",
    ):
        if split not in SPLITS:
            raise UserError(f"data.split {split!r} is not one of {', '.join(SPLITS)}.")
        if not 0 <= val_fraction <= 1:
            raise UserError(f"data.val_fraction {val_fraction} is not between 0 and 1.")
        check_image_options(image_size, fit)
        rows = _merge(rows)
        _check_files(root, rows)
        chosen = [row for row in rows if split == "all" or _in_val(row.id, val_fraction) == (split == "val")]
        if not chosen:
            raise UserError(
                f"the {split} split of {root} is empty: it has {len(rows)} records and val_fraction is "
                f"{val_fraction}. Change --config.data.val_fraction or take --config.data.split=all."
            )
        self.name = name
        self._root = root
        self._rows = chosen
        self._image_size, self._fit, self._keep_file_bytes = image_size, fit, keep_file_bytes
        self._settings = settings | {
            "split": split,
            "val_fraction": val_fraction,
            "image_size": image_size,
            "fit": fit,
            "keep_file_bytes": keep_file_bytes,
        }

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        """Records at ``indices``, in order, with images uint8 [image_size, image_size, 3]; see `Source.read`."""
        return read_parallel(self._read, [self._rows[index] for index in indices])

    def manifest(self) -> dict[str, Any]:
        """The options that matter and a hash of the metadata and of the files' names and sizes in bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for row in self._rows:
            try:
                size = os.path.getsize(os.path.join(self._root, row.file))
            except OSError:  # A file that went away since is an unreadable record, not an error of the whole.
                size = -1
            digest.update(f"{row.id}\0{row.file}\0{size}\n".encode())
        return self._settings | {"records": len(self._rows), "files": digest.hexdigest()}

    def _read(self, row: Row) -> Record | Unreadable:
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
        captions = tuple(Caption(text, language, words=words(text)) for language, text in row.captions)
        return Record(row.id, captions, image, data if self._keep_file_bytes else None)


class Folder(ImageFiles):
    """Images with a metadata file beside them: ``metadata.jsonl`` or ``metadata.csv``.

    The metadata names a file per line, relative to itself, and stands in the root, in folders below it, or both.
    A text is a string, a list of strings, or a mapping from language to either. Lines that name the same file are
    one record with all their captions; lines without a caption in the chosen languages are left out.

    Args:
      root: the folder.
      metadata: name of the metadata file where it is another; ".csv" is read as CSV, all else as JSON lines.
      file_column: the column that names the file.
      text_column: the column of the text. Empty: the first of ``text``, ``caption`` and ``captions`` that exists.
      id_column: the column of the record's id. Empty: the file's path relative to the root.
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
        languages: Sequence[str] = (),
        name: str = "folder",
        **options: Any,
    ):
        root = check_root(root)
        digest = hashlib.blake2b(digest_size=16)
        lines: list[tuple[str, int, dict[str, Any]]] = []
        for path in _find_metadata(root, metadata):
            try:
                with open(os.path.join(root, path), "rb") as file:
                    data = file.read()
            except OSError as error:
                raise UserError(f"{os.path.join(root, path)} cannot be read: {error.strerror}.") from error
            digest.update(f"{path}\0{len(data)}\0".encode() + data)
            lines.extend((path, number, values) for number, values in _parse(os.path.join(root, path), data))
        if not lines:
            raise UserError(f"the metadata in {root} has no lines: write one for each image, such as {_EXAMPLE}.")
        columns = dict.fromkeys(column for _, _, values in lines for column in values)
        _check_column(root, columns, file_column, "file_column")
        text_column = text_column or next((name for name in _TEXT_COLUMNS if name in columns), _TEXT_COLUMNS[0])
        _check_column(root, columns, text_column, "text_column")
        if id_column:
            _check_column(root, columns, id_column, "id_column")
        rows = []
        for path, number, values in lines:
            place = f"{os.path.join(root, path)}, line {number}"
            file = values.get(file_column)
            if not isinstance(file, str) or not file:
                raise UserError(f"{place}: column {file_column!r} names no file: set it or remove the line.")
            file = _inside_root(posixpath.join(posixpath.dirname(path), file), file, place)
            record_id = values.get(id_column) if id_column else file
            if record_id is None or record_id == "":
                raise UserError(f"{place}: column {id_column!r} is empty: set it or remove the line.")
            rows.append(Row(str(record_id), file, list(_captions(values.get(text_column), place)), place))
        settings = {
            "source": "folder",
            "metadata": digest.hexdigest(),
            "columns": [file_column, text_column, id_column],
            "languages": list(languages),
        }
        super().__init__(root, choose_languages(rows, languages, root), settings, name=name, **options)


_EXAMPLE = '{"file_name": "images/a.jpg", "text": "a red boat"}'


def check_root(root: str) -> str:
    """Returns the path of an existing folder that a user gave, or says how to give one.

    Raises:
      UserError: it is not set, missing or not a folder.
    """
    if not root:
        raise UserError("data.root is not set: pass --config.data.root=DIR, the folder that holds the images.")
    path = os.path.expanduser(root)
    if not os.path.isdir(path):
        problem = "is not a folder" if os.path.exists(path) else "does not exist"
        raise UserError(f"data.root {root} {problem}: pass --config.data.root=DIR, the folder that holds the images.")
    return path


def check_image_options(image_size: int, fit: str) -> None:
    """Checks what `images.decode` will be asked for.

    Raises:
      UserError: the size is not positive or the fit is unknown.
    """
    if image_size < 1:
        raise UserError(f"data.image_size {image_size} is not positive.")
    if fit not in images.FITS:
        raise UserError(f"data.fit {fit!r} is not one of {', '.join(images.FITS)}.")


def choose_languages(rows: Sequence[Row], languages: Sequence[str], root: str) -> list[Row]:
    """Keeps the captions in ``languages`` (all where empty) and the rows that have any.

    Raises:
      UserError: no row is left.
    """
    wanted = set(languages)
    kept = []
    for row in rows:
        captions = [caption for caption in row.captions if not wanted or caption[0] in wanted]
        if captions:
            kept.append(dataclasses.replace(row, captions=captions))
    if not kept and wanted:
        present = sorted({language for row in rows for language, _ in row.captions if language})
        there = f"there is {', '.join(present)}" if present else "its captions have no language tags"
        remedy = "choose from them or leave --config.data.languages empty" if present else "leave them empty"
        raise UserError(f"{root} has no captions in data.languages {', '.join(languages)}: {there}; {remedy}.")
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


# A forked child has the pool's object without its threads, and would wait for them forever.
os.register_at_fork(after_in_child=_threads.cache_clear)


def _find_metadata(root: str, name: str) -> list[str]:
    """Paths of the metadata files, relative to the root with forward slashes, sorted."""
    if "/" in name:
        found = [name] if os.path.isfile(os.path.join(root, name)) else []
    else:
        found = []
        for folder, _, files in os.walk(root):
            present = set(files)
            match = next((wanted for wanted in ([name] if name else _METADATA) if wanted in present), None)
            if match:
                found.append(posixpath.normpath(posixpath.join(os.path.relpath(folder, root), match)))
    if not found:
        missing = name or " or ".join(_METADATA)
        state = "is empty" if not os.listdir(root) else f"has no {missing}, nor has a folder below it"
        raise UserError(
            f"data.root {root} {state}: write {name or _METADATA[0]} with one line for each image, such as {_EXAMPLE},"
            " or name another file with --config.data.metadata=NAME."
        )
    return sorted(found)


def _parse(path: str, data: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, columns) of each line of a metadata file that is not blank."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8: save the file in this encoding.") from error
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


def _captions(value: Any, place: str) -> Iterator[tuple[str, str]]:
    for language, texts in value.items() if isinstance(value, dict) else [("", value)]:
        for text in texts if isinstance(texts, list) else [texts]:
            if text is None:
                continue
            if not isinstance(text, str):
                raise UserError(f"{place}: a caption is {type(text).__name__} where text is expected: mend the line.")
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise UserError(f"{place}: a caption has half of a surrogate pair: mend the line.") from error
            if text.strip():
                yield language, text.strip()


def _inside_root(path: str, written: str, place: str) -> str:
    path = posixpath.normpath(path)
    if posixpath.isabs(path) or path.split("/")[0] == "..":
        raise UserError(f"{place}: {written} is outside data.root: name files inside it, relative to the metadata.")
    return path


def _merge(rows: Sequence[Row]) -> list[Row]:
    """One row for each id, with the captions of all its rows."""
    merged: dict[str, Row] = {}
    for row in rows:
        first = merged.get(row.id)
        if first is None:
            merged[row.id] = dataclasses.replace(row, captions=list(row.captions))
        elif first.file == row.file:
            first.captions.extend(row.captions)
        else:
            raise UserError(
                f"{row.place}: id {row.id!r} names {row.file} and also {first.file} ({first.place}): "
                "make ids unique, or leave --config.data.id_column empty."
            )
    return list(merged.values())


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


def _in_val(record_id: str, val_fraction: float) -> bool:
    digest = hashlib.blake2b(record_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < val_fraction * 2**64
