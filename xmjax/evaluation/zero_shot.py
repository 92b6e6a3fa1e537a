"""Zero-shot classification: the class of a picture by its label's text alone."""

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from xmjax.config import Config
from xmjax.data import playroom
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.items import commonest
from xmjax.evaluation.prompts import Labels, label_vectors, look_texts, play_name, prompts, text_reader
from xmjax.evaluation.retrieval import recalls, vectors

Items = dict[str, list[tuple[Record, str]]]
"""Name of a score -> pictures with their labels."""


@EVALUATORS.register("zero_shot")
class ZeroShotEvaluator(Evaluator):
    """Accuracy of the label whose texts are nearest to a picture (Radford et al. 2021); ties count as expectation.

    In the playroom the labels are all kinds in all colours and "model" is scored on single toys in the combinations
    that training never shows, "seen" on single toys in those that it shows. Elsewhere they are the labels of the
    held-out records that have exactly one.
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        self.labels, self.items = play_items(config) if _playing(config) else labelled_items(config, self.records)
        if not self.items["model"]:
            return
        names = np.array(list(self.labels))
        self.right: dict[str, Bool[np.ndarray, "N L"]] = {}
        self.constant = {"zero_shot/chance": 1 / len(names), "zero_shot/n": len(self.items["model"])}
        for key, items in self.items.items():
            own = [name for _, name in items]
            self.right[key] = np.array(own)[:, None] == names
            self.constant[f"zero_shot/{key}/oracle"] = accuracy(self.right[key], self.right[key])
            self.constant[f"zero_shot/{key}/most_frequent"] = commonest([""] * len(own), [{name} for name in own])
        self.attributes = self._attributes(names)
        for name, right in self.attributes.items():
            self.constant[f"zero_shot/by_attribute/{name}/chance"] = float(right.mean())
        self.image = {key: self.pictures(r for r, _ in items) for key, items in self.items.items()}
        self.see = self.compiled(partial(vectors, modality="image"))
        self.read = text_reader(self)

    def _attributes(self, names: np.ndarray) -> dict[str, Bool[np.ndarray, "N L"]]:
        """Which labels agree with a held-out toy in its colour, and which in its kind."""
        if not _playing(self.config):
            return {}
        looks = {look_name(self.config, kind, color): (kind, color) for kind, color in _looks()}
        toys = [looks[name] for name in names]
        tables = {"color": playroom.NAMES_OF_COLORS, "kind": playroom.NAMES}
        said = {
            name: np.array([play_name(self.config, table, toy[name == "color"]) for toy in toys])
            for name, table in tables.items()
        }
        answers = self.right["model"].argmax(1)
        return {name: values[answers][:, None] == values for name, values in said.items()}

    def __call__(self, params):
        if not self.items["model"]:
            return Report({"zero_shot/n": 0})
        labels = label_vectors(partial(self.read, params), self.labels)
        cosines = {key: self.see(params, image) @ labels.T for key, image in self.image.items()}
        scores = {f"zero_shot/{key}": accuracy(found, self.right[key]) for key, found in cosines.items()}
        for name, right in self.attributes.items():
            scores[f"zero_shot/by_attribute/{name}"] = accuracy(cosines["model"], right)
        return Report(scores | self.constant)


def accuracy(scores: Float[np.ndarray, "N L"], right: Bool[np.ndarray, "N L"]) -> float:
    """Share of rows whose highest score is a right one; a tie counts as its expectation."""
    return recalls([scores], [right])["R@1"]


def play_items(config: Config) -> tuple[Labels, Items]:
    """Every kind in every colour, and pictures of single toys: "model" in held-out combinations, "seen" in others."""
    labels = {
        look_name(config, kind, color): prompts(config, look_texts(config, kind, color)) for kind, color in _looks()
    }
    items = {}
    for key, split in (("model", "heldout"), ("seen", "val")):
        source = playroom.Playroom(split, "single", config.model.image.size, captions_per_record=0)
        found = [r for r in source.read(range(config.evaluation.samples)) if isinstance(r, Record)]
        items[key] = [(r, look_name(config, r.truth.toys[0].kind, r.truth.toys[0].color)) for r in found]
    return labels, items


def labelled_items(config: Config, records: Sequence[Record]) -> tuple[Labels, Items]:
    """Records with exactly one label, and the labels that any of them has."""
    found = [(r, r.labels[0]) for r in records if len(r.labels) == 1 and r.image is not None]
    return {name: prompts(config, [name]) for name in sorted({name for _, name in found})}, {"model": found}


def look_name(config: Config, kind: str, color: str) -> str:
    """Name of a kind in a colour; in one language alone two kinds can share it."""
    return " / ".join(look_texts(config, kind, color))


def _looks() -> list[tuple[str, str]]:
    return list(itertools.product(playroom.KINDS, playroom.COLORS))


def _playing(config: Config) -> bool:
    return config.data.source == "playroom"
