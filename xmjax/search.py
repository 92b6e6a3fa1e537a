"""Search: an index of a folder's pictures, sounds and texts, and queries that combine any of them.

Search is exact: a product of a matrix and a vector. For a million items of 128 numbers that is some tens of
milliseconds, so that no approximate library is needed before tens of millions.
"""

import dataclasses
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import track

from xmjax.data.folder import boxed
from xmjax.data.regions import kept
from xmjax.data.source import Region
from xmjax.errors import UserError
from xmjax.media.listen import listen

if TYPE_CHECKING:
    from xmjax.model_api import Model

SUFFIXES = {
    "image": (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"),
    "audio": (".wav", ".flac", ".ogg", ".mp3", ".opus", ".m4a"),
    "text": (".txt",),
}
"""Endings of the names of files of a modality; of a text file every line is an item."""

WAYS = ("match", "objects")
"""By what hits are ranked again: how a text and a picture match, or how much the text makes expect its objects."""

CHUNK = 256


class Hit(NamedTuple):
    """An item that was found.

    Attributes:
      name: of the file in the folder, or the text.
      modality: "image", "audio" or "text".
      score: cosine of the item and the query; of one that was ranked again, the probability that they match, or by how
        many nats the text makes its objects likelier.
    """

    name: str
    modality: str
    score: float


@dataclasses.dataclass(frozen=True)
class Index:
    """Unit vectors of items.

    Attributes:
      names: of the items.
      modalities: of the items.
      vectors: one row an item.
      model: what tells the model that made them, see `Model.fingerprint`.
      root: the folder that names of files are relative to.
      regions: name -> a picture's objects, where metadata tells them and the model reads them.
      unreadable: name -> why a file is not in it.
    """

    names: tuple[str, ...]
    modalities: tuple[str, ...]
    vectors: Float[np.ndarray, "N E"]
    model: str
    root: str = ""
    regions: dict[str, tuple[Region, ...]] = dataclasses.field(default_factory=dict)
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a file (NumPy's .npz), whole or not at all.

        Raises:
          UserError: the file cannot be written.
        """
        place = Path(path)
        temporary = place.with_name(f"{place.name}.tmp")
        regions = [(name, region) for name, those in self.regions.items() for region in those]
        try:
            with temporary.open("wb") as file:
                np.savez(
                    file,
                    names=np.array(self.names, np.str_),
                    modalities=np.array(self.modalities, np.str_),
                    vectors=self.vectors,
                    model=np.array(self.model),
                    root=np.array(self.root),
                    boxed=np.array([name for name, _ in regions], np.str_),
                    boxes=np.array([region.box for _, region in regions]).reshape(-1, 4),
                    labels=np.array([region.label for _, region in regions], np.str_),
                )
            os.replace(temporary, place)
        except OSError as error:
            raise UserError(
                f"{path} cannot be written ({error.strerror}): give a file in a folder that exists"
            ) from error

    def name_of(self, given: str) -> str:
        """The name that an item has in the index, of a path or of a text."""
        try:
            path = Path(given).expanduser().resolve()
            inside = path.exists() and path.is_relative_to(self.root)
        except (OSError, RuntimeError, ValueError):  # a text that cannot be a path, such as a long one
            return given
        return path.relative_to(self.root).as_posix() if inside else given

    def nearest(
        self, query: Float[np.ndarray, " E"], top: int = 5, of: str = "", without: Sequence[str] = ()
    ) -> list[Hit]:
        """The items nearest to a vector of any length, nearest first.

        Args:
          query: the vector.
          top: most items.
          of: modality to search in; "" is all of them.
          without: names of items that are left out, such as those that the query is made of.

        Raises:
          UserError: nothing is asked for, or the index has nothing of the modality.
        """
        if top < 1:
            raise UserError(f"top={top} items cannot be found: ask for at least 1")
        if of and of not in self.modalities:
            there = ", ".join(sorted(set(self.modalities)))
            raise UserError(f"the index has nothing of modality {of!r}: it has {there}")
        wanted = np.array(
            [(not of or m == of) and n not in without for n, m in zip(self.names, self.modalities, strict=True)]
        )
        scores = np.where(wanted, self.vectors @ (query / max(float(np.linalg.norm(query)), 1e-12)), -np.inf)
        count = min(top, int(wanted.sum()))
        best = np.argpartition(-scores, count - 1)[:count] if count else np.zeros(0, int)
        best = best[np.argsort(-scores[best], kind="stable")]
        return [Hit(self.names[i], self.modalities[i], float(scores[i])) for i in best]


def load_index(path: str | os.PathLike[str], model: "Model") -> Index:
    """An index that `Index.save` wrote.

    Raises:
      UserError: the file is missing or no index, or another model made it.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            regions: dict[str, tuple[Region, ...]] = {}
            columns = (data[column].tolist() for column in ("boxed", "boxes", "labels"))
            for name, box, label in zip(*columns, strict=True):
                regions[name] = (*regions.get(name, ()), Region(tuple(box), label))
            index = Index(
                tuple(data["names"].tolist()),
                tuple(data["modalities"].tolist()),
                data["vectors"],
                str(data["model"]),
                str(data["root"]),
                regions,
            )
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} is no index, or one of an older version ({error}): make one with predict.py index --folder=DIR "
            "--index=FILE"
        ) from error
    if index.model != model.fingerprint():
        raise UserError(f"{path} was made by another model or checkpoint: make it anew with this one")
    return index


def index_folder(model: "Model", folder: str | os.PathLike[str]) -> Index:
    """The index of all pictures, sounds and lines of text files below a folder that the model has vectors for.

    Files that cannot be read are left out and named in the index. Of a model that reads objects in given boxes, those
    of the pictures come from metadata as of a folder of training data.

    Raises:
      UserError: there is no such folder, nothing in it that the model reads, or boxes in its metadata are wrong.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UserError(f"{folder} is no folder: give one of pictures, sounds or texts")
    known = {modality for pair in model.contrasted() for modality in pair}
    count, told = model.config.model.regions.given, {}
    if count and {"match", "regions"} & set(model.config.objectives):
        told = boxed(str(root), model.config.data)
    paths = sorted(p for p in root.rglob("*") if p.is_file())
    names: list[str] = []
    modalities: list[str] = []
    parts: list[np.ndarray] = []
    unreadable: dict[str, str] = {}
    for modality, suffixes in SUFFIXES.items():
        found = [p for p in paths if p.suffix.lower() in suffixes] if modality in known else []
        items: list[tuple[str, Any]] = [(p.relative_to(root).as_posix(), p) for p in found]
        if modality == "text":
            items = [(line, line) for _, p in items for line in _lines(p)]
        starts, screen = range(0, len(items), CHUNK), Console(stderr=True)
        for start in track(starts, f"reading {modality}", console=screen, disable=not sys.stderr.isatty()):
            chunk = items[start : start + CHUNK]
            if modality == "audio":  # a sound that ends or stops its decoder ends no more
                heard: dict[Path, Any] = listen([path for _, path in chunk], model.config.model.audio.samples)
                unreadable |= {name: found for name, path in chunk if isinstance(found := heard[path], str)}
                chunk = [(name, heard[path]) for name, path in chunk if name not in unreadable]
            if not chunk:
                continue
            try:
                vectors = model.embed(**{modality: [given for _, given in chunk]})
            except UserError:  # which of them it is
                chunk, vectors = _readable(model, modality, chunk, unreadable)
            names += [name for name, _ in chunk]
            modalities += [modality] * len(chunk)
            parts.append(vectors)
    if not names:
        reason = f" ({next(iter(unreadable.values()))})" if unreadable else ""
        raise UserError(f"nothing in {folder} can be read{reason}: give a folder of {', '.join(sorted(known))} files")
    regions = {name: tuple(kept(told[name], count)) for name in names if told.get(name)}
    return Index(
        tuple(names),
        tuple(modalities),
        np.concatenate(parts),
        model.fingerprint(),
        str(root.resolve()),
        regions,
        unreadable,
    )


def _readable(
    model: "Model", modality: str, items: Sequence[tuple[str, Any]], unreadable: dict[str, str]
) -> tuple[list[tuple[str, Any]], Float[np.ndarray, "n E"]]:
    """Those of several items that can be embedded, and their vectors; the others are added to ``unreadable``."""
    kept, parts = [], [np.zeros((0, model.config.model.embedding), np.float32)]
    for name, given in items:
        try:
            parts.append(model.embed(**{modality: given}))
            kept.append((name, given))
        except UserError as error:
            unreadable[name] = str(error)
    return kept, np.concatenate(parts)


def query(model: "Model", parts: Sequence[tuple[float, str, Any]]) -> Float[np.ndarray, " E"]:
    """The sum of vectors that stands for what is asked.

    Args:
      model: what embeds.
      parts: (factor, modality, what is given): (1, "image", "a.png"), (-1, "text", "a dog"), (1, "text", "a cat").

    Raises:
      UserError: there are no parts, or one cannot be embedded.
    """
    if not parts:
        raise UserError("nothing is asked: give an image, a sound or a text")
    return np.sum([factor * model.embed(**{modality: given})[0] for factor, modality, given in parts], axis=0)


def retrieve(
    model: "Model", index: Index, parts: Sequence[tuple[float, str, Any]], top: int = 5, of: str = ""
) -> list[Hit]:
    """What of an index is nearest to a sum of parts (see `query`), which are no answers themselves; see `nearest`."""
    own = [index.name_of(os.fspath(given)) for _, _, given in parts if isinstance(given, str | os.PathLike)]
    return index.nearest(query(model, parts), top, of, own)


def check_ranking(
    model: "Model", parts: Sequence[tuple[float, str, Any]], of: str, by: str, boxes: Sequence[Sequence[float]] | None
) -> None:
    """Raises UserError where hits cannot be ranked again by what is asked."""
    kinds = {parts[0][1], of} if len(parts) == 1 and parts[0][0] > 0 else set()
    if by == "objects" and (kinds != {"text", "image"} or of != "image"):
        raise UserError("pictures are ranked again by='objects' for one text: ask with it and of='image'")
    if kinds != {"text", "image"}:
        raise UserError(
            "hits are ranked again by how a text and a picture match: ask with one text and of='image', or with one "
            "picture and of='text'"
        )
    if boxes is not None and of == "image":
        raise UserError("boxes are of the picture that is asked; those of pictures that are found are in the index")
    model.check_trained("regions" if by == "objects" else "match")


def ranked_again(
    model: "Model",
    index: Index,
    hits: Sequence[Hit],
    parts: Sequence[tuple[float, str, Any]],
    of: str,
    by: str,
    boxes: Sequence[Sequence[float]] | None,
) -> list[Hit]:
    """Hits by how they and what is asked match, or by how much likelier it makes their objects, with that as score.

    What is asked has passed `check_ranking`. Where objects are read, pictures without any in the index are left out.

    Raises:
      UserError: no picture has objects in the index.
    """
    asked = parts[0][2]
    if not hits:
        return []
    if of == "text":
        return _by_score(hits, model.match([hit.name for hit in hits], asked, boxes))
    if by == "match" and not model.config.model.regions.given:
        return _by_score(hits, model.match(asked, [str(Path(index.root) / hit.name) for hit in hits]))
    hits = [hit for hit in hits if hit.name in index.regions]
    if not hits:
        raise UserError(
            "pictures are ranked again by their objects, and the index has none of these: write them in a column "
            f"{model.config.data.regions_column or 'boxes'!r} of metadata.jsonl beside the pictures (docs/data.md) and "
            "make it anew, or leave rerank out"
        )
    those = [index.regions[hit.name] for hit in hits]
    if by == "objects":
        return _by_score(hits, model.expects(asked, [[region.label for region in regions] for regions in those]))
    paths = [str(Path(index.root) / hit.name) for hit in hits]
    boxed = [[region.box for region in regions] for regions in those]
    return _by_score(hits, [model.match(asked, path, around) for path, around in zip(paths, boxed, strict=True)])


def _by_score(hits: Sequence[Hit], scores: Sequence[float]) -> list[Hit]:
    again = [hit._replace(score=score) for hit, score in zip(hits, scores, strict=True)]
    return sorted(again, key=lambda hit: -hit.score)


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]
