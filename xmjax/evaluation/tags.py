"""Tags: which words a picture has, and which pictures a word has."""

import itertools
from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from xmjax.config import Config
from xmjax.data import playroom
from xmjax.data.source import Record
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores
from xmjax.evaluation.prompts import look_texts, play_name, prompts, scales, tag_probabilities, text_reader
from xmjax.evaluation.retrieval import vectors
from xmjax.lexicon import entities, open_dictionary

FEWEST = 5
"""Held-out records that a tag of real data needs: of rarer ones the mean over tags says little."""


@EVALUATORS.register("tags")
class TagsEvaluator(Evaluator):
    """Mean average precision of tags ranked for a picture, over pictures, and of pictures for a tag, over tags.

    Both are ranked by `tag_probabilities`: by the cosine alone a picture that is near to every text would come first
    for every tag.

    In the playroom the tags are its kinds and colours. Elsewhere they are the first that the data have: the records'
    labels, the labels of their regions, or the headwords that the run's dictionary finds in their captions.
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        playing = config.data.source == "playroom"
        shown = [r for r in self.records if r.image is not None]
        own = [scene_tags(config, r.truth) for r in shown] if playing else known_tags(config, shown)
        counts = Counter(tag for tags in own for tag in tags)
        often = sorted(tag for tag, count in counts.items() if count >= FEWEST)
        self.tags = playroom_tags(config) if playing else {t: prompts(config, [t], alone=False) for t in often}
        right = np.array([[tag in tags for tag in self.tags] for tags in own], bool).reshape(len(own), len(self.tags))
        tagged = np.flatnonzero(right.any(1))
        self.right = right[tagged]
        if not len(self.right):
            return
        self.image = self.pictures(shown[i] for i in tagged)
        self.see = self.compiled(partial(vectors, modality="image"))
        self.scale = self.compiled(scales)
        self.read = text_reader(self)
        self.constant = both_precisions(self.right, self.right, "/oracle")
        self.constant |= both_precisions(np.zeros(self.right.shape), self.right, "/chance")
        likely = mean_average_precision(frequencies(self.right), self.right)
        self.constant |= {
            "tags/image_to_tag_mAP/most_frequent": likely,
            "tags/n": len(self.right),
            "tags/tag_to_image_mAP/n": int(self.right.any(0).sum()),
        }

    def __call__(self, params):
        if not len(self.right):
            return Report({"tags/n": 0})
        seen, scale = self.see(params, self.image), float(self.scale(params, np.zeros((1, 1)))[0])
        found = tag_probabilities(partial(self.read, params), self.tags, seen, scale)
        return Report(both_precisions(found, self.right) | self.constant)


def playroom_tags(config: Config, templates: Sequence[str] = ()) -> dict[str, list[str]]:
    """Kinds and colours with their prompts: of a kind in every colour, of a colour with every kind, as captions do.

    A text that stands for two kinds ("a bat") is a prompt of neither where another language tells them apart.
    """
    looks = list(itertools.product(playroom.KINDS, playroom.COLORS))
    said = [prompts(config, look_texts(config, *look), alone=False, templates=templates) for look in looks]
    used = Counter(itertools.chain.from_iterable(said))
    tags: dict[str, list[str]] = {}
    for look, texts in zip(looks, said, strict=True):
        for name in toy_tags(config, *look):
            tags.setdefault(name, []).extend([text for text in texts if used[text] == 1] or texts)
    return {name: list(dict.fromkeys(texts)) for name, texts in tags.items()}


def scene_tags(config: Config, scene: playroom.Scene) -> set[str]:
    """Tags of a scene: kinds and colours of its toys."""
    return {tag for toy in scene.toys for tag in toy_tags(config, toy.kind, toy.color)}


def toy_tags(config: Config, kind: str, color: str) -> tuple[str, str]:
    """Names of a toy's two tags."""
    return play_name(config, playroom.NAMES, kind), play_name(config, playroom.NAMES_OF_COLORS, color)


def known_tags(config: Config, records: Sequence[Record]) -> list[set[str]]:
    """Tags of records of real data, from the first of three places that has any, the same for all."""
    if any(record.labels for record in records):
        return [set(record.labels) for record in records]
    if any(record.regions for record in records):
        return [{region.label for region in record.regions} for record in records]
    options = config.objectives.get("fill")
    if options is None or options.dictionary == "playroom":
        return [set() for _ in records]
    dictionary = open_dictionary(options.dictionary, options.tabs)
    found: list[set[str]] = []
    for record in records:
        found.append(set())
        for caption in record.captions:
            data = caption.text.encode("utf-8", "surrogatepass")
            for word in entities(caption, dictionary):
                form = data[word.start : word.end].decode("utf-8", "surrogatepass")
                found[-1].add(dictionary.lookup(form, caption.language)[0].word)
    return found


def both_precisions(scores: Float[np.ndarray, "N T"], right: Bool[np.ndarray, "N T"], suffix: str = "") -> Scores:
    """Mean average precision of tags for pictures and of pictures for tags."""
    return {
        f"tags/image_to_tag_mAP{suffix}": mean_average_precision(scores, right),
        f"tags/tag_to_image_mAP{suffix}": mean_average_precision(scores.T, right.T),
    }


def mean_average_precision(scores: Float[np.ndarray, "Q N"], right: Bool[np.ndarray, "Q N"]) -> float:
    """Mean of `average_precision` over the queries that have a right item."""
    return float(np.mean([average_precision(s, r) for s, r in zip(scores, right, strict=True) if r.any()]))


def average_precision(scores: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> float:
    """Mean over the right items of the share of right ones among those ranked no lower.

    Items that are tied are in any order with equal probability, and the expectation is returned: one score for all has
    the precision of chance. Of m tied items with r right ones, each place holds a right one with probability r / m, and
    then each of the m - 1 others is right with probability (r - 1) / (m - 1).

    Args:
      scores: of the items, the highest first.
      right: which of them are right; at least one.
    """
    _, tie = np.unique(-scores.astype(np.float64), return_inverse=True)
    size, hits = np.bincount(tie), np.bincount(tie, right)
    before, hits_before = np.cumsum(size) - size, np.cumsum(hits) - hits
    tie, place = np.sort(tie), np.arange(len(scores))
    among = (place - before[tie]) * (hits[tie] - 1) / np.maximum(size[tie] - 1, 1)  # right ones above, of those tied
    precision = (hits_before[tie] + among + 1) / (place + 1)
    return float(np.sum(hits[tie] / size[tie] * precision) / right.sum())


def frequencies(right: Bool[np.ndarray, "N T"]) -> Float[np.ndarray, "N T"]:
    """How often the other half of the pictures has each tag; halves are drawn, always the same."""
    half = np.random.default_rng(0).permutation(len(right)) % 2
    return np.stack([right[half == 1 - side].sum(0) for side in (0, 1)]).astype(float)[half]
