"""The stamps of Tux Paint: cut-out pictures with a description in many languages.

Debian and Ubuntu (and so Colab) install them with ``apt-get install tuxpaint-stamps-default``.
"""

import glob
import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from xmjax.data.folder import Folder, captions, parse
from xmjax.data.image_files import ImageFiles, Row, check_root, choose_languages
from xmjax.errors import UserError

INSTALLED = "/usr/share/tuxpaint/stamps"
"""Where Debian's package puts the stamps."""

_LIST = "stamps.jsonl"
_ENCODING = ".utf8"
_SOUNDS = (".ogg", ".wav")


def open_stamps(root: str = INSTALLED, *, languages: Sequence[str] = (), **options: Any) -> ImageFiles:
    """Opens stamps as Debian installs them, or a folder of them with a ``stamps.jsonl``.

    Args:
      root: the folder.
      languages: tags such as "en", "ko" or "pt_BR" to keep. Empty: all.
      **options: the keyword arguments of `ImageFiles`.

    Raises:
      UserError: there are no stamps in the folder, or see `Folder`.
    """
    if os.path.isfile(os.path.join(os.path.expanduser(root), _LIST)):
        options = {"name": "stamps"} | options
        return Folder(
            root,
            metadata=f"./{_LIST}",
            file_column="image",
            text_column="captions",
            id_column="id",
            languages=languages,
            **options,
        )
    return Stamps(root, languages=languages, **options)


class Stamps(ImageFiles):
    """A tree of ``NAME.png`` with ``NAME.txt`` beside it.

    The first line of the text is English, each later one ``LANGUAGE.utf8=text``. Pictures without a text (mirrored
    variants of others, mostly) and vector drawings are left out. A record's id is its path without the ending.

    Args:
      root: the top of the tree.
      languages: language tags to keep. Empty: all.
      name: what to call this source.
      **options: the other keyword arguments of `ImageFiles`.

    Raises:
      UserError: there are no stamps in the folder, or see `ImageFiles`.
    """

    def __init__(self, root: str = INSTALLED, *, languages: Sequence[str] = (), name: str = "stamps", **options: Any):
        if root == INSTALLED and not os.path.isdir(root):
            raise UserError(
                f"no stamps in {root}: run apt-get install tuxpaint-stamps-default, or pass --config.data.root=DIR."
            )
        root = check_root(root)
        rows, digest = _tree(root)
        if not rows:
            raise UserError(
                f"no stamps in {root}: it has neither {_LIST} nor pictures NAME.png with NAME.txt beside them. "
                "Run apt-get install tuxpaint-stamps-default, or pass another --config.data.root=DIR."
            )
        settings = {"source": "stamps", "metadata": digest, "languages": list(languages)}
        super().__init__(root, choose_languages(rows, languages, root), settings, name=name, **options)


def with_sounds(root: str) -> Iterator[tuple[Row, str, dict[str, str]]]:
    """Stamps with what they sound like.

    Args:
      root: as of `open_stamps`.

    Yields:
      The stamp, the path of its own sound, "" where it has none, and the path of its spoken description by language;
      paths are relative to the root.

    Raises:
      UserError: there are no stamps in the folder.
    """
    listed = os.path.join(root, _LIST)
    if os.path.isfile(listed):
        with open(listed, "rb") as file:
            for number, values in parse(listed, file.read()):
                place = f"{listed}, line {number}"
                if not all(isinstance(values.get(key), str) for key in ("id", "image")):
                    raise UserError(f"{place}: it has no id and image: mend or remove the line.")
                row = Row(values["id"], values["image"], list(captions(values.get("captions"), place)), place)
                yield row, values.get("sound") or "", values.get("spoken") or {}
        return
    rows = _tree(root)[0]
    if not rows:
        raise UserError(
            f"no stamps in {root}: run apt-get install tuxpaint-stamps-default, or pass another --root=DIR."
        )
    for row in rows:
        stem = os.path.join(root, row.id)
        own = next((ending for ending in _SOUNDS if os.path.isfile(stem + ending)), "")
        spoken = {}
        for ending in _SOUNDS:
            for path in glob.glob(f"{glob.escape(stem)}_desc*{ending}"):
                language = path[len(stem) + len("_desc") : -len(ending)].removeprefix("_") or "en"
                spoken.setdefault(language, os.path.relpath(path, root))
        yield row, row.id + own if own else "", spoken


def _tree(root: str) -> tuple[list[Row], str]:
    """The stamps of a tree, and a hash of their texts."""
    digest = hashlib.blake2b(digest_size=16)
    rows = []
    for path in _texts(root):
        place = os.path.join(root, path)
        with open(place, "rb") as file:
            data = file.read()
        digest.update(f"{path}\0{len(data)}\0".encode() + data)
        try:
            texts = _captions(data.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise UserError(f"{place}: not UTF-8: save the file in this encoding.") from error
        stem = path.removesuffix(".txt")
        rows.append(Row(stem, f"{stem}.png", texts, place))
    return rows, digest.hexdigest()


def _texts(root: str) -> list[str]:
    """Paths, relative to the root, of the texts that have a picture."""
    found = []
    for folder, _, files in os.walk(root):
        present = set(files)
        relative = os.path.relpath(folder, root)
        for file in files:
            if file.endswith(".txt") and f"{file.removesuffix('.txt')}.png" in present:
                found.append(posixpath.normpath(posixpath.join(relative, file)))
    return sorted(found)


def _captions(text: str) -> list[tuple[str, str]]:
    english, *others = text.splitlines() or [""]
    captions = [("en", english.strip())]
    for line in others:
        language, _, translation = line.partition("=")
        if language.endswith(_ENCODING):
            captions.append((language.removesuffix(_ENCODING), translation.strip()))
    return [caption for caption in captions if caption[1]]
