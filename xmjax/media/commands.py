"""The commands of launch/prepare.py that make data sets of frames with sound."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xmjax.data import stamps as stamps_source
from xmjax.data.folder import captions as read_captions
from xmjax.data.folder import parse
from xmjax.errors import UserError
from xmjax.media.build import Item, Options, build
from xmjax.prepare import COMMANDS

SUFFIXES = (
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
)  # fmt: skip
"""Of the files of a folder that are taken for videos."""


@COMMANDS.register("videos")
def videos(
    input: str,
    output: str,
    held_out: str = "",
    validation_fraction: float = 0.1,
    workers: int = 0,
    timeout: float = 120,
    segment: int = 10,
    size: int = 256,
    captions: str = "",
    keep_silent: bool = False,
) -> None:
    """Makes a data set of videos: the frame shown in the middle of every second, and the sound.

    Args:
      input: folder of videos, or a file that lists them, one path a line, relative to the list.
      output: directory of the data set.
      held_out: file of patterns of the names that are held out; see `Options`, also for what follows.
      validation_fraction: share of the files that is held out without it.
      workers: files decoded at a time; 0 is one a core.
      timeout: most seconds that decoding a file may take.
      segment: seconds of a record.
      size: most pixels of the shorter side of a frame.
      captions: JSON lines {"file": name, "text": captions}.
      keep_silent: keep what has no sound, and equal videos, as a list that is searched needs.

    Raises:
      UserError: a file cannot be read, an option cannot work, or see `build`.
    """
    command = _command("videos", locals())
    items = [Item(_name(file), path) for file, path in _videos(input)]
    if captions:
        _caption(items, captions)
    options = Options(command, held_out, validation_fraction, workers, timeout, size, segment, keep_silent)
    build(items, output, options)


@COMMANDS.register("sounds")
def sounds(
    input: str,
    root: str,
    output: str,
    held_out: str = "",
    validation_fraction: float = 0.1,
    workers: int = 0,
    timeout: float = 120,
    size: int = 256,
) -> None:
    """Makes a data set of sounds, each with a still picture.

    Args:
      input: JSON lines {"sound": path, "image": path}, with "captions" or "text" and an "id" where there are any.
      root: folder that the paths are relative to.
      output, held_out, validation_fraction, workers, timeout, size: as of `videos`.

    Raises:
      UserError: as of `videos`.
    """
    command = _command("sounds", locals())
    items = []
    for place, values in _lines(input):
        for key in ("sound", "image"):
            if not isinstance(values.get(key), str) or not values[key]:
                raise UserError(
                    f'{place}: "{key}" names no file: write lines such as {{"sound": "a.ogg", "image": "a.png"}}'
                )
        path, picture = (os.path.join(root, values[key]) for key in ("sound", "image"))
        texts = list(read_captions(values.get("captions", values.get("text")), place))
        items.append(Item(str(values.get("id", values["sound"])), path, picture, texts, values["sound"]))
    build(items, output, Options(command, held_out, validation_fraction, workers, timeout, size))


@COMMANDS.register("stamps")
def stamps(
    output: str,
    root: str = stamps_source.INSTALLED,
    spoken: bool = False,
    held_out: str = "",
    validation_fraction: float = 0.1,
    workers: int = 0,
    timeout: float = 120,
    size: int = 256,
) -> None:
    """Makes a data set of Tux Paint's stamps that have a sound, with their descriptions in all languages.

    The same stamps are held out as of the source "stamps" without sounds.

    Args:
      output: directory of the data set.
      root: where the stamps are installed, or a folder of them with a stamps.jsonl.
      spoken: take the spoken descriptions too, in all languages that there are.
      held_out, validation_fraction, workers, timeout, size: as of `videos`.

    Raises:
      UserError: as of `videos`.
    """
    command = _command("stamps", locals())
    items = []
    for row, effect, speech in stamps_source.with_sounds(root):
        found = {"": effect} if effect else {}
        found |= {f"#{language}": path for language, path in sorted(speech.items())} if spoken else {}
        picture = os.path.join(root, row.file)
        items += [
            Item(row.id + ending, os.path.join(root, path), picture, row.captions, row.id)
            for ending, path in found.items()
        ]
    if not items:
        raise UserError(f"no stamp in {root} has a sound: pass another --root=DIR, or --spoken for descriptions")
    build(items, output, Options(command, held_out, validation_fraction, workers, timeout, size))


def _command(name: str, arguments: dict[str, Any]) -> str:
    """The command line, as the card shows it."""
    given = {key: value for key, value in arguments.items() if value != "" and value is not False}
    return " ".join(["python launch/prepare.py", name, *(f"--{key}={value}" for key, value in given.items())])


def _videos(input: str) -> Iterator[tuple[str, str]]:
    """(name, path) of the videos of a folder or a list."""
    if os.path.isdir(input):
        passed = 0
        for folder, _, names in os.walk(input):
            for name in names:
                path = os.path.join(folder, name)
                if name.lower().endswith(SUFFIXES):
                    yield os.path.relpath(path, input).replace(os.sep, "/"), path
                else:
                    passed += 1
        if passed:
            print(
                f"{passed} files of {input} are passed over, by the ending of their names; a list takes any", flush=True
            )
        return
    try:
        lines = Path(input).read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UserError(
            f"--input={input} cannot be read ({error.strerror}): give a folder or a list of files"
        ) from error
    for line in dict.fromkeys(filter(None, map(str.strip, lines))):
        yield line, os.path.join(os.path.dirname(input), line)


def _name(path: str) -> str:
    """A path as text, also where a file system has names that are none."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _lines(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, object) of each line of a file of JSON lines."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): name a file of JSON lines") from error
    for number, values in parse(path, data):
        yield f"{path}, line {number}", values


def _caption(items: list[Item], path: str) -> None:
    """Gives files their captions."""
    by_id = {item.id: item for item in items}
    found = 0
    for place, values in _lines(path):
        if not isinstance(values.get("file"), str):
            raise UserError(f'{place}: "file" names no file: write lines such as {{"file": "a.mp4", "text": "a dog"}}')
        if item := by_id.get(values["file"]):
            item.captions += read_captions(values.get("text"), place)
            found += 1
    if not found:
        raise UserError(
            f"{path} names no file of --input, such as {json.dumps(next(iter(by_id), ''), ensure_ascii=False)}"
        )
