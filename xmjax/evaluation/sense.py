"""Sense: which of an ambiguous word's meanings the model finds, with its picture, without one, and with another."""

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np

from xmjax import vocab
from xmjax.data import playroom
from xmjax.data.arrays import gloss_ids, image_bytes, marked_ids
from xmjax.data.source import Record, Word
from xmjax.evaluation.base import EVALUATORS, Evaluator, Report
from xmjax.evaluation.fill import ARMS, derangement, oracle, score_candidates
from xmjax.lexicon import Sense, kind_of, masked_gloss, open_dictionary


@dataclasses.dataclass(frozen=True)
class SenseItem:
    """An ambiguous word in a caption.

    Attributes:
      record: with the picture.
      text: the caption.
      word: the word in it.
      candidates: its meanings, at least two.
      answer: index of the meaning that the picture shows.
    """

    record: Record
    text: str
    word: Word
    candidates: tuple[Sense, ...]
    answer: int

    def true_in(self, record: Record) -> list[bool]:
        """Which of the meanings another record's picture shows."""
        shown = {toy.kind for toy in record.truth.toys}
        return [kind_of(sense) in shown for sense in self.candidates]

    def fits(self, record: Record) -> bool:
        """Whether another record's picture shows the answer too."""
        return self.true_in(record)[self.answer]


def sense_items(records: Sequence[Record], dictionary: str, max_bytes: int) -> list[SenseItem]:
    """All ambiguous nouns of the playroom's captions that the scene has one toy for."""
    items = []
    lexicon = open_dictionary(dictionary)
    for record in records:
        for caption in record.captions:
            assert isinstance(caption, playroom.PlayCaption) and caption.words is not None
            for index, word in enumerate(caption.words):
                surface = caption.text.encode()[word.start : word.end].decode()
                senses = lexicon.lookup(surface, caption.language) if word.kind == "kind" else ()
                toy = playroom.meant(caption, index, record.truth)
                if len(senses) < 2 or toy is None or word.end >= max_bytes:
                    continue
                kinds = [kind_of(sense) for sense in senses]
                if (kind := record.truth.toys[toy].kind) in kinds:
                    items.append(SenseItem(record, caption.text, word, senses, kinds.index(kind)))
    return items


@EVALUATORS.register("sense")
class SenseEvaluator(Evaluator):
    """Accuracy of the sense whose definition the decoder finds likeliest, all scored in one pass."""

    def __init__(self, config, mesh, records):
        super().__init__(config, mesh, records)
        options = config.objectives.get("sense")
        length = config.model.text.max_bytes
        self.items: list[SenseItem] = []
        if options is None or options.dictionary != "playroom":
            return
        records = [r for r in self.records if isinstance(r.truth, playroom.Scene)]
        self.items = sense_items(records, "playroom", length)
        if not self.items:
            return
        longest, most = options.max_gloss_bytes, max(len(item.candidates) for item in self.items)
        self.image = np.stack([image_bytes(item.record, config.model.image) for item in self.items])
        self.marked = np.stack([marked_ids(item.text, item.word, length) for item in self.items])
        self.glosses = np.full((len(self.items), most, longest + 2), vocab.PAD, np.uint16)
        for row, item in zip(self.glosses, self.items, strict=True):
            for k, sense in enumerate(item.candidates):
                row[k] = gloss_ids(masked_gloss(sense), longest)
        self.donor = derangement(self.items)
        self.run = self.compiled(partial(score_candidates, association=options.association))

    def __call__(self, params):
        if not self.items:
            return Report({"sense/n": 0})
        answers = np.array([item.answer for item in self.items])
        chance = float(np.mean([1 / len(item.candidates) for item in self.items]))
        scores = {}
        for arm in ARMS:
            image = self.image[self.donor] if arm == "shuffled_image" else self.image
            nats = self.run(params, image, self.marked, self.glosses, np.full(len(answers), arm == "no_image"))
            scores[f"sense/{arm}"] = float(np.mean(np.argmin(nats, 1) == answers))
        words: dict[str, list[int]] = {}
        for item in self.items:
            words.setdefault(item.candidates[0].word, []).append(item.answer)
        frequent = sum(max(found.count(k) for k in set(found)) for found in words.values())
        scores |= {
            "sense/image/oracle": 1.0,  # an item is asked only where the truth has one answer
            "sense/no_image/oracle": chance,
            "sense/shuffled_image/oracle": oracle(self.items, self.donor.tolist()),
            "sense/chance": chance,
            "sense/most_frequent": frequent / len(answers),
            "sense/n": len(answers),
        }
        return Report(scores)
