"""Tests on WordNet, its links to Korean, and words that are ambiguous in earnest."""

import json
import tarfile
import time
from pathlib import Path

import pytest

from xmjax.data.source import Caption, Word
from xmjax.lexicon import Symbolic, WordNet, ask, base_forms, choose, make_report, masked_gloss, read_lmf
from xmjax.lexicon.tables import read_lines

DATA = Path(__file__).parents[2].parent / "shared" / "data"
DICTIONARY = DATA / "dictionary"
THRESHOLDS = (0.0, 0.02, 0.05, 0.1, 0.2)

pytestmark = pytest.mark.skipif(not DICTIONARY.is_dir(), reason=f"the real data are not at {DICTIONARY}")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("wordnet")
    with tarfile.open(DICTIONARY / "wordnet-3.0-dict.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return str(next(folder.rglob("data.noun")).parent)


@pytest.fixture(scope="module")
def korean(root) -> WordNet:
    return WordNet(root, [str(DICTIONARY / "omw" / f"wn-{name}-kor.tab.gz") for name in ("wikt", "cldr")])


def ambiguous() -> list[tuple[str, str]]:
    found = json.loads((DATA / "emoji" / "ambiguous_words.json").read_text())
    return [(word, language) for language, words in found.items() for word in words]


def test_the_five_senses_of_a_korean_word(korean):
    for word in ("배", "배가", "배를", "배는", "배에서", "배와"):
        senses = korean.lookup(word, "ko")
        assert [sense.id for sense in senses] == [
            "02858304-n",
            "04194289-n",
            "04530566-n",
            "05556943-n",
            "07767847-n",
        ]
        assert [sense.synonyms[0] for sense in senses] == ["boat", "ship", "vessel", "abdomen", "pear"]
        assert {(sense.word, sense.language) for sense in senses} == {("배", "en")}
    assert senses[4].gloss == "sweet juicy gritty-textured fruit available in many varieties"
    assert "edible fruit" in senses[4].hypernyms


def test_captions_decide_on_the_sense(korean):
    scorer = Symbolic(korean.glosses(20_000))
    caption = Caption("아이가 배를 들고 있다", "ko")
    for other, expected in (
        ("a child holds a juicy fruit", "pear"),
        ("a child holds a green pear", "pear"),
        ("a child with a toy ship", "ship"),
        ("hands on the belly", "abdomen"),
    ):
        query = ask(korean, caption, Word(10, 16), [Caption(other, "en")])
        (choice,) = choose([query], scorer, 0.02)
        assert choice.sense is not None and choice.sense.synonyms[0] == expected
    (choice,) = choose([ask(korean, caption, Word(10, 16), [Caption("하늘이 높다", "ko")])], scorer, 0.02)
    assert choice.sense is None and choice.score < 0.02


def test_every_tab_file_joins(root):
    for path in sorted((DICTIONARY / "omw").glob("*.tab.gz")):
        dictionary = WordNet(root, [str(path)])
        language = path.name.removesuffix(".tab.gz").rpartition("-")[2]
        rows = [line.split("\t") for _, line in read_lines(str(path)) if not line.startswith("#")]
        for synset, _, word in rows[:: max(1, len(rows) // 200)]:
            senses = dictionary.lookup(word, language)
            if synset[-1] in "nr":  # offsets of verbs and adjectives differ in Debian's files
                assert synset in [sense.id for sense in senses]
            assert senses


def test_verbs_join_where_debian_moved_them(korean):
    assert "remember" in {name for sense in korean.lookup("기억하다", "ko") for name in (*sense.synonyms, sense.gloss)}


def test_no_gloss_has_its_headword(korean):
    checked = 0
    for word, language in [*ambiguous(), ("dog", "en"), ("run", "en"), ("fish", "en")]:
        for sense in korean.lookup(word, language):
            gloss = masked_gloss(sense)
            for token in gloss.replace("-", " ").split():
                assert sense.word not in base_forms(token.strip(".,;:()`'\""), sense.language)
            checked += 1
    assert checked > 150


def test_report_on_ambiguous_words(korean):
    queries = [
        ask(korean, Caption(word, language), Word(0, len(word.encode())), [Caption("a picture", "en")])
        for word, language in ambiguous()
    ]
    report = make_report(queries, Symbolic(korean.glosses(20_000)), THRESHOLDS)
    print(f"\n{report.markdown()}")
    english, hangul = report.coverage
    assert (english.language, hangul.language) == ("en", "ko")
    assert english.found == english.words and hangul.found >= 0.5 * hangul.words


def test_a_warm_lookup_is_faster_than_a_cold_one(root):
    dictionary = WordNet(root)
    words = [word for word, language in ambiguous() if language == "en"]

    def measure() -> float:
        start = time.perf_counter()
        for word in words:
            dictionary.lookup(word, "en")
        return (time.perf_counter() - start) / len(words)

    cold, warm = measure(), min(measure() for _ in range(5))
    print(f"\ncold {cold * 1e6:.1f} us a word, warm {warm * 1e6:.2f} us")
    assert cold > 20 * warm


def test_lmf():
    pytest.importorskip("wn", reason="the extra 'dictionary' is not installed")
    folder = DICTIONARY / "lmf-mini"
    dictionary = read_lmf(str(folder / "mini-lmf-1.0.xml"), str(folder / "mini-lmf-1.1.xml"))
    (sense,) = dictionary.lookup("random samples", "en")[:1]
    assert sense.gloss == "a sample randomly drawn from some population" and sense.hypernyms[0] == "sample"
    (example,) = dictionary.lookup("ejemplo", "es")
    assert example.language == "es" and "example" in example.synonyms
    assert [sense.word for sense in dictionary.lookup("fire", "en")] == ["fire"]  # of the lexicon that extends another
