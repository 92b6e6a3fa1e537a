"""Senses of words, and the one interface through which every dictionary gives them."""

import dataclasses
import itertools
import re
from collections.abc import Iterable

from xmjax.lexicon.inflection import base_forms, language_tag, normal

MASK = "_"
"""Stands for a word that is taken out. No letter, so that no measure of similarity reads it."""

SHORTEST = 3
"""Latin letters of a word that counts: shorter ones are nearly all function words, too rare in glosses to tell."""

_CACHED = 1 << 17  # words whose senses a dictionary remembers; some 20 MB

# A run of characters other than spaces and punctuation, apostrophes excepted. Unlike words() it divides at hyphens
# ("bat-like"); \w would divide at the vowel signs of Hindi, which are marks.
_TOKEN = re.compile(
    r"[^\s!-&(-/:-@\[-`{-~\u00a1-\u00bf\u0964\u0965\u2000-\u2018\u201a-\u206f\u3000-\u3004\u3008-\u3020]+"
)
HANGUL = re.compile(r"[\uac00-\ud7a3]")
"""A syllable of Korean, whose particles are written in one with the noun."""

UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
"""A character of a script that is written without spaces."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sense:
    """One meaning of a word.

    Attributes:
      id: stable name of the sense, unique among the senses of a word.
      word: the headword, in the language that was looked up.
      gloss: the definition; never empty. It may contain the headword: see `masked_gloss`.
      language: two-letter tag of the gloss, which need not be that of the headword.
      synonyms: other words for the same meaning, in any language.
      hypernyms: words for what it is a kind of, in any language, the nearest first.
      examples: sentences that use the word.
      records: ids of records whose pictures show the sense, where that is known: what is asked in evaluation.
    """

    id: str
    word: str
    gloss: str
    language: str
    synonyms: tuple[str, ...] = ()
    hypernyms: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    records: tuple[str, ...] = ()


class Dictionary:
    """Base of dictionaries: inflection and cache. A dictionary defines `find` and `glosses`.

    Instances can be pickled, and read from several threads at once.
    """

    def __init__(self) -> None:
        self._cache: dict[tuple[str, str], tuple[Sense, ...]] = {}

    def find(self, form: str, language: str) -> tuple[Sense, ...]:
        """Senses listed under exactly this form.

        Args:
          form: a form in the writing of `inflection.normal`.
          language: two-letter tag.
        """
        raise NotImplementedError

    def glosses(self, count: int) -> list[str]:
        """At most ``count`` glosses, evenly spread over the dictionary and always the same: what words weigh in it."""
        raise NotImplementedError

    def forms(self, word: str, language: str) -> Iterable[str]:
        """Forms to look for in turn, the word itself first."""
        return base_forms(word, language)

    def lookup(self, word: str, language: str) -> tuple[Sense, ...]:
        """Senses of a word in the order of the dictionary.

        Of an English word those of all its forms that are listed, as by WordNet's morphy: "bats" is slang, and several
        bats. Of another language those of the first form that is listed: the whole word, then what particles leave.

        Args:
          word: a word as it stands in a text, with its article or particles: "bats", "a bat", "배가".
          language: its language; regions and scripts are left out of account ("ko-KR").

        Returns:
          The senses; empty where none of the forms is listed in that language.
        """
        key = (word, language)
        found = self._cache.get(key)
        if found is None:
            tag = language_tag(language)
            listed = [senses for form in self.forms(word, tag) if (senses := self.find(form, tag))]
            unique: dict[str, Sense] = {}
            for sense in itertools.chain(*(listed if tag == "en" else listed[:1])):
                unique.setdefault(sense.id, sense)
            found = tuple(unique.values())
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[key] = found
        return found


def masked_gloss(sense: Sense) -> str:
    """The gloss with the headword and its inflected forms replaced by `MASK`: what may enter training text."""
    return mask_word(sense.gloss, sense.word, sense.language)


def mask_word(text: str, word: str, language: str) -> str:
    """Replaces a word and its inflected forms by `MASK`, with the particles written in one with them.

    Longer words that contain it stay ("나룻배"), but in scripts without spaces.

    Args:
      text: any text.
      word: a headword, of one or several words.
      language: two-letter tag of the text, whose inflection counts.
    """
    wanted = normal(word)
    if not wanted:
        return text
    length = len(_TOKEN.findall(wanted))
    if not length or UNSPACED.search(wanted):  # nothing tells where a word ends
        return re.sub(re.escape(wanted), MASK, text, flags=re.IGNORECASE)
    tokens = list(_TOKEN.finditer(text))
    pieces, end, i = [], 0, 0
    while i < len(tokens):
        last = tokens[min(i + length, len(tokens)) - 1]
        phrase = text[tokens[i].start() : last.end()].replace("-", " ").strip("'’")
        if wanted.replace("-", " ") in base_forms(phrase, language):
            pieces += [text[end : tokens[i].start()], MASK]
            end = last.end()
            i += length
        else:
            i += 1
    return "".join(pieces) + text[end:]
