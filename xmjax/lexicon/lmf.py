"""Dictionaries in the Global WordNet Association's WN-LMF, read by the library `wn`."""

from collections.abc import Sequence
from typing import Any

from xmjax.errors import UserError
from xmjax.lexicon.inflection import language_tag
from xmjax.lexicon.senses import Sense
from xmjax.lexicon.tables import Table


def read_lmf(*paths: str) -> Table:
    """Reads the lexicons of WN-LMF files (1.0 to 1.4, unpacked XML) into one dictionary.

    A synset without a definition takes that of the first synset with the same interlingual index (ILI) in any of the
    files, so that a lexicon of words alone is read together with one that has glosses. Senses without any definition
    are left out.

    Args:
      paths: files; their order is that of senses, and decides which definition a synset without one takes.

    Raises:
      UserError: `wn` is not installed, or a file is missing or wrong.
    """
    try:
        import wn
        import wn.lmf
    except ImportError:
        raise UserError('reading LMF takes the library wn: pip install -e ".[dictionary]".') from None
    lexicons: list[Any] = []
    for path in paths:
        try:
            lexicons += wn.lmf.load(path, progress_handler=None)["lexicons"]
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}: check the path.") from error
        # wn reports some faults as its own error and stumbles over others.
        except (wn.Error, ValueError, LookupError, TypeError, AttributeError) as error:
            reason = f"{error.__cause__ or error}"
            raise UserError(f"{path} is no WN-LMF file ({reason}): name an unpacked XML file.") from error
    table = Table(_entries(lexicons))
    if not table.headwords():
        raise UserError(f"{', '.join(paths)}: no sense has a definition: add a lexicon that has, joined by ILI.")
    return table


def _entries(lexicons: Sequence[Any]) -> list[tuple[str, Sense]]:
    synsets: dict[str, Any] = {}
    words: dict[str, dict[str, None]] = {}  # synset or ILI -> words
    glosses: dict[str, tuple[str, str]] = {}  # synset or ILI -> (gloss, its language)
    for lexicon in lexicons:
        for synset in lexicon.get("synsets", ()):
            if synset.get("external"):
                continue
            synsets[synset["id"]] = synset
            text = next((item["text"].strip() for item in synset.get("definitions", ()) if item["text"].strip()), "")
            for name in _names(synset) if text else ():
                glosses.setdefault(name, (text, language_tag(lexicon["language"])))
        for entry, sense in _senses(lexicon):
            for name in _names(synsets.get(sense["synset"], {"id": sense["synset"]})):
                words.setdefault(name, {})[entry["lemma"]["writtenForm"]] = None

    def named(synset: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(word for name in _names(synset) for word in words.get(name, ())))

    found = []
    for lexicon in lexicons:
        for entry, sense in _senses(lexicon):
            synset = synsets.get(sense["synset"])
            gloss = next((glosses[name] for name in _names(synset) if name in glosses), None) if synset else None
            if synset is None or gloss is None:
                continue
            word = entry["lemma"]["writtenForm"]
            above = [
                synsets.get(link["target"]) for link in synset.get("relations", ()) if link["relType"] == "hypernym"
            ]
            hypernyms = tuple(dict.fromkeys(name for other in above if other for name in named(other)))
            examples = tuple(item["text"] for item in (*sense.get("examples", ()), *synset.get("examples", ())))
            synonyms = tuple(name for name in named(synset) if name != word)
            found.append((lexicon["language"], Sense(sense["id"], word, *gloss, synonyms, hypernyms, examples)))
    return found


def _senses(lexicon: Any) -> list[tuple[Any, Any]]:
    """(entry, sense); entries that only extend those of another lexicon have no word of their own."""
    return [
        (entry, sense)
        for entry in lexicon.get("entries", ())
        if not entry.get("external") and entry.get("lemma")
        for sense in entry.get("senses", ())
        if not sense.get("external")
    ]


def _names(synset: Any) -> list[str]:
    """What identifies a synset; "in" marks a proposed ILI, which is no identity."""
    ili = synset.get("ili") or ""
    return [synset["id"], *([f"ili:{ili}"] if ili not in ("", "in") else [])]
