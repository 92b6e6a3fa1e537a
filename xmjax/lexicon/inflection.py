"""Base forms of inflected words: what a dictionary may list in the place of a word that a caption uses."""

import functools
import unicodedata
from collections.abc import Iterator

_ANY, _VOWEL, _CONSONANT = "any", "vowel", "consonant"

# Particles (josa), the plural, and forms of the copula, with what they follow: 가 only a vowel, 이 only a consonant.
# Checked against the noun's last sound, so that 사과 (apple) is not taken for 사 with the particle 과.
_PARTICLES: dict[str, str] = {
    **dict.fromkeys(("가", "는", "를", "와", "랑", "야", "여", "나", "라도", "라고", "든지", "란"), _VOWEL),
    **dict.fromkeys(("예요", "였다", "라는"), _VOWEL),
    **dict.fromkeys(("이", "은", "을", "과", "이랑", "아", "이여", "이나", "이라도", "이라고", "이든지"), _CONSONANT),
    **dict.fromkeys(("이란", "으로서", "으로써", "으로부터", "이에요", "이었다", "이라는", "이며"), _CONSONANT),
    **dict.fromkeys(
        ("에", "에서", "에서부터", "에게", "에게서", "한테", "한테서", "께", "께서", "의", "도", "만"), _ANY
    ),
    **dict.fromkeys(("까지", "부터", "마다", "조차", "마저", "밖에", "뿐", "처럼", "같이", "보다", "만큼"), _ANY),
    **dict.fromkeys(("의", "도", "만"), _ANY),
    **dict.fromkeys(("대로", "하고", "들", "인", "이다", "입니다", "이고"), _ANY),
    # After a vowel or ㄹ, and after any other consonant: treated apart in `_fits`.
    **dict.fromkeys(("로", "로서", "로써", "로부터", "으로"), "ro"),
}
_BY_LENGTH = tuple(sorted(_PARTICLES, key=lambda particle: (-len(particle), particle)))
_STACKED = 3  # 아이+들+에게+는: more particles do not follow one another in practice

_ARTICLES = ("a ", "an ", "the ")
_IRREGULAR = {
    "children": "child",
    "feet": "foot",
    "geese": "goose",
    "lice": "louse",
    "men": "man",
    "mice": "mouse",
    "oxen": "ox",
    "people": "person",
    "teeth": "tooth",
    "women": "woman",
}
# (ending, replacement) after the rules of detachment of WordNet's morphy(7WN), nouns before verbs before adjectives;
# added are ves -> fe and the removal of a doubled consonant, which WordNet lists as exceptions.
_DETACHMENT = (
    ("ies", "y"),
    ("ves", "f"),
    ("ves", "fe"),
    ("men", "man"),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("s", ""),
    ("es", "e"),
    ("es", ""),
    ("ied", "y"),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("er", "e"),
    ("est", ""),
    ("est", "e"),
)
_DOUBLING = ("ed", "ing", "er", "est")
_SHORTEST = 2  # letters that detachment must leave: "is" is no plural of "i"


def normal(text: str) -> str:
    """A text as dictionaries are keyed: composed (NFC), casefolded, single spaces, none at the ends."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(text.casefold().split())


@functools.lru_cache(maxsize=1 << 16)
def base_forms(word: str, language: str) -> tuple[str, ...]:
    """What a word may be listed as, the word itself first.

    Args:
      word: a word as it stands in a text, with its article or particles ("a bat", "배가").
      language: two-letter tag; "ko" and "en" have rules, any other language has the word alone.

    Returns:
      Different forms in `normal` writing, in the order in which a dictionary should be asked: the word, then forms
      with more and more taken off. Empty for an empty word. No form is empty.
    """
    surface = normal(word)
    if not surface:
        return ()
    forms = [surface]
    if language == "ko":
        forms += _without_particles(surface, _STACKED)
    elif language == "en":
        surface = surface.replace("’", "'")
        article = next((article for article in _ARTICLES if surface.startswith(article)), "")
        bare = surface[len(article) :]
        owner = bare.removesuffix("'s").removesuffix("'").strip() or bare
        forms += [bare, owner, *_detached(owner)]
    return tuple(dict.fromkeys(forms))


def _without_particles(word: str, depth: int) -> Iterator[str]:
    """The word without one particle, the longest that fits first, then without those that stand before it."""
    if not depth:
        return
    for particle in _BY_LENGTH:
        if len(word) > len(particle) and word.endswith(particle):
            noun = word[: -len(particle)]
            if _fits(noun, particle):
                yield noun
                yield from _without_particles(noun, depth - 1)


def _fits(noun: str, particle: str) -> bool:
    place = ord(noun[-1]) - 0xAC00
    if not 0 <= place < 11172:  # not Hangul, such as "TV가": how it is spoken is not known
        return not noun[-1].isspace()
    final = place % 28  # 0: ends in a vowel; 8: in ㄹ
    after = _PARTICLES[particle]
    if after == "ro":
        return (final in (0, 8)) != (particle == "으로")
    return after == _ANY or (final == 0) == (after == _VOWEL)


def _detached(word: str) -> Iterator[str]:
    """Base forms of an English word or of the last word of a compound."""
    head, space, last = word.rpartition(" ")
    if last in _IRREGULAR:
        yield head + space + _IRREGULAR[last]
    for ending, replacement in _DETACHMENT:
        stem = last.removesuffix(ending)
        if stem == last or len(stem) < _SHORTEST or (ending == "s" and stem.endswith(("s", "u", "i"))):
            continue  # "glass", "bus" and "iris" are no plurals
        if replacement == "" and ending in _DOUBLING and len(stem) > _SHORTEST and stem[-1] == stem[-2]:
            yield head + space + stem[:-1]
        yield head + space + stem + replacement


# Three-letter codes of the Open Multilingual WordNet and of LMF files to the two-letter tags of captions.
_TWO_LETTERS = {
    **{"als": "sq", "arb": "ar", "bul": "bg", "cat": "ca", "ces": "cs", "cmn": "zh", "dan": "da", "deu": "de"},
    **{"ell": "el", "eng": "en", "eus": "eu", "fas": "fa", "fin": "fi", "fra": "fr", "glg": "gl", "heb": "he"},
    **{"hin": "hi", "hrv": "hr", "hun": "hu", "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kor": "ko"},
    **{"lit": "lt", "nld": "nl", "nno": "nn", "nob": "nb", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru"},
    **{"slk": "sk", "slv": "sl", "spa": "es", "swe": "sv", "tha": "th", "tur": "tr", "ukr": "uk", "vie": "vi"},
    **{"zho": "zh", "zsm": "ms"},
}


@functools.lru_cache(maxsize=1 << 10)
def language_tag(language: str) -> str:
    """The language of a tag without its region or script, two letters where there are any: "kor", "ko-KR" -> "ko"."""
    primary = language.replace("_", "-").split("-")[0].strip().lower()
    return _TWO_LETTERS.get(primary, primary)
