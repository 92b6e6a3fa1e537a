"""The playroom's own dictionary: every noun of its captions, in English and in Korean."""

from xmjax.data.playroom import GLOSSES, LANGUAGES, NAMES
from xmjax.lexicon.senses import Sense
from xmjax.lexicon.tables import Table

_PREFIX = "playroom"


def playroom_dictionary() -> Table:
    """One sense for each kind that a noun can name, homographs with two, in the order of the world's kinds.

    The gloss is in the headword's language and does not contain it. The kind's names in the other languages are the
    synonyms, so that a caption of the same picture in another language points to the sense.
    """
    return Table(
        (language, Sense(f"{_PREFIX}/{language}/{kind}", word, GLOSSES[language][kind], language, _others(kind, word)))
        for language in LANGUAGES
        for kind, word in NAMES[language].items()
    )


def kind_of(sense: Sense) -> str | None:
    """The kind of toy that a sense of the playroom's dictionary means; None for a sense of another dictionary."""
    prefix, _, rest = sense.id.partition("/")
    return rest.partition("/")[2] if prefix == _PREFIX else None


def _others(kind: str, word: str) -> tuple[str, ...]:
    return tuple(NAMES[language][kind] for language in LANGUAGES if NAMES[language][kind] != word)
