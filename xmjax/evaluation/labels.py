"""Labels: what a masked object is called, and pictures found by the objects that a text makes expect in them."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from xmjax import vocab
from xmjax.data import playroom
from xmjax.data.arrays import by_character, caption_words, masked_ids, text_ids
from xmjax.data.regions import boxes_array, groups, kept, label_ids
from xmjax.data.source import Caption, Record, Region
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report, Scores, batched
from xmjax.evaluation.fill import candidate_sequences, oracle, other_pictures, score_masked
from xmjax.evaluation.items import commonest, fill_items, query, trivial
from xmjax.evaluation.match import PAIRS, encoded_image, pair_scores
from xmjax.evaluation.retrieval import WAYS, both_ways
from xmjax.models.embedders import Tokens
from xmjax.models.regions import erased
from xmjax.objectives.base import decoded_nats
from xmjax.objectives.regions import label_nats

POOLS = 2
"""Pools that are searched by objects: the labels of every picture are written for every text."""


@dataclasses.dataclass(frozen=True)
class MaskedObject:
    """A region whose label is asked, with all that overlap it masked.

    Attributes:
      record: whose it is.
      caption: what is told of the record.
      masked: which regions are masked.
      asked: which of them is asked.
    """

    record: Record
    caption: Caption
    masked: tuple[bool, ...]
    asked: int


def masked_objects(records: Sequence[Record], count: int) -> list[MaskedObject]:
    """One item a record, where its caption names one of its objects, as far as is known.

    Args:
      records: with captions and regions.
      count: most regions of a picture.
    """
    items = []
    for i, record in enumerate(records):
        rng = np.random.default_rng((2, i))
        caption, regions = query(record, i), kept(record.regions, count)
        named = told(caption, record, regions) if record.truth is not None else list(range(len(regions)))
        if not named:
            continue
        asked = named[int(rng.integers(len(named)))]
        group = next(g for g in groups([region.box for region in regions]) if asked in g)
        items.append(MaskedObject(record, caption, tuple(k in group for k in range(count)), asked))
    return items


def told(caption: Caption, record: Record, regions: Sequence[Region]) -> list[int]:
    """Which of a playroom's regions a caption names by colour and by a word that stands for one label only."""
    assert isinstance(caption, playroom.PlayCaption) and caption.words is not None
    found = []
    for i, word in enumerate(caption.words):
        toy = playroom.meant(caption, i, record.truth) if word.kind == "kind" else None
        if toy is not None and playroom.one_label(caption, i):
            found += [k for k, shown in enumerate(toys(record, regions)) if shown == toy]
    return found


def named(captions: Sequence[Caption], records: Sequence[Record]) -> np.ndarray:
    """How many objects captions of playrooms name [captions, records], 0 where a record has not all of them."""
    found = np.zeros((len(captions), len(records)))
    for i, caption in enumerate(captions):
        assert isinstance(caption, playroom.PlayCaption)
        for j, record in enumerate(records):
            found[i, j] = len(caption.meaning.phrases) * playroom.has_named(caption, record.truth)
    return found


def toys(record: Record, regions: Sequence[Region]) -> list[int]:
    """The toy that each of a playroom's regions is around."""
    size = record.truth.image_size
    boxes = [tuple(edge / size for edge in toy.box) for toy in record.truth.toys]
    return [boxes.index(region.box) for region in regions]


def knowable(item: MaskedObject) -> float:
    """Probability of the right label for one who knows the playroom, and all that a caption and boxes tell.

    Where two toys are masked together, what is said of them may leave open which is which.
    """
    scene, caption = item.record.truth, item.caption
    assert isinstance(caption, playroom.PlayCaption)
    shown = toys(item.record, kept(item.record.regions, len(item.masked)))
    asked, hidden = shown[item.asked], {toy for toy, masked in zip(shown, item.masked, strict=False) if masked}

    def said(hidden: set[int]) -> Counter:
        found = [r for r in playroom.readings(caption, scene, hidden) if asked in r]
        phrases = [caption.meaning.phrases[reading.index(asked)] for reading in found]
        return Counter((phrase.word, phrase.color) for phrase in phrases)

    (right,) = said(set())
    guesses = said(hidden)
    best = [label for label, count in guesses.items() if count == max(guesses.values())]
    return (right in best) / len(best)


@EVALUATORS.register("objects")
class LabelsEvaluator(Evaluator):
    """Label accuracy of masked objects among all labels, and recall of pictures by the labels a text makes expect.

    For retrieval all objects of every picture are masked, and their labels, as they come with the boxes, are scored: by
    how many nats likelier the text makes them than no text (EP 3 889 830, paragraph 71), so that objects that no text
    speaks of count nothing. Nothing of the pictures is read but those labels and their number. "objects/words" is what
    `fill` asks, of a masked word of a caption that is read with the objects in the place of the picture, and
    "objects/words/bits" what the right one costs; "objects/words/characters/bits", of runs that mask single characters,
    what all of its characters cost, each masked by itself and read off all others.
    "objects/features", of models that tell what masked objects look like, is how often that is nearest to the features
    of the object itself or of another with its label, among all that are asked.
    """

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        count, length = config.model.regions.given, config.model.text.max_bytes
        self.records = [r for r in self.records if r.captions and r.regions and count]
        self.items = masked_objects(self.records, count)
        if not self.items:
            return
        options = config.objectives.get("regions")

        def cut(label: str) -> str:
            """As it was learned."""
            data = vocab.utf8(label)
            longest = options.max_label_bytes if options else len(data)
            return vocab.truncate(data, longest).decode("utf-8", "surrogatepass")

        names = sorted({cut(region.label) for record in self.records for region in kept(record.regions, count)})
        self.labels = [cut(kept(item.record.regions, count)[item.asked].label) for item in self.items]
        self.answers = [names.index(label) for label in self.labels]
        self.chance = 1 / len(names)
        in_playroom = all(item.record.truth is not None for item in self.items)
        self.known = float(np.mean([knowable(item) for item in self.items])) if in_playroom else None
        sequences = candidate_sequences([names])
        self.arrays = (
            self.pictures(item.record for item in self.items),
            np.stack([boxes_array(item.record.regions, count) for item in self.items]),
            np.array([item.masked for item in self.items]),
            np.array([item.asked for item in self.items]),
            np.stack([text_ids(item.caption.text, length) for item in self.items]),
        )
        self.run = self.compiled(partial(score_labels, sequences=jnp.asarray(sequences[0])))
        self.look = self.compiled(looks)
        self._prepare_retrieval(count, length, sequences.shape[2] - 2)
        self._prepare_words(count, length)
        self.by_character = bool(self.words) and options is not None and options.unit == "character"
        if self.by_character:
            self._prepare_characters(length)

    def _prepare_words(self, count: int, length: int) -> None:
        self.words = fill_items(self.records, length)
        if not self.words:
            return
        donor = other_pictures(self.words)
        self.word_answers = [item.answer for item in self.words]
        image = self.pictures(item.record for item in self.words)
        boxes = np.stack([boxes_array(item.record.regions, count) for item in self.words])
        there = np.zeros(len(self.words), bool)
        self.word_arrays = {
            "": (image, boxes, there), "/no_image": (image, boxes, ~there),
            "/shuffled_image": (image[donor], boxes[donor], there),
        }  # fmt: skip
        self.masked = np.stack([masked_ids(item.caption.text, item.word, length) for item in self.words])
        self.word_sequences = candidate_sequences([item.candidates for item in self.words])
        self.choose = self.compiled(score_words)

    def _prepare_characters(self, length: int) -> None:
        captions = [dataclasses.replace(item.caption, words=(item.word,)) for item in self.words]
        parts = [(i, c) for i, caption in enumerate(captions) for c in caption_words(by_character(caption))]
        texts = [captions[i].text for i, _ in parts]
        self.word_of = np.array([i for i, _ in parts])
        self.masked_characters = np.stack(
            [masked_ids(text, c, length) for text, (_, c) in zip(texts, parts, strict=True)]
        )
        own = [vocab.utf8(text)[c.start : c.end].decode() for text, (_, c) in zip(texts, parts, strict=True)]
        self.characters = candidate_sequences([[character] for character in own])

    def _prepare_retrieval(self, count: int, length: int, longest: int) -> None:
        config = self.config
        pool = min(config.evaluation.pool, len(self.records))
        pools = min(POOLS, len(self.records) // pool)
        self.pools = [slice(i * pool, (i + 1) * pool) for i in range(pools)]
        shown = self.records[: pools * pool]
        boxes = np.stack([boxes_array(r.regions, count) for r in shown])
        labels = np.stack([label_ids(r.regions, b[:, 2] > 0, longest) for r, b in zip(shown, boxes, strict=True)])
        asked = [query(r, i) for i, r in enumerate(shown)]
        self.gallery, self.queries = (boxes, labels), np.stack([text_ids(c.text, length) for c in asked])
        self.named = [] if self.known is None else [named(asked[pool], shown[pool]) for pool in self.pools]
        self.score = batched(config, self.mesh, expected, PAIRS * config.evaluation.batch_size)
        self.guess = self.compiled(lambda model, *gallery: expected(model, gallery, None))

    def __call__(self, params):
        if not self.items:
            return Report({"objects/n": 0})
        image, boxes, masked, asked, text = self.arrays
        right = np.argmin(self.run(params, *self.arrays), 1) == self.answers
        crowded = masked.sum(1) > 1
        crowds = {"overlapping": crowded, "by_itself": ~crowded}
        blind = self.run(params, image, boxes, masked, asked, np.full_like(text, vocab.PAD))
        scores: Scores = {
            "objects/accuracy": float(np.mean(right)),
            **{f"objects/accuracy/{name}": float(np.mean(right[rows])) for name, rows in crowds.items() if rows.any()},
            "objects/no_text": float(np.mean(np.argmin(blind, 1) == self.answers)),
            "objects/chance": self.chance,
            "objects/most_frequent": commonest([""] * len(self.labels), [{label} for label in self.labels]),
            "objects/n": len(self.items),
        }
        if self.known is not None:
            scores["objects/accuracy/oracle"] = self.known
        scores |= self._words(params) | self._features(params)
        unasked = self.guess(params, *self.gallery)  # how likely the objects of each picture are without any text
        found = [
            unasked[pool] - pair_scores(self.score, params, self.gallery, self.queries, pool) for pool in self.pools
        ]
        scores |= both_ways(found, "objects") | both_ways([np.zeros_like(m) for m in found], "objects", "/random")
        scores |= both_ways(self.named, "objects", "/oracle") if self.named else {}
        return Report(scores | {f"objects/{way}/n": sum(map(len, found)) for way in WAYS})

    def _features(self, params: Any) -> Scores:
        if not self.config.model.regions.features:
            return {}
        *shown, text = self.arrays
        same = np.equal.outer(self.answers, self.answers)
        scores: Scores = {}
        for arm, told in {"": text, "/no_text": np.full_like(text, vocab.PAD)}.items():
            expected, true = self.look(params, *shown, told).swapaxes(0, 1)
            scores[f"objects/features{arm}"] = float(np.mean(same[range(len(same)), np.argmax(expected @ true.T, 1)]))
        known = {} if self.known is None else {"objects/features/oracle": self.known}
        return scores | known | {"objects/features/random": float(np.mean(same))}

    def _words(self, params: Any) -> Scores:
        if not self.words:
            return {"objects/words/n": 0}
        scores: Scores = {}
        for arm, shown in self.word_arrays.items():
            nats = self.choose(params, *shown, self.masked, self.word_sequences)
            scores[f"objects/words{arm}"] = float(np.mean(np.argmin(nats, 1) == self.word_answers))
            own = np.take_along_axis(nats, np.array(self.word_answers)[:, None], 1)
            scores[f"objects/words{arm}/bits"] = float(np.mean(own) / np.log(2))
            if self.by_character:
                shown = tuple(x[self.word_of] for x in shown)
                total = np.sum(self.choose(params, *shown, self.masked_characters, self.characters))
                scores[f"objects/words{arm}/characters/bits"] = float(total / len(self.words) / np.log(2))
        known = {"objects/words/oracle": oracle(self.words, range(len(self.words)))}
        return scores | trivial(self.words, "objects/words") | known


def place_of(model: Any, image: Array, boxes: Array, masked: Array, asked: Array, text: Array) -> Float[Array, "B 1 D"]:
    """Where in the fused sequence each row's object stands that is asked, being masked."""
    left = erased(image, boxes, masked)
    objects = model.grounded(model.encode("image", left), boxes, masked, left)
    fused = model.fuse({"image": objects, "text": model.encode("text", text)}, {"text": jnp.all(text == vocab.PAD, -1)})
    return jnp.take_along_axis(fused["image"].vectors, asked[:, None, None], 1)


def looks(model: Any, image: Array, boxes: Array, masked: Array, asked: Array, text: Array) -> Float[Array, "B two D"]:
    """Unit vectors of what the object of each row that is asked is expected to look like, and of what it does."""
    true = model.looks(model.encode("image", image), boxes)
    expected = model.expected_looks(place_of(model, image, boxes, masked, asked, text))
    return jnp.concatenate([expected, jnp.take_along_axis(true, asked[:, None, None], 1)], 1)


def score_labels(
    model: Any, image: Array, boxes: Array, masked: Array, asked: Array, text: Array, *, sequences: Array
) -> Array:
    """Nats of every label at the place of one masked object of each row [B, K], +inf for padding."""
    place = place_of(model, image, boxes, masked, asked, text)
    rows = jnp.broadcast_to(sequences, (len(image), *sequences.shape))
    nats, count = decoded_nats(model, rows, place, jnp.ones(place.shape[:2], bool))
    return jnp.where(count > 0, nats, jnp.inf)


def score_words(model: Any, image: Array, boxes: Array, absent: Array, masked: Array, sequences: Array) -> Array:
    """`evaluation.fill.score_masked` of texts that are read with the objects of pictures."""
    return score_masked(model, {"image": encoded_image(model, image, boxes)}, masked, sequences, {"image": absent})


def expected(model: Any, gallery: tuple[Array, Array], text: Array | None) -> Array:
    """Nats of the labels of each row's picture [B], all of its objects being masked, given how many and a text alone.

    ``text`` None: given how many alone.
    """
    boxes, labels = gallery
    rows = len(boxes)
    side, length = model.config.image.size, model.config.text.max_bytes
    grey = model.encode("image", jnp.zeros((1, side, side, 3), jnp.uint8))
    tokens = Tokens(*(jnp.broadcast_to(x, (rows, *x.shape[1:])) for x in grey))
    all_of_them = jnp.ones(boxes.shape[:2], bool)
    objects = model.grounded(tokens, boxes, all_of_them, unknown=jnp.ones(rows, bool))
    absent = jnp.full(rows, text is None)
    told = model.encode("text", jnp.full((rows, length), vocab.PAD, jnp.uint16) if text is None else text)
    fused = model.fuse({"image": objects, "text": told}, {"text": absent})
    nats, _ = label_nats(model, fused["image"].vectors, labels)
    return jnp.sum(nats, 1)
