"""What all commands of a loaded model do: read what is given, call compiled functions, say what is wrong."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float

from xmjax import sharding, vocab
from xmjax.config import Config, MeshConfig
from xmjax.data import playroom
from xmjax.data.regions import boxes_array
from xmjax.data.source import Region
from xmjax.errors import UserError
from xmjax.evaluation.base import batched
from xmjax.inputs import Picture, picture, sound
from xmjax.lexicon import DOCUMENTS, Dictionary, Symbolic, open_dictionary
from xmjax.training.step import make_model

ROWS = 16
"""Rows of a batch. One input alone is a batch of one; these two sizes are all that is ever compiled."""

Rows = dict[str, np.ndarray]


class Loaded:
    """A model's config and parameters, and the ways in and out that its commands share (`model_api.Model`).

    Attributes:
      config: of the run.
      step: of the checkpoint.
    """

    def __init__(self, config: Config, params: Any, mesh: Mesh | None = None, step: int = 0):
        """Args:
        config: of the run.
        params: of the model, on ``mesh``.
        mesh: the devices; default the first one alone.
        step: of the checkpoint.
        """
        self.config = config
        self.step = step
        self._params = params
        self._mesh = mesh or one_device()
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self._blanks: Rows = {}
        self._dictionaries: dict[tuple[str, ...], Dictionary] = {}
        self._scorers: dict[int, tuple[Dictionary, Symbolic]] = {}

    def contrasted(self) -> list[tuple[str, str]]:
        """Pairs of modalities that the run has contrasted; those in a pair have vectors."""
        tasks = [self.config.objectives.get(name) for name in ("contrast", "sound")]
        pairs = [(task.first, task.second) for task in tasks if task is not None]
        if bound := self.config.objectives.get("bind"):
            pairs += [(bound.to, modality) for modality in bound.modalities]
        return pairs

    def _objects_in(
        self, boxes: Sequence[Sequence[float]] | None, image: Any, does: str, objects: bool
    ) -> Float[np.ndarray, "K 4"]:
        """Boxes of a picture's objects as the model reads them, checked against what it reads.

        Args:
          boxes: what was given.
          image: the picture they are of, or None.
          does: what the run does with it, for messages.
          objects: whether it reads objects for that.
        """
        regions = self.config.model.regions
        most = regions.given if objects else 0
        given = [Region(checked_box(box), "") for box in (() if boxes is None else boxes)]
        shown = any(one is not None for one in listed(image) or [image])
        if given and not most:
            what = "objects that it finds itself" if objects and regions.discovered else "whole pictures"
            raise UserError(f"this run {does} with {what}: leave the boxes out")
        if given and not shown:
            raise UserError("boxes are given without a picture: give the picture that they are of")
        if most and shown and listed(image):
            raise UserError(f"this run {does} with objects, whose boxes are of one picture: give one after the other")
        if most and shown and not 1 <= len(given) <= most:
            raise UserError(f"this run {does} with objects: give the boxes of 1 to {most} of the picture's")
        return boxes_array(given, max(1, most))

    def _dictionary(self, given: str | Dictionary, tabs: Sequence[str]) -> Dictionary:
        if isinstance(given, Dictionary):
            return given
        key = given, *tabs
        if key not in self._dictionaries:
            self._dictionaries[key] = open_dictionary(given, tabs)
        return self._dictionaries[key]

    def _languages(self) -> tuple[str, ...]:
        """Languages that a word may be of, those of the run first."""
        return tuple(dict.fromkeys((*self.config.data.languages, *playroom.LANGUAGES)))

    def _symbolic(self, book: Dictionary) -> Symbolic:
        """The measure of how alike definitions of a dictionary are; read off all of it, once."""
        if id(book) not in self._scorers:
            self._scorers = {id(book): (book, Symbolic(book.glosses(DOCUMENTS)))}
        return self._scorers[id(book)][1]

    def _shown(self, pictures: Sequence[Picture | None]) -> tuple[np.ndarray, np.ndarray]:
        """Pictures as the embedder takes them, blank where there is none, and where that is so."""
        blank = picture(np.zeros((1, 1, 3), np.uint8), self.config)
        shown = np.stack([blank if p is None else picture(p, self.config) for p in pictures])
        return shown, np.array([p is None for p in pictures])

    def _fused(self, pictures: Sequence[Picture | None], others: Mapping[str, Any]) -> tuple[Rows, Rows]:
        """What `fill` reads beside texts, as embedders take it, blank where there is none, and where that is so."""
        names = self.check_trained("fill").modalities
        if unknown := others.keys() - set(names[1:]):
            raise UserError(f"fill of this run reads texts with {', '.join(names)}: leave {unknown.pop()} out")
        shown, none = self._shown(pictures)
        data, absent = {names[0]: shown}, {names[0]: none}
        for name in names[1:]:
            items = listed(others.get(name)) or [others.get(name)] * len(pictures)
            if len(items) != len(pictures):
                raise UserError(f"{len(pictures)} texts or pictures and {len(items)} of {name}: give as many, or one")
            data[name] = np.stack([self._blank(name) if item is None else self._row(name, item) for item in items])
            absent[name] = np.array([item is None for item in items])
        return data, absent

    def _row(self, modality: str, item: Any) -> np.ndarray:
        """A sound, or an item of a further modality, as its embedder takes it."""
        if modality == "audio":
            return sound(item, self.config)
        blank, row = self._blank(modality), np.asarray(item)
        if row.shape != blank.shape or not np.issubdtype(row.dtype, np.integer):
            raise UserError(
                f"{modality} has the shape {row.shape} and type {row.dtype}: this model reads {blank.shape}, in bytes"
            )
        return row.astype(blank.dtype)

    def _blank(self, modality: str) -> np.ndarray:
        """What stands for an absent item."""
        if modality not in self._blanks:
            model = make_model(self.config).bind({"params": self._params})
            self._blanks[modality] = np.asarray(model.embedders[modality].example(self.config.model)[0])
        return self._blanks[modality]

    def _call(self, function: Callable[..., Any], *arrays: np.ndarray | Rows, **static: Any) -> Any:
        """``function(model, *arrays, **static)`` on rows of NumPy arrays, or dicts of them; compiled once for each."""
        size = 1 if len(jax.tree.leaves(arrays)[0]) == 1 else ROWS
        key = (function, size, *sorted(static.items()))
        if key not in self._compiled:
            self._compiled[key] = batched(self.config, self._mesh, partial(function, **static), size)
        return self._compiled[key](self._params, *arrays)

    def check_trained(self, task: str) -> Any:
        """Options of an objective that the run has trained."""
        options = self.config.objectives.get(task)
        if options is None or getattr(options, "modality", "image") != "image":
            there = ", ".join(self.config.objectives)
            raise UserError(f"this run has not trained {task} on images: its objectives are {there}; load one that has")
        return options

    def _wording(self, language: str | None, style: str) -> tuple[str, str]:
        """Language and style of a prompt, checked where the run says which ones there are."""
        data = self.config.data
        known = data.languages or (playroom.LANGUAGES if data.source == "playroom" else ())
        if language is None:
            # A folder's captions may have no language, and then the prompt names none.
            known = known or (("en",) if data.source == "stamps" else ("",))
            language = "en" if "en" in known else known[0]
        elif known and language not in known:
            raise UserError(f"unknown language {language!r}: this run has learned {', '.join(known)}")
        if data.source == "playroom":
            styles = tuple(dict.fromkeys(data.styles or playroom.STYLES))
            style = style or ("list" if "list" in styles else styles[0])
            if style not in styles:
                raise UserError(f"unknown style {style!r}: this run has learned {', '.join(styles)}")
        return language, style

    def _candidates(self, candidates: Sequence[str], what: str = "candidates") -> list[str]:
        words = list(dict.fromkeys([candidates] if isinstance(candidates, str) else candidates))
        if not words or "" in words:
            raise UserError(f"no {what}, or an empty one: give the words to choose from")
        longest = max(words, key=lambda w: len(vocab.utf8(w)))
        if len(vocab.utf8(longest)) > self.config.model.text.max_bytes:
            one, most = what.removesuffix("s"), self.config.model.text.max_bytes
            raise UserError(f"{one} {longest!r} is longer than the {most} bytes of a text")
        return words


def one_device() -> Mesh:
    """The first device alone."""
    return sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])


def listed(given: Any) -> list[Any] | None:
    """The items of a list or of an array of pictures; None for a single item."""
    if isinstance(given, list | tuple) or (isinstance(given, np.ndarray) and given.ndim == 4):
        if not len(given):
            raise UserError("an empty list was given: give at least one item")
        return list(given)
    return None


def paired(text: Any, image: Any) -> tuple[list[str], list[Any], bool]:
    """Texts and pictures one to one, a single one repeated; and whether both are single."""
    texts, pictures = listed(text), listed(image)
    if texts and pictures and len(texts) != len(pictures):
        raise UserError(f"{len(texts)} texts and {len(pictures)} pictures: give as many, or one for all")
    count = len(texts or pictures or [text])
    return texts or [text] * count, pictures or [image] * count, not (texts or pictures)


def checked_box(box: Sequence[float]) -> tuple[float, float, float, float]:
    """A box that a user gave."""
    try:
        y0, x0, y1, x1 = (float(x) for x in box)
    except (TypeError, ValueError):
        y0, x0, y1, x1 = 0.0, 0.0, 0.0, 0.0
    if not (0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1):
        raise UserError(f"box {box!r} is none: give (y0, x0, y1, x1) from 0 to 1, the first two less than the last two")
    return y0, x0, y1, x1


def checked_boxes(boxes: Sequence[Sequence[float]]) -> Float[np.ndarray, "K 4"]:
    """Boxes that a user gave, at least one."""
    if not len(boxes):
        raise UserError("an empty list of boxes was given: give at least one, or leave the boxes out")
    return np.asarray([checked_box(box) for box in boxes], np.float32)


def checked_templates(templates: Sequence[str] | None) -> Sequence[str]:
    """Templates that a user gave, none where that is none."""
    templates = [templates] if isinstance(templates, str) else templates or ()
    for template in templates:
        if "{}" not in template:
            raise UserError(
                f"template {template!r} has no {{}}: write it where the label stands, as in 'a photo of {{}}'"
            )
    return templates
