"""Two measures of similarity between a sense and texts: by shared words, and by vectors of a model."""

import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from xmjax.data.words import words
from xmjax.lexicon.choice import Query, Scorer
from xmjax.lexicon.inflection import base_forms, normal
from xmjax.lexicon.senses import HANGUL, SHORTEST, Sense, mask_word, masked_gloss

# What a feature of a sense weighs by where it stands: a caption in another language that names the thing says more
# than one that shares a word with its definition, and one that names its class says less.
_SYNONYM, _GLOSS, _HYPERNYM = 2.0, 1.0, 0.5
_NGRAM = 0.25  # of a part of a word against the whole word
_GRAM = {True: 2, False: 4}  # characters of a part: Hangul, other

_LATIN = re.compile(r"[a-z][a-z'-]*")


DOCUMENTS = 20_000
"""Most glosses that the rarity of words is counted in."""


class Symbolic(Scorer):
    """Simplified Lesk as a cosine: words and parts of words that sense and texts share, weighed by rarity.

    Both sides are sparse vectors over stems and character n-grams; an entry is the inverse document frequency,
    times a weight that is higher for synonyms and lower for hypernyms. Headwords in glosses do not count. Scores are
    from 0 to 1. Sources: M. Lesk, SIGDOC 1986; A. Kilgarriff and J. Rosenzweig, Computers and the Humanities 34, 2000.

    Args:
      documents: texts by which rarity is measured, as `Dictionary.glosses` gives.
    """

    def __init__(self, documents: Iterable[str]):
        self._documents = 0
        self._frequency: Counter[str] = Counter()
        for text in documents:
            self._documents += 1
            self._frequency.update(features(text))
        self._senses: dict[Sense, dict[str, float]] = {}

    def __call__(self, queries: Sequence[Query]) -> list[np.ndarray]:
        return [self._scores(query) for query in queries]

    def idf(self, feature: str) -> float:
        """log((1 + documents) / (1 + documents that have the feature))."""
        return math.log((1 + self._documents) / (1 + self._frequency[feature]))

    def _scores(self, query: Query) -> np.ndarray:
        weights: dict[str, float] = {}
        for text in query.texts:
            _add(weights, text, 1.0)
        context = self._unit(weights)
        return np.array([_dot(self._sense(sense), context) for sense in query.senses])

    def _sense(self, sense: Sense) -> dict[str, float]:
        vector = self._senses.get(sense)
        if vector is None:
            weights: dict[str, float] = {}
            _add(weights, masked_gloss(sense), _GLOSS)
            for names, weight in ((sense.synonyms, _SYNONYM), (sense.hypernyms, _HYPERNYM)):
                for name in names:
                    _add(weights, mask_word(name, sense.word, "en" if name.isascii() else sense.language), weight)
            vector = self._senses[sense] = self._unit(weights)
        return vector

    def _unit(self, weights: dict[str, float]) -> dict[str, float]:
        vector = {feature: weight * self.idf(feature) for feature, weight in weights.items()}
        norm = math.sqrt(math.fsum(value * value for value in vector.values()))
        return {feature: value / norm for feature, value in vector.items()} if norm else {}


def _add(weights: dict[str, float], text: str, weight: float) -> None:
    """Puts features of a text in; a feature that is there already keeps the higher weight."""
    for feature, share in features(text).items():
        weights[feature] = max(weights.get(feature, 0.0), weight * share)


def _dot(a: dict[str, float], b: dict[str, float]) -> float:
    # fsum does not depend on the order, so that equal senses have equal scores.
    return math.fsum(value * b[feature] for feature, value in a.items() if feature in b)


@functools.lru_cache(maxsize=1 << 14)
def features(text: str) -> dict[str, float]:
    """Stems of a text's words with weight 1, and the character n-grams of its longer words ("#ngr") with less."""
    data = text.encode()
    found: dict[str, float] = {}
    for word in words(text):
        token = normal(data[word.start : word.end].decode())
        for part in token.split("-"):
            if len(part) >= (SHORTEST if part.isascii() else 1):
                found.update(_word_features(part))
    return found


@functools.lru_cache(maxsize=1 << 16)
def _word_features(word: str) -> tuple[tuple[str, float], ...]:
    hangul = bool(HANGUL.search(word))
    stem = _stem(word, hangul)
    size = _GRAM[hangul]
    grams = {f"#{stem[i : i + size]}": _NGRAM for i in range(len(stem) - size + 1)} if len(stem) > size else {}
    return ((stem, 1.0), *grams.items())


def _stem(word: str, hangul: bool) -> str:
    """One form for all forms of a word: the shortest of its base forms, though it need not be a word."""
    if hangul:
        forms = base_forms(word, "ko") or (word,)
    elif _LATIN.fullmatch(word):
        forms = [form for form in base_forms(word, "en") if len(form) >= SHORTEST] or [word]
    else:
        return word
    return min(forms, key=len)


class Vectors(Scorer):
    """Cosine of a model's vectors: of the sense, and of the mean over the texts.

    The model is frozen while the scorer lives: vectors of senses are remembered. A run's own text tower, an earlier
    checkpoint and a published language model serve alike.

    Args:
      encode: function from n texts to float [n, d], unit vectors; one direction means one meaning. Called with
        different texts, all that a call needs at once.

    Raises (when called):
      ValueError: what it gives is not float [n, d] of unit length.
    """

    def __init__(self, encode: Callable[[list[str]], np.ndarray]):
        self._encode = encode
        self._remembered: dict[str, np.ndarray] = {}

    def __call__(self, queries: Sequence[Query]) -> list[np.ndarray]:
        described = {described_sense(sense) for query in queries for sense in query.senses}
        new = sorted(described - self._remembered.keys())
        contexts = sorted({text for query in queries for text in query.texts})
        vectors = self._vectors([*new, *contexts])
        self._remembered.update(zip(new, vectors, strict=False))
        known = dict(zip(contexts, vectors[len(new) :], strict=True))
        found = []
        for query in queries:
            senses = np.stack([self._remembered[described_sense(sense)] for sense in query.senses])
            mean = np.mean([known[text] for text in query.texts], axis=0)
            norm = np.linalg.norm(mean)
            found.append(senses @ (mean / norm if norm > 0 else mean))
        return found

    def _vectors(self, texts: list[str]) -> np.ndarray:
        if not texts:
            return np.zeros((0, 0))
        vectors = np.asarray(self._encode(texts), np.float64)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise ValueError(f"the encoder gave an array of shape {vectors.shape} for {len(texts)} texts: give [n, d].")
        if not np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2):
            raise ValueError("the encoder gave vectors that are not of length 1: divide each by its norm.")
        return vectors


@functools.lru_cache(maxsize=1 << 16)
def described_sense(sense: Sense) -> str:
    """A sense in words, as a model reads it: its gloss without the headword, then its synonyms."""
    synonyms = (mask_word(name, sense.word, "en" if name.isascii() else sense.language) for name in sense.synonyms)
    return ", ".join([masked_gloss(sense), *synonyms])
