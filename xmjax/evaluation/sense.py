"""Sense: which of an ambiguous word's meanings the model finds, with its picture, without one, and with another."""

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np

from xmjax import vocab
from xmjax.data import playroom
from xmjax.data.arrays import MARKING, gloss_ids, marked_ids
from xmjax.data.source import Record, Word
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.fill import ARMS, oracle, other_pictures, score_seen
from xmjax.evaluation.items import commonest
from xmjax.lexicon import Dictionary, Sense, Table, entities, kind_of, masked_gloss, open_dictionary
from xmjax.lexicon.inflection import normal


@dataclasses.dataclass(frozen=True)
class SenseItem:
    """An ambiguous word in a caption.

    Attributes:
      record: with the picture.
      text: the caption.
      word: the word in it.
      candidates: its meanings, at least two.
      answer: index of the meaning that the picture shows.
      style: wording of the caption.
    """

    record: Record
    text: str
    word: Word
    candidates: tuple[Sense, ...]
    answer: int
    style: str = ""

    def true_in(self, record: Record) -> list[bool]:
        """Which of the meanings another record's picture shows, as far as is known."""
        if record is self.record:  # even one that shows a thing of each meaning: the caption speaks of one
            return [k == self.answer for k in range(len(self.candidates))]
        if record.truth is None:
            return [record.id in sense.records for sense in self.candidates]
        shown = {toy.kind for toy in record.truth.toys}
        return [kind_of(sense) in shown for sense in self.candidates]

    def fits(self, record: Record) -> bool:
        """Whether another record's picture shows the answer too."""
        return self.true_in(record)[self.answer]


def play_items(records: Sequence[Record], dictionary: Dictionary, max_bytes: int) -> list[SenseItem]:
    """All ambiguous nouns of the playroom's captions that the scene has one toy for."""
    items = []
    for record in records:
        for caption in record.captions:
            assert isinstance(caption, playroom.PlayCaption) and caption.words is not None
            for index, word in enumerate(caption.words):
                surface = caption.text.encode()[word.start : word.end].decode()
                senses = dictionary.lookup(surface, caption.language) if word.kind == "kind" else ()
                toy = playroom.meant(caption, index, record.truth)
                if len(senses) < 2 or toy is None or word.end + MARKING > max_bytes:
                    continue
                kinds = [kind_of(sense) for sense in senses]
                if (kind := record.truth.toys[toy].kind) in kinds:
                    items.append(SenseItem(record, caption.text, word, senses, kinds.index(kind), caption.style))
    return items


def table_items(records: Sequence[Record], table: Table, max_bytes: int) -> list[SenseItem]:
    """Every ambiguous word of a table with every picture that its entries name and the records have.

    It is asked for in the first caption of the record that has it in its language, else by itself.
    """
    known = {record.id: record for record in records}
    items = []
    for word, language in table.headwords():
        senses = table.find(normal(word), language)
        end = len(vocab.utf8(word))
        if len(senses) < 2 or end + MARKING > max_bytes:
            continue
        for answer, sense in enumerate(senses):
            found = [known[id] for id in sense.records if id in known]
            for record in found:
                text, place = _said(record, table, senses, language, max_bytes) or (word, Word(0, end))
                items.append(SenseItem(record, text, place, senses, answer))
    return items


def _said(
    record: Record, table: Table, senses: tuple[Sense, ...], language: str, max_bytes: int
) -> tuple[str, Word] | None:
    """A caption of a record and the word in it that has these senses."""
    for caption in record.captions:
        data = caption.text.encode()
        for word in entities(caption, table) if caption.language == language else ():
            surface = data[word.start : word.end].decode()
            if word.end + MARKING <= max_bytes and table.lookup(surface, language) == senses:
                return caption.text, word
    return None


@EVALUATORS.register("sense")
class SenseEvaluator(Evaluator):
    """Accuracy of the sense whose definition the decoder finds likeliest, all scored in one pass."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        options = config.objectives.get("sense")
        length = config.model.text.max_bytes
        self.items: list[SenseItem] = []
        if options is None:
            return
        dictionary = open_dictionary(options.dictionary, options.tabs)
        if options.dictionary == "playroom":
            scenes = [r for r in self.records if isinstance(r.truth, playroom.Scene)]
            self.items = play_items(scenes, dictionary, length)
        elif isinstance(dictionary, Table):
            self.items = table_items(self.records, dictionary, length)
        if not self.items:
            return
        longest, most = options.max_gloss_bytes, max(len(item.candidates) for item in self.items)
        self.image = self.pictures(item.record for item in self.items)
        self.marked = np.stack([marked_ids(item.text, item.word, length) for item in self.items])
        self.glosses = np.full((len(self.items), most, longest + 2), vocab.PAD, np.uint16)
        for row, item in zip(self.glosses, self.items, strict=True):
            for k, sense in enumerate(item.candidates):
                row[k] = gloss_ids(masked_gloss(sense), longest)
        self.donor = other_pictures(self.items)
        self.run = self.compiled(partial(score_seen, association=options.association))

    def __call__(self, params):
        if not self.items:
            return Report({"sense/n": 0})
        answers = np.array([item.answer for item in self.items])
        chance = float(np.mean([1 / len(item.candidates) for item in self.items]))
        right = {}
        for arm in ARMS:
            image = self.image[self.donor] if arm == "shuffled_image" else self.image
            nats = self.run(params, image, self.marked, self.glosses, np.full(len(answers), arm == "no_image"))
            right[arm] = np.argmin(nats, 1) == answers
        own = right["image"]
        scores = {f"sense/{arm}": float(np.mean(right[arm])) for arm in ARMS} | {
            "sense/image/oracle": oracle(self.items, range(len(self.items))),
            "sense/no_image/oracle": chance,
            "sense/shuffled_image/oracle": oracle(self.items, self.donor.tolist()),
            "sense/chance": chance,
            "sense/most_frequent": commonest(
                [item.candidates[0].word for item in self.items],
                [{item.candidates[item.answer].id} for item in self.items],
            ),
            "sense/n": len(answers),
        }
        from scipy.stats import binomtest  # as long to import as jax itself

        interval = binomtest(int(own.sum()), len(own)).proportion_ci(method="wilson")
        scores |= {"sense/image_95_low": float(interval.low), "sense/image_95_high": float(interval.high)}
        return Report(scores | self._by_style(own) | self._by_word(own))

    def _by_style(self, right: np.ndarray) -> dict[str, float]:
        """How often it is right in captions of each wording; some say nothing of a thing but the word."""
        found = {}
        for style in sorted({item.style for item in self.items if item.style}):
            own = np.array([item.style == style for item in self.items])
            name = f"sense/by_style/{style}"
            found |= {name: float(right[own].mean()), f"{name}/n": int(own.sum())}
        return found

    def _by_word(self, right: np.ndarray) -> dict[str, float]:
        """For each word how often it is right, and the share of its items whose sense has pictures to learn from."""
        held_out = {record.id for record in self.records}
        rows: dict[str, list[int]] = {}
        for i, item in enumerate(self.items):
            rows.setdefault(item.candidates[item.answer].word, []).append(i)
        found = {}
        for word, own in rows.items():
            items = [self.items[i] for i in own]
            found |= {
                f"sense/by_word/{word}": float(right[own].mean()),
                f"sense/by_word/{word}/chance": float(np.mean([1 / len(item.candidates) for item in items])),
                f"sense/by_word/{word}/n": len(own),
            }
            shown = [set(item.candidates[item.answer].records) for item in items]
            if any(shown):
                found[f"sense/seen/{word}"] = float(np.mean([bool(ids - held_out) for ids in shown]))
        return found
