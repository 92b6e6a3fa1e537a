"""What is asked of held-out records, and what is true of them."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Hashable, Sequence

import numpy as np

from xmjax.data import playroom
from xmjax.data.arrays import caption_words
from xmjax.data.source import Caption, Record, Word
from xmjax.evaluation.base import Scores

CANDIDATES = 16
"""Words that a masked word of real data is scored among."""


@dataclasses.dataclass(frozen=True)
class FillItem:
    """A caption with one word masked, and the words that are scored in its place.

    Attributes:
      record: what the caption belongs to.
      caption: the caption.
      word: the masked word.
      candidates: words of its class, dressed to fit (article, particle), all different.
      answer: index of the word that stood there.
    """

    record: Record
    caption: Caption
    word: Word
    candidates: tuple[str, ...]
    answer: int

    @property
    def kind(self) -> str:
        """Class of the word."""
        return self.word.kind

    def masked_text(self) -> str:
        """The caption with the word blanked."""
        data = self.caption.text.encode()
        return f"{data[: self.word.start].decode()}▁▁▁{data[self.word.end :].decode()}"

    def true_in(self, record: Record) -> list[bool]:
        """Which candidates make the caption true of another record's picture."""
        if record.truth is not None:
            assert isinstance(self.caption, playroom.PlayCaption) and self.caption.words is not None
            return playroom.candidates(self.caption, self.caption.words.index(self.word), record.truth)[1]
        known = set().union(*(_words(c) for c in record.captions if c.language == self.caption.language))
        return [word in known for word in self.candidates]

    def fits(self, record: Record) -> bool:
        """Whether the answer is true of another record's picture, as far as is known."""
        return self.true_in(record)[self.answer]


def fill_items(records: Sequence[Record], max_bytes: int) -> list[FillItem]:
    """One item a record, by turns of its captions.

    In the playroom the candidates are all words of the class, and only words that the picture leaves one choice for are
    asked. Elsewhere they are words of the other records' captions in that language that the record's own do not have.
    """
    vocabulary: dict[str, set[str]] = {}
    for record in records:
        for caption in record.captions if record.truth is None else ():
            vocabulary.setdefault(caption.language, set()).update(_words(caption))
    known = {language: sorted(words) for language, words in vocabulary.items()}
    items = []
    for i, record in enumerate(records):
        rng = np.random.default_rng((1, i))
        if not record.captions:
            continue
        caption = record.captions[i % len(record.captions)]
        item = _play_item(record, caption, rng) if record.truth is not None else _item(record, caption, known, rng)
        if item is not None and item.word.end <= max_bytes:
            items.append(item)
    return items


def _play_item(record: Record, caption: Caption, rng: np.random.Generator) -> FillItem | None:
    assert isinstance(caption, playroom.PlayCaption) and caption.words is not None
    decided = playroom.fills(record.truth, caption)
    if not decided:
        return None
    index = decided[int(rng.integers(len(decided)))]
    candidates, true = playroom.candidates(caption, index, record.truth)
    return FillItem(record, caption, caption.words[index], tuple(candidates), true.index(True))


def _item(record: Record, caption: Caption, known: dict[str, list[str]], rng: np.random.Generator) -> FillItem | None:
    words = caption_words(caption)
    if not words:
        return None
    word = words[int(rng.integers(len(words)))]
    answer = caption.text.encode()[word.start : word.end].decode()
    own = set().union(*(_words(c) for c in record.captions if c.language == caption.language))
    others = [w for w in known[caption.language] if w not in own]
    if not others:
        return None
    drawn = rng.permutation(len(others))[: CANDIDATES - 1]
    candidates = sorted({answer, *(others[i] for i in drawn)})
    return FillItem(record, caption, word, tuple(candidates), candidates.index(answer))


def _words(caption: Caption) -> set[str]:
    data = caption.text.encode()
    return {data[w.start : w.end].decode() for w in caption_words(caption)}


def query(record: Record, index: int) -> Caption:
    """The caption that a record is looked for by: in the playroom one that says enough to tell it from 99 others."""
    caption = record.captions[index % len(record.captions)]
    if record.truth is None:
        return caption
    for style in ("pair", "one"):
        true = playroom.captions(record.truth, caption.language, style)
        if true:
            return max(true, key=lambda c: c.meaning.alone)  # the first, but for a single toy the one that says so
    return caption


def commonest(groups: Sequence[Hashable], answers: Sequence[Collection[str]]) -> float:
    """Accuracy of always giving what is right for most items of a group, as the other half of the items tells.

    Counted on the items themselves, a group of one would always be right. Halves are drawn, always the same; ties are
    shared out; a group that the other half does not have scores 0.

    Args:
      groups: what the item is known by, such as its language and class.
      answers: the right answers of each item, of which one must be given.
    """
    half = np.random.default_rng(0).permutation(len(groups)) % 2
    right: dict[Hashable, Counter[str]] = {}
    for side, group, own in zip(half, groups, answers, strict=True):
        right.setdefault((side, group), Counter()).update(set(own))
    score = 0.0
    for side, group, own in zip(half, groups, answers, strict=True):
        others = right.get((1 - side, group), Counter())
        most = max(others.values(), default=0)
        best = [answer for answer, count in others.items() if count == most]
        score += sum(answer in own for answer in best) / max(1, len(best))
    return score / max(1, len(answers))


def trivial(items: Sequence[FillItem], name: str) -> Scores:
    """What is right without looking: the chance of any candidate, and the commonest word of a language and class."""
    groups = [(item.caption.language, item.kind) for item in items]
    return {
        f"{name}/chance": float(np.mean([1 / len(item.candidates) for item in items])),
        f"{name}/most_frequent": commonest(groups, [{item.candidates[item.answer]} for item in items]),
        f"{name}/n": len(items),
    }


def describes(caption: Caption, record: Record) -> bool:
    """Whether a caption is true of a record, as far as is known."""
    if record.truth is not None:
        assert isinstance(caption, playroom.PlayCaption)
        return playroom.describes(caption, record.truth)
    return any(caption.text == c.text for c in record.captions)


def references(caption: Caption, record: Record) -> set[str]:
    """All captions of a record in the language and style of ``caption``."""
    if record.truth is not None:
        return {c.text for c in playroom.captions(record.truth, caption.language, caption.style)}
    return {c.text for c in record.captions if (c.language, c.style) == (caption.language, caption.style)}
