"""Tests of the readers: tables, WordNet with tab files, LMF."""

import gzip
import json
import pickle
import sys
from pathlib import Path

import pytest

from xmjax.errors import UserError
from xmjax.lexicon import Dictionary, WordNet, open_dictionary, read_lmf, read_table

ROWS = [
    {"word": "배", "language": "ko", "gloss": "a sweet fruit", "gloss_language": "en", "synonyms": ["pear", "서양배"]},
    {"word": "배", "language": "ko", "gloss": "물 위를 다니는 탈것", "id": "boat", "hypernyms": ["탈것"]},
    {"word": "Bat", "language": "en", "gloss": "a flying mammal", "examples": ["a bat | a cave"]},
]
TSV = (
    "gloss\tword\tlanguage\tgloss_language\tid\tsynonyms\n"
    "a sweet fruit\t배\tko\ten\t\tpear | 서양배\n"
    "\n"
    "물 위를 다니는 탈것\t배\tko\t\tboat\t\r\n"
    "a flying mammal\tBat\ten\t\t\t\n"
)


def error(path: Path, data: str | bytes = b"") -> str:
    """The message with which a file is refused, which is one line that begins with the file's path."""
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(UserError) as caught:
        open_dictionary(str(path))
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message[len(str(path)) :]


@pytest.mark.parametrize("name", ["d.tsv", "d.json", "d.jsonl", "d.tsv.gz", "d.json.gz", "d.jsonl.gz"])
def test_tables(name, tmp_path):
    text = {"tsv": TSV, "json": json.dumps(ROWS), "jsonl": "\n\n".join(json.dumps(row) for row in ROWS)}
    data = text[name.split(".")[1]].encode("utf-8-sig" if name == "d.tsv" else "utf-8")
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    table = read_table(str(tmp_path / name))
    pear, boat = table.lookup("배에서", "ko-KR")
    assert (pear.id, pear.gloss, pear.language, pear.synonyms) == ("ko:배:1", "a sweet fruit", "en", ("pear", "서양배"))
    assert (boat.id, boat.word, boat.language) == ("boat", "배", "ko")
    (bat,) = table.lookup("bats", "en")
    assert bat.word == "Bat"
    if "tsv" not in name:
        assert boat.hypernyms == ("탈것",) and bat.examples == ("a bat | a cave",)
    assert table.headwords() == [("배", "ko"), ("Bat", "en")]
    assert table.glosses(2) == ["a sweet fruit", "물 위를 다니는 탈것"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("d.tsv", "", " has no entries"),
        ("d.tsv", "word\tlanguage\tgloss\n", " has no entries"),
        ("d.tsv", "word\tgloss\nbat\tanimal\n", ", line 1: no column 'language'"),
        ("d.tsv", "word\tlanguage\tgloss\tword\n", ", line 1: a column twice"),
        ("d.tsv", "word\tlanguage\tgloss\n\nbat\ten\n", ", line 3: 2 cells where 3 columns"),
        ("d.tsv", "word\tlanguage\tgloss\nbat\ten\t \n", ", line 2: 'gloss' is empty"),
        ("d.tsv", b"word\tlanguage\tgloss\nbat\ten\t\xff\n", ", line 2: not UTF-8"),
        ("d.tsv", "word\tlanguage\tgloss\tid\nb\ten\tx\t1\nc\ten\tx\t1\n", ", line 3: the id '1' stands already in"),
        ("d.json", "", ", line 1: not JSON"),
        ("d.json", "[\n{]", ", line 2: not JSON"),
        ("d.json", "{}", ", line 1: not a JSON list"),
        ("d.json", "[1]", ", entry 1: not an object"),
        ("d.json", '[{"word": 3, "language": "en", "gloss": "x"}]', ", entry 1: 'word' is int"),
        ("d.jsonl", '{"word": "b", "language": "en", "gloss": "x"}\n{', ", line 2: not JSON"),
        ("d.jsonl", "[]\n", ", line 1: not a JSON object"),
        ("d.jsonl", "[" * 100_000, ", line 1: not JSON"),
        ("d.jsonl", '{"word": "b", "language": "en"}', ", line 1: 'gloss' is empty"),
        ("d.jsonl", '{"word": "b", "language": "en", "gloss": ["x"]}', ", line 1: 'gloss' is list"),
        (
            "d.jsonl",
            '{"word": "b", "language": "en", "gloss": "x", "synonyms": "y"}',
            ", line 1: 'synonyms' is no list",
        ),
        ("d.tsv.gz", b"no gzip", " cannot be read"),
        ("d.tsv.gz", gzip.compress(b"word\tlanguage\tgloss\nb\ten\tx", mtime=0)[:-9], " cannot be read"),
        ("d.txt", "", " is no dictionary table"),
        ("d.xml", "", " is no WN-LMF file"),
        ("d.xml", "<a>", " is no WN-LMF file"),
    ],
)
def test_broken_files(name, data, message, tmp_path):
    if name.endswith(".xml"):
        pytest.importorskip("wn", reason="the extra 'dictionary' is not installed")
    assert error(tmp_path / name, data).startswith(message)


@pytest.mark.parametrize("name", ["none", "none.tsv", "none.jsonl.gz", "none.xml"])
def test_missing_files(name, tmp_path):
    with pytest.raises(UserError, match=f"{name} cannot be read: No such file"):
        open_dictionary(str(tmp_path / name))


def test_dictionaries_by_name(tmp_path):
    assert open_dictionary("playroom").lookup("bat", "en")
    with pytest.raises(UserError, match="takes no tab files"):
        open_dictionary("playroom", ["a.tab"])
    with pytest.raises(UserError, match=r"has no data.noun: install the package wordnet-base"):
        open_dictionary(str(tmp_path))


def write_wordnet(root: Path, gloss: str = "a mammal that flies") -> dict[str, int]:
    """Writes WordNet files of four nouns and one verb; returns the offset of each."""
    licence = "  1 This is the licence.  \n"
    lines = {
        "animal": "03 n 02 animal 0 beast 0 000 | a living organism that moves",
        "bat": '05 n 02 bat 0 chiropteran 0 001 @ {animal} n 0000 | {gloss}; it has wings; "bats sleep"; "a bat flew"',
        "club": "06 n 01 bat 0 000 | a club for hitting a ball",
        "foot": "08 n 01 foot 0 000 | what one walks on",
    }
    offsets: dict[str, int] = {}
    text = licence
    for name, line in lines.items():
        offsets[name] = len(text)
        padded = {key: f"{offset:08d}" for key, offset in offsets.items()}
        text += f"{len(text):08d} {line.format(gloss=gloss, **padded)}  \n"
    (root / "data.noun").write_text(text)
    offsets["hit"] = len(licence)
    (root / "data.verb").write_text(f"{licence}{len(licence):08d} 35 v 02 bat 0 whack(a) 0 000 01 + 08 00 | strike\n")
    index = [
        f"animal n 1 1 ~ 1 0 {offsets['animal']:08d}",
        f"bat n 2 1 @ 2 0 {offsets['bat']:08d} {offsets['club']:08d}",
        f"foot n 1 0 1 0 {offsets['foot']:08d}",
    ]
    (root / "index.noun").write_text(licence + "".join(f"{line}  \n" for line in index))
    (root / "index.verb").write_text(f"{licence}bat v 1 0 1 0 {offsets['hit']:08d}  \n")
    (root / "noun.exc").write_text("feet foot\nfeet_of_clay foot\n")
    return offsets


def write_tab(path: Path, rows: list[tuple[int, str, str]], kind: str = "lemma") -> str:
    lines = [f"{offset:08d}-{part}\tkor:{kind}\t{word}\n" for offset, part, word in rows]
    path.write_text("# a name\tkor\ta url\ta licence\n" + "".join(lines) + "\n")
    return str(path)


def test_wordnet(tmp_path):
    offsets = write_wordnet(tmp_path)
    rows = [(offsets["club"], "n", "방망이"), (offsets["bat"], "n", "박쥐"), (offsets["animal"], "n", "동물")]
    dictionary = WordNet(
        str(tmp_path), [write_tab(tmp_path / "ko.tab", [*rows, rows[0], (offsets["bat"], "n", "방망이")])]
    )
    mammal, club, hit = dictionary.lookup("the Bats", "en")
    assert mammal.id == f"{offsets['bat']:08d}-n" and mammal.word == "bat" and mammal.language == "en"
    assert mammal.gloss == "a mammal that flies; it has wings" and mammal.examples == ("bats sleep", "a bat flew")
    assert mammal.synonyms == ("chiropteran", "박쥐", "방망이") and mammal.hypernyms == ("animal", "beast", "동물")
    assert (club.synonyms, hit.synonyms, hit.gloss) == (("방망이",), ("whack",), "strike")
    assert [sense.id for sense in dictionary.lookup("방망이를", "ko")] == [club.id, mammal.id]
    assert dictionary.lookup("박쥐", "ko")[0].synonyms == ("bat", "chiropteran", "방망이")
    assert dictionary.lookup("feet", "en")[0].word == "foot"
    assert dictionary.lookup("방망이", "en") == dictionary.lookup("bat", "ko") == dictionary.lookup("zebra", "en") == ()
    assert dictionary.glosses(3) == [
        "a living organism that moves",
        "a mammal that flies; it has wings",
        "what one walks on",
    ]
    assert pickle.loads(pickle.dumps(dictionary)).lookup("박쥐", "ko") == dictionary.lookup("박쥐", "ko")


def test_tab_files_of_a_wordnet_with_other_glosses(tmp_path):
    """Synsets of Debian's files stand some bytes further on; what a tab file means is the nearest one."""
    rows = [(offset, "n", name) for name, offset in write_wordnet(tmp_path).items() if name != "hit"]
    tab = write_tab(tmp_path / "ko.tab", rows)
    offsets = write_wordnet(tmp_path, "a mammal that flies about")
    dictionary = WordNet(str(tmp_path), [tab])
    for name in ("animal", "bat", "club", "foot"):
        assert [sense.id for sense in dictionary.lookup(name, "ko")] == [f"{offsets[name]:08d}-n"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("00000100-n\tkor:lemma\n", "line 1: not a line such as"),
        ("100-n\tkor:lemma\tx\n", "line 1: not a line such as"),
        ("# head\n09999999-n\tkor:lemma\tx\n", "line 2: .* has no synset 09999999-n"),
        ("09999999-r\tkor:lemma\tx\n", "line 1: .* has no synset 09999999-r"),
        ("00000026-n\tkor:def\t0\tx\n", "has no lemmas"),
        ("", "has no lemmas"),
    ],
)
def test_broken_tab_files(line, message, tmp_path):
    write_wordnet(tmp_path)
    (tmp_path / "ko.tab").write_text(line)
    with pytest.raises(UserError, match=message):
        WordNet(str(tmp_path), [str(tmp_path / "ko.tab")])


def test_broken_wordnet_files(tmp_path):
    write_wordnet(tmp_path)
    index, data = (tmp_path / "index.noun").read_text(), (tmp_path / "data.noun").read_bytes()
    (tmp_path / "index.noun").write_text(index.replace("bat n 2", "bat n x"))
    with pytest.raises(UserError, match="the line of 'bat' is wrong"):
        WordNet(str(tmp_path)).lookup("bat", "en")
    (tmp_path / "index.noun").write_text(index)
    for broken in (data[:-200], data.replace(b"05 n 02 bat", b"05 n zz bat"), b"x" + data):
        (tmp_path / "data.noun").write_bytes(broken)
        with pytest.raises(UserError, match=r"data.noun, byte \d+: the synset cannot be read"):
            for word in ("bat", "foot"):
                WordNet(str(tmp_path)).lookup(word, "en")
    (tmp_path / "index.noun").unlink()
    with pytest.raises(UserError, match=r"index.noun cannot be read"):
        WordNet(str(tmp_path))


LMF = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
  <Lexicon id="{id}" label="x" language="{language}" email="x@example.com" license="MIT" version="1">
    <LexicalEntry id="{id}-e">
      <Lemma partOfSpeech="n" writtenForm="{word}"/>
      <Sense id="{id}-s" synset="{id}-1"/>
    </LexicalEntry>
    <Synset id="{id}-1" ili="i1" partOfSpeech="n">{definition}</Synset>
  </Lexicon>
</LexicalResource>
"""


def test_lmf_joins_words_and_definitions_by_ili(tmp_path):
    pytest.importorskip("wn", reason="the extra 'dictionary' is not installed")
    english, korean = str(tmp_path / "en.xml"), str(tmp_path / "ko.xml")
    definition = "<Definition>a sweet fruit</Definition>"
    Path(english).write_text(LMF.format(id="en", language="en", word="pear", definition=definition))
    Path(korean).write_text(LMF.format(id="ko", language="ko", word="배", definition=""))
    dictionary = read_lmf(english, korean)
    (sense,) = dictionary.lookup("배가", "ko")
    assert (sense.id, sense.gloss, sense.language, sense.synonyms) == ("ko-s", "a sweet fruit", "en", ("pear",))
    assert dictionary.lookup("pears", "en")[0].synonyms == ("배",)
    with pytest.raises(UserError, match="no sense has a definition"):
        read_lmf(korean)


def test_lmf_without_its_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wn", None)
    with pytest.raises(UserError, match=r'pip install -e "\.\[dictionary\]"'):
        read_lmf(str(tmp_path / "x.xml"))


def test_a_dictionary_of_ones_own():
    class Own(Dictionary):
        asked: list[str]

        def find(self, form, language):
            self.asked.append(form)
            return ()

    own = Own()
    own.asked = []
    assert own.lookup("a bat", "en") == () == own.lookup("a bat", "en")
    assert own.asked == ["a bat", "bat"]  # words that are not there are remembered too
