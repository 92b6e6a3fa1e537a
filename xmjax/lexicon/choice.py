"""The choice of a sense: which meaning of a masked word the captions of its picture speak for.

A `Query` holds the senses of one word and the texts that stand beside it; a `Scorer` measures how near each sense is
to the texts; `choose` keeps the best one where it is near enough. What is kept may enter training text through
`senses.masked_gloss`. Source: US 12,393,789, claims 6 and 7.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from xmjax.data.source import Caption, Word
from xmjax.lexicon.inflection import normal
from xmjax.lexicon.senses import MASK, Dictionary, Sense, masked_gloss

_DECIMALS = 6  # scores that differ by rounding alone are equal, or ties would not fall to the dictionary's order


@dataclasses.dataclass(frozen=True, slots=True)
class Query:
    """A word whose sense is asked for.

    Attributes:
      word: the word as it stands in the caption, with article or particles.
      language: language of the caption.
      senses: its senses in the order of the dictionary; empty where the dictionary does not have it.
      texts: the caption with the word masked, then other captions of the same picture, in any language.
    """

    word: str
    language: str
    senses: tuple[Sense, ...]
    texts: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The answer to a query.

    Attributes:
      sense: the sense that is kept, None where none is.
      score: similarity of the best sense, kept or not; -inf where there is no sense.
      scores: similarity of each sense of the query, in order.
    """

    sense: Sense | None
    score: float
    scores: tuple[float, ...]


class Scorer(Protocol):
    """Measures how near senses are to texts."""

    def __call__(self, queries: Sequence[Query]) -> list[np.ndarray]:
        """float [number of senses] for each query, cosines from -1 to 1, higher for nearer. Deterministic."""
        ...


def ask(dictionary: Dictionary, caption: Caption, word: Word, others: Sequence[Caption] = ()) -> Query:
    """The query for one word of a caption, of the first modality or of the third alike.

    Args:
      dictionary: where senses are looked up.
      caption: the caption that has the word.
      word: the word, by bytes of the caption; it is masked.
      others: third captions: further captions of the same picture. They are read as they are.
    """
    data = caption.text.encode()
    surface = data[word.start : word.end].decode()
    masked = f"{data[: word.start].decode()}{MASK}{data[word.end :].decode()}"
    senses = dictionary.lookup(surface, caption.language)
    return Query(surface, caption.language, senses, (masked, *(other.text for other in others)))


def scored(queries: Sequence[Query], scorer: Scorer) -> list[np.ndarray]:
    """Scores of each query's senses, rounded; float64 [number of senses], empty where it has none.

    Raises:
      ValueError: the scorer gives a score that is not finite, or not one for each sense.
    """
    asked = [query for query in queries if query.senses]
    given = iter(scorer(asked)) if asked else iter(())
    found = []
    for query in queries:
        scores = np.asarray(next(given) if query.senses else (), np.float64)
        if scores.shape != (len(query.senses),) or not np.isfinite(scores).all():
            raise ValueError(f"scores of {query.word!r} must be one finite number for each sense, not {scores}")
        found.append(scores.round(_DECIMALS) + 0.0)  # no -0.0
    return found


def choose(queries: Sequence[Query], scorer: Scorer, threshold: float) -> list[Choice]:
    """Keeps the best sense of each query where it reaches the threshold.

    Args:
      queries: words to decide on; scored together, so that a model is called once.
      scorer: `scorers.Symbolic`, `scorers.Vectors` or any other.
      threshold: the least score that is kept. Where no sense reaches it none is kept, which is a normal outcome.

    Returns:
      A choice for each query. Of equally good senses the first of the dictionary is taken.
    """
    return [decide(query, scores, threshold) for query, scores in zip(queries, scored(queries, scorer), strict=True)]


def carry(
    known: Sequence[tuple[Sense, float]], senses: Sequence[Sense], scorer: Scorer | None = None
) -> list[tuple[Sense, float]]:
    """What is known of a word's senses in one dictionary, of its senses in another.

    Args:
      known: senses of the one, each with its probability.
      senses: of the other.
      scorer: tells which definitions are alike; None compares names.

    Returns:
      (sense, probability) pairs, likeliest first. Each of ``known`` gives its probability in equal parts to those that
      have a name in common with it besides the word itself, or whose definition is most like its own; what none has is
      left out, and all sum to 1. Empty where no two have anything in common.
    """
    share = np.zeros(len(senses))
    for sense, probability in known:
        if scorer is None:
            names = {normal(name) for name in sense.synonyms} - {normal(sense.word)}
            named = ({normal(name) for name in (other.word, *other.synonyms)} for other in senses)
            same = np.array([bool(names & other) for other in named])
        else:
            query = Query(sense.word, sense.language, tuple(senses), (masked_gloss(sense),))
            (scores,) = scored([query], scorer)
            same = (scores > 0) & (scores == scores.max())
        share += same * probability / max(same.sum(), 1)
    if not share.any():
        return []
    order = np.argsort(-share, kind="stable")
    return [(senses[k], float(share[k] / share.sum())) for k in order]


def decide(query: Query, scores: np.ndarray, threshold: float) -> Choice:
    """The choice that follows from scores [number of senses] of a query."""
    if not query.senses:
        return Choice(None, -np.inf, ())
    best = int(np.argmax(scores))  # the first of equals
    score = float(scores[best])
    return Choice(query.senses[best] if score >= threshold else None, score, tuple(scores.tolist()))
