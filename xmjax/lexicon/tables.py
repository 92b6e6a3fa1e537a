"""Dictionaries in plain tables: TSV, JSON and JSON lines.

Columns, or keys of the objects:

    word            the headword; required
    language        its language, such as "ko"; required
    gloss           one definition; required
    gloss_language  language of the gloss; the headword's where absent or empty
    id              name of the sense, unique; "language:word:n" for the n-th sense of a word where absent or empty
    synonyms, hypernyms, examples   lists: of strings in JSON, divided by "|" in TSV
    records         list: ids of records whose pictures show the sense

A TSV file begins with a line of column names, in any order; cells are not quoted. A JSON file is a list of objects,
a JSON lines file has one object a line. Names that end in ".gz" are unpacked. Senses of a word keep their order.
"""

import dataclasses
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from xmjax.errors import UserError
from xmjax.lexicon.inflection import language_tag, normal
from xmjax.lexicon.senses import Dictionary, Sense

_REQUIRED = ("word", "language", "gloss")
_LISTS = ("synonyms", "hypernyms", "examples", "records")
_COLUMNS = (*_REQUIRED, "gloss_language", "id", *_LISTS)
_EXAMPLE = '{"word": "bat", "language": "en", "gloss": "a flying mammal"}'


class Table(Dictionary):
    """A dictionary held in memory.

    Args:
      entries: (language of the headword, sense) in the order of the dictionary.
    """

    def __init__(self, entries: Iterable[tuple[str, Sense]]):
        super().__init__()
        senses: dict[tuple[str, str], list[Sense]] = {}
        for language, sense in entries:
            senses.setdefault((language_tag(language), normal(sense.word)), []).append(sense)
        self._senses = {key: tuple(found) for key, found in senses.items()}

    def find(self, form: str, language: str) -> tuple[Sense, ...]:
        return self._senses.get((language, form), ())

    def glosses(self, count: int) -> list[str]:
        return spread(list(dict.fromkeys(sense.gloss for found in self._senses.values() for sense in found)), count)

    def entries(self) -> list[tuple[str, Sense]]:
        """(language of the headword, sense) of all entries, in the order of the dictionary."""
        return [(language, sense) for (language, _), found in self._senses.items() for sense in found]

    def headwords(self) -> list[tuple[str, str]]:
        """(headword, language) of all entries, in the order of the dictionary."""
        return [(found[0].word, language) for (language, _), found in self._senses.items()]


def with_wrong(table: Table, share: float, seed: int = 0) -> Table:
    """The table with another entry's meaning under a share of its entries: what a bad dictionary is, for ablations.

    Gloss, synonyms and hypernyms are those of another entry of the language; word and id stay.

    Args:
      table: the right one.
      share: from 0 to 1, rounded to entries.
      seed: which entries, and whose meaning they get.
    """
    entries = table.entries()
    rng = np.random.default_rng(seed)
    wrong = set(rng.permutation(len(entries))[: round(share * len(entries))].tolist())
    found = []
    for i, (language, sense) in enumerate(entries):
        others = [other for tag, other in entries if tag == language and other.gloss != sense.gloss]
        if i in wrong and others:
            other = others[int(rng.integers(len(others)))]
            sense = dataclasses.replace(sense, gloss=other.gloss, synonyms=other.synonyms, hypernyms=other.hypernyms)
        found.append((language, sense))
    return Table(found)


def spread(items: list[Any], count: int) -> list[Any]:
    """At most ``count`` items, evenly spaced, the first among them."""
    return items if len(items) <= count else [items[i * len(items) // count] for i in range(count)]


def read_table(path: str) -> Table:
    """Reads a dictionary from ".tsv", ".json" or ".jsonl", each also with ".gz" behind.

    Raises:
      UserError: the file cannot be read, or a line is wrong; names file and line.
    """
    name = path.removesuffix(".gz")
    if name.endswith(".tsv"):
        rows = _tsv_rows(path)
    elif name.endswith(".jsonl"):
        rows = ((f"{path}, line {number}", _object(path, number, line)) for number, line in read_lines(path))
    elif name.endswith(".json"):
        rows = _json_rows(path)
    else:
        raise UserError(f"{path} is no dictionary table: name it .tsv, .json or .jsonl after what is in it.")
    table = Table(_entries(rows))
    if not table.headwords():
        raise UserError(f"{path} has no entries: write some, such as {_EXAMPLE}.")
    return table


def read_text(path: str) -> str:
    """The text of a file, unpacked where its name ends in ".gz"; UserError where it cannot be read."""
    try:
        data = Path(path).read_bytes()
        if path.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"{path} cannot be read: {reason}: check the path, or unpack the file again.") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {number}: not UTF-8: save the file in this encoding.") from error


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """(line number, line) of each line that is not blank."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


_Row = tuple[str, dict[str, Any]]  # where it stands, its columns


def _tsv_rows(path: str) -> Iterator[_Row]:
    columns: list[str] = []
    for number, line in read_lines(path):
        cells = [cell.strip() for cell in line.split("\t")]
        if not columns:
            missing = [name for name in _REQUIRED if name not in cells]
            if missing or len(set(cells)) < len(cells):
                problem = f"no column {missing[0]!r}" if missing else "a column twice"
                raise UserError(f"{path}, line {number}: {problem}: begin with column names, of {', '.join(_COLUMNS)}.")
            columns = cells
            continue
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {number}: {len(cells)} cells where {len(columns)} columns are named: "
                "put one tab between cells and none in them."
            )
        row: dict[str, Any] = dict(zip(columns, cells, strict=True))
        for name in _LISTS:
            row[name] = [part.strip() for part in row.get(name, "").split("|") if part.strip()]
        yield f"{path}, line {number}", row


def _json_rows(path: str) -> Iterator[_Row]:
    text = read_text(path)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {getattr(error, 'lineno', 1)}: not JSON ({error}): mend the file.") from error
    if not isinstance(values, list):
        raise UserError(f"{path}, line 1: not a JSON list: write a list of objects such as {_EXAMPLE}.")
    for number, value in enumerate(values, 1):
        place = f"{path}, entry {number}"
        if not isinstance(value, dict):
            raise UserError(f"{place}: not an object: write objects such as {_EXAMPLE}.")
        yield place, value


def _object(path: str, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}, line {number}: not JSON ({error}): mend or remove the line.") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}, line {number}: not a JSON object: write lines such as {_EXAMPLE}.")
    return value


def _entries(rows: Iterable[_Row]) -> Iterator[tuple[str, Sense]]:
    counts: dict[tuple[str, str], int] = {}
    places: dict[str, str] = {}
    for place, row in rows:
        cells = {}
        for name in ("word", "language", "gloss", "gloss_language", "id"):
            value = row.get(name)
            if value is None:
                value = ""
            if not isinstance(value, str) or (name in _REQUIRED and not value.strip()):
                state = "is empty" if value in ("", None) or isinstance(value, str) else f"is {type(value).__name__}"
                raise UserError(f"{place}: {name!r} {state} where text is expected: set it or remove the entry.")
            cells[name] = value.strip()
        lists = {}
        for name in _LISTS:
            value = row.get(name)
            value = [] if value is None else value
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise UserError(f"{place}: {name!r} is no list of strings: write one, or leave it out.")
            lists[name] = tuple(item for item in value if item.strip())
        language = language_tag(cells["language"])
        key = (language, normal(cells["word"]))
        counts[key] = counts.get(key, 0) + 1
        id = cells["id"] or f"{language}:{cells['word']}:{counts[key]}"
        if id in places:
            raise UserError(f"{place}: the id {id!r} stands already in {places[id]}: give each sense its own.")
        places[id] = place
        gloss_language = language_tag(cells["gloss_language"]) or language
        yield language, Sense(id, cells["word"], cells["gloss"], gloss_language, **lists)
