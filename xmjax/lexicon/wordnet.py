"""WordNet's database files, joined with tab files of the Open Multilingual WordNet.

The format is that of wndb(5WN) and wninput(5WN). nltk's reader of these files is not used: it asks for `lexnames`,
which Debian's wordnet-base does not have, it refuses directories outside its own data path, and to import it
takes almost two seconds. Glosses are English.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from xmjax.errors import UserError
from xmjax.lexicon.inflection import base_forms, language_tag, normal
from xmjax.lexicon.senses import Dictionary, Sense
from xmjax.lexicon.tables import read_lines, spread

INSTALLED = "/usr/share/wordnet"
"""Where Debian's and Ubuntu's package wordnet-base puts the files."""

_PARTS = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}  # in the order in which senses of a word are given
# In the files of Debian's wordnet-base 1:3.0-37 many verbs and adjectives stand 18 bytes or 1 byte behind where tab
# files say. Lines of verbs and adjectives have 59 bytes at least, so the nearest one is the one that is meant.
_DRIFT = 24
_DEPTH = 3  # hypernyms further up ("artifact", "entity") say little
_HYPERNYMS = ("@", "@i")
_QUOTED = re.compile(r';?\s*"([^"]*)"?\s*')
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # of adjectives: where they may stand
_SYNSET = re.compile(r"(\d{8})-([nvars])")

_Key = tuple[str, int]  # part of speech, offset of its line in the data file


class WordNet(Dictionary):
    """English WordNet, and the words of other languages that tab files attach to its synsets.

    English senses come in WordNet's order (nouns first, in each the most frequent first), those of other languages in
    the order of the tab files. Synonyms are the synset's words in all languages that were read; hypernyms likewise,
    three levels up. A sense's id is offset and part of speech as in the tab files: "07767847-n", by the offsets of
    these files.

    Args:
      root: directory with data.noun, index.noun and, where they exist, the files of verbs, adjectives and adverbs and
        the lists of exceptions (noun.exc, ...).
      tabs: tab files, plain or ".gz", with lines such as "07767847-n<TAB>kor:lemma<TAB>배". Lines of another type
        than lemma are left out.

    Raises:
      UserError: files are missing or wrong, or a tab file names a synset that this WordNet does not have.
    """

    def __init__(self, root: str = INSTALLED, tabs: Sequence[str] = ()):
        super().__init__()
        self._root = root
        parts = [part for part, name in _PARTS.items() if os.path.isfile(os.path.join(root, f"data.{name}"))]
        if "n" not in parts:
            raise UserError(
                f"{root} has no data.noun: install the package wordnet-base, or name a directory with WordNet's "
                "database files."
            )
        self._data = {part: _read(root, f"data.{_PARTS[part]}") for part in parts}
        self._index = {part: _index(root, _PARTS[part]) for part in parts}
        self._exceptions = _exceptions(root, parts)
        self._synsets: dict[tuple[str, str], list[_Key]] = {}  # (language, word) -> synsets
        self._words: dict[_Key, dict[str, None]] = {}  # synset -> words of other languages, in order
        for path in tabs:
            self._join(path)

    def forms(self, word: str, language: str) -> tuple[str, ...]:
        forms = base_forms(word, language)
        if language != "en":
            return forms
        irregular = [base for form in forms for base in self._exceptions.get(form, ())]
        return tuple(dict.fromkeys((*forms[:2], *irregular, *forms[2:])))

    def find(self, form: str, language: str) -> tuple[Sense, ...]:
        keys = self._english(form) if language == "en" else self._synsets.get((language, form), ())
        return tuple(self._sense(key, form) for key in keys)

    def glosses(self, count: int) -> list[str]:
        lines = [line for data in self._data.values() for line in data.split(b"\n") if line[:1].isdigit()]
        return [_gloss(line.decode().partition("| ")[2])[0] for line in spread(lines, count)]

    def _english(self, form: str) -> Iterator[_Key]:
        lemma = form.replace(" ", "_").encode()
        for part, index in self._index.items():
            line = index.get(lemma)
            if line is None:
                continue
            cells = line.split()
            try:
                count = int(cells[2])
                for offset in cells[-count:]:
                    yield part, int(offset)
            except (ValueError, IndexError) as error:
                place = os.path.join(self._root, f"index.{_PARTS[part]}")
                raise UserError(f"{place}: the line of {form!r} is wrong: unpack the files again.") from error

    def _sense(self, key: _Key, word: str) -> Sense:
        words, hypernyms, text = self._synset(key)
        above: dict[str, None] = {}
        level = hypernyms
        for _ in range(_DEPTH):
            below, level = level, []
            for other in below:
                names, further, _ = self._synset(other)
                above.update(dict.fromkeys(names))
                level += further
        gloss, examples = _gloss(text)
        synonyms = tuple(name for name in words if normal(name) != word)
        return Sense(f"{key[1]:08d}-{key[0]}", word, gloss, "en", synonyms, tuple(above), examples)

    def _synset(self, key: _Key) -> tuple[list[str], list[_Key], str]:
        """Its words in all languages, its direct hypernyms, and its gloss with examples."""
        part, offset = key
        try:
            data = self._data[part]
            if not _begins(data, offset):
                raise ValueError("no synset begins there")
            head, _, text = data[offset : data.index(b"\n", offset)].decode().partition("| ")
            cells = head.split()
            last = 4 + 2 * int(cells[3], 16)  # two cells a word, four a pointer
            words = [_MARKER.sub("", cell).replace("_", " ") for cell in cells[4:last:2]]
            count = int(cells[last])
            pointers = [cells[last + 1 + 4 * i : last + 5 + 4 * i] for i in range(count)]
            hypernyms = [
                ("a" if cell[2] == "s" else cell[2], int(cell[1])) for cell in pointers if cell[0] in _HYPERNYMS
            ]
        except (KeyError, ValueError, IndexError) as error:
            place = os.path.join(self._root, f"data.{_PARTS[part]}")
            raise UserError(
                f"{place}, byte {offset}: the synset cannot be read ({error}): "
                "unpack the files again, all of one version of WordNet."
            ) from error
        return [*words, *self._words.get(key, ())], hypernyms, text

    def _nearest(self, key: _Key) -> _Key | None:
        """The synset that a tab file means by an offset."""
        part, offset = key
        data = self._data.get(part, b"")
        for drift in range(_DRIFT + 1):
            for place in (offset + drift, offset - drift):
                if _begins(data, place):
                    return part, place
        return None

    def _join(self, path: str) -> None:
        found = False
        for number, line in read_lines(path):
            if line.startswith("#"):
                continue
            place = f"{path}, line {number}"
            cells = line.split("\t")
            synset = _SYNSET.fullmatch(cells[0])
            if len(cells) < 3 or not synset or not cells[2].strip():
                raise UserError(f"{place}: not a line such as '07767847-n<TAB>kor:lemma<TAB>배': mend or remove it.")
            language, _, kind = cells[1].rpartition(":")
            if kind != "lemma" or not language:
                continue
            key = self._nearest(_key(synset[2], synset[1]))
            if key is None:
                raise UserError(
                    f"{place}: {self._root} has no synset {cells[0]}: use a tab file of the same version of WordNet."
                )
            word = cells[2].strip().replace("_", " ")
            keys = self._synsets.setdefault((language_tag(language), normal(word)), [])
            if key not in keys:
                keys.append(key)
            self._words.setdefault(key, {})[word] = None
            found = True
        if not found:
            raise UserError(f"{path} has no lemmas: name a tab file of the Open Multilingual WordNet.")


def _key(part: str, offset: str) -> _Key:
    return "a" if part == "s" else part, int(offset)  # satellites of adjectives stand among adjectives


def _begins(data: bytes, offset: int) -> bool:
    return offset >= 0 and data.startswith(b"%08d " % offset, offset)


def _read(root: str, name: str) -> bytes:
    path = os.path.join(root, name)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}: unpack WordNet's files again.") from error


def _index(root: str, name: str) -> dict[bytes, bytes]:
    """Lemma -> its line; lines of the licence begin with a space."""
    lines = _read(root, f"index.{name}").split(b"\n")
    return {line[: line.find(b" ")]: line for line in lines if line and line[:1] != b" "}


def _exceptions(root: str, parts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Irregular form -> its base forms."""
    found: dict[str, tuple[str, ...]] = {}
    for part in parts:
        if os.path.isfile(os.path.join(root, f"{_PARTS[part]}.exc")):
            for line in _read(root, f"{_PARTS[part]}.exc").decode(errors="replace").splitlines():
                cells = [cell.replace("_", " ") for cell in line.split()]
                if cells:
                    found[cells[0]] = (*found.get(cells[0], ()), *cells[1:])
    return found


def _gloss(text: str) -> tuple[str, tuple[str, ...]]:
    """The definition, and the examples quoted behind it."""
    text = text.strip()
    examples = tuple(example.strip() for example in _QUOTED.findall(text) if example.strip())
    definition = _QUOTED.split(text)[0].strip(" ;")
    return definition or text.strip('" ;'), examples
