"""Tests of inflection, of masking headwords, and of the playroom's dictionary."""

import pickle
import time
import unicodedata

import numpy as np
import pytest

from xmjax.data.playroom import GLOSSES, HOMOGRAPHS, KINDS, LANGUAGES, NAMES, STYLES, Playroom
from xmjax.data.source import Record
from xmjax.lexicon import MASK, Sense, base_forms, kind_of, mask_word, masked_gloss, playroom_dictionary
from xmjax.lexicon.inflection import language_tag

DICTIONARY = playroom_dictionary()


@pytest.mark.parametrize("word", ["배", "배가", "배를", "배는", "배에서", "배와", "배에서는", "배로", "배의", "배들은"])
def test_particles_are_stripped(word):
    assert [kind_of(sense) for sense in DICTIONARY.lookup(word, "ko")] == ["pear", "boat"]


@pytest.mark.parametrize(
    ("word", "language", "forms"),
    [
        ("가", "ko", ("가",)),  # never stripped to nothing
        ("에서", "ko", ("에서",)),
        ("사과", "ko", ("사과",)),  # 과 does not follow a vowel
        ("별로", "ko", ("별로", "별")),  # but 로 follows ㄹ
        ("컵으로", "ko", ("컵으로", "컵", "컵으")),
        ("나무에서는", "ko", ("나무에서는", "나무에서", "나무")),
        ("TV가", "ko", ("tv가", "tv")),
        ("A Bat", "en", ("a bat", "bat")),
        ("the  boxes", "en", ("the boxes", "boxes", "box", "boxe")),
        ("glass", "en", ("glass",)),
        ("bus", "en", ("bus",)),
        ("is", "en", ("is",)),
        ("fruit bats", "en", ("fruit bats", "fruit bat")),
        ("", "en", ()),
        (" ", "ko", ()),
        ("Häuser", "de", ("häuser",)),
        ("배가", "en", ("배가",)),
    ],
)
def test_base_forms(word, language, forms):
    assert base_forms(word, language) == forms


@pytest.mark.parametrize(
    ("word", "base"),
    [
        ("cities", "city"),
        ("knives", "knife"),
        ("leaves", "leaf"),
        ("churches", "church"),
        ("running", "run"),
        ("making", "make"),
        ("stopped", "stop"),
        ("bigger", "big"),
        ("nicest", "nice"),
        ("children's", "child"),
        ("dogs'", "dog"),
        ("dog’s", "dog"),
        ("women", "woman"),
    ],
)
def test_english_inflection(word, base):
    assert base in base_forms(word, "en")


def test_base_forms_of_random_words_keep_the_contract():
    rng = np.random.default_rng(0)
    for language, letters in (("ko", "배가를는에서와들이눈물 "), ("en", "abesingd' ")):
        for _ in range(2000):
            word = "".join(rng.choice(list(letters), rng.integers(0, 8)))
            forms = base_forms(word, language)
            assert all(form and form == form.strip() for form in forms) and len(set(forms)) == len(forms)
            assert bool(forms) == bool(word.strip())
            if forms:
                assert forms[0] == " ".join(word.split())


@pytest.mark.parametrize(
    ("tag", "expected"), [("ko", "ko"), ("kor", "ko"), ("ko-KR", "ko"), ("EN_us", "en"), ("", ""), ("xyz", "xyz")]
)
def test_language_tags(tag, expected):
    assert language_tag(tag) == expected


@pytest.mark.parametrize(
    ("text", "word", "language", "expected"),
    [
        ("a bat-like animal, not a Bat, nor bats.", "bat", "en", "a _-like animal, not a _, nor _."),
        ("batting is what 'bats' do to a battery", "bat", "en", "_ is what _ do to a battery"),
        ("two fruit-bats or a fruit bat", "fruit bat", "en", "two _ or a _"),
        ("배에서 내려 배를 보는 나룻배", "배", "ko", "_ 내려 _ 보는 나룻배"),
        ("नदी के पास", "नदी", "hi", "_ के पास"),
        ("犬小屋の犬", "犬", "ja", "_小屋の_"),
        ("", "bat", "en", ""),
        ("bat", "", "en", "bat"),
        ("a ❤ here", "❤", "en", "a _ here"),
    ],
)
def test_words_are_masked(text, word, language, expected):
    assert mask_word(text, word, language) == expected


def test_random_glosses_lose_their_headword():
    rng = np.random.default_rng(0)
    fillers = ["small", "위의", "(animal)", "flies;", "the", "'quoted'"]
    forms = {
        ("en", "bat"): ["bat", "bats", "Bats,", "bat's", "(bat)", "batted", "bat/ball", "“bat”", "non-bat"],
        ("ko", "배"): ["배", "배가", "배를,", "(배)", "배에서는", "‘배’", unicodedata.normalize("NFD", "배는")],
    }
    for _ in range(500):
        for (language, headword), inflected in forms.items():
            parts = [str(part) for part in rng.choice([*fillers, *inflected], rng.integers(1, 9))]
            gloss = masked_gloss(Sense("1", headword, " ".join(parts), language))
            assert headword not in unicodedata.normalize("NFC", gloss).lower().replace(MASK, "")
            assert gloss.count(MASK) == sum(part in inflected for part in parts)
            kept = [part for part in parts if part in fillers]
            assert all(part in gloss for part in kept)


def test_every_noun_of_the_playroom_is_covered():
    assert len(DICTIONARY.headwords()) == sum(len(set(NAMES[language].values())) for language in LANGUAGES)
    for language in LANGUAGES:
        other = next(tag for tag in LANGUAGES if tag != language)
        found = {}
        for kind, word in NAMES[language].items():
            senses = DICTIONARY.lookup(word, language)
            assert len(senses) == (2 if (language, word) in HOMOGRAPHS else 1)
            (sense,) = (sense for sense in senses if kind_of(sense) == kind)
            assert sense.word == word and sense.gloss == GLOSSES[language][kind]
            assert sense.language == language and sense.synonyms == (NAMES[other][kind],)
            found[sense.id] = kind
        assert tuple(found.values()) == KINDS
    assert sum(len(DICTIONARY.lookup(word, language)) for language, word in HOMOGRAPHS) == 10


def test_glosses_of_the_playroom_do_not_contain_the_headword():
    for word, language in DICTIONARY.headwords():
        for sense in DICTIONARY.lookup(word, language):
            assert masked_gloss(sense) == sense.gloss
            assert f" {word} " not in f" {sense.gloss} "


def test_nouns_are_found_as_captions_write_them():
    for record in Playroom("test", captions_per_record=8, styles=(*STYLES, "plain")).read(range(200)):
        assert isinstance(record, Record)
        for caption in record.captions:
            for word in caption.words or ():
                surface = caption.text.encode()[word.start : word.end].decode()
                assert bool(DICTIONARY.lookup(surface, caption.language)) == (word.kind == "kind")


def test_unknown_words_and_languages_have_no_senses():
    assert DICTIONARY.lookup("zebra", "en") == DICTIONARY.lookup("", "en") == DICTIONARY.lookup("bat", "de") == ()
    assert DICTIONARY.lookup("bat", "ko") == () and DICTIONARY.lookup("bat", "en-GB") != ()
    assert kind_of(Sense("07767847-n", "배", "a fruit", "en")) is None


def test_dictionaries_can_be_pickled():
    assert pickle.loads(pickle.dumps(DICTIONARY)).lookup("배가", "ko") == DICTIONARY.lookup("배가", "ko")


def test_a_warm_lookup_is_faster_than_a_cold_one():
    words = [(word + particle, "ko") for word in NAMES["ko"].values() for particle in ("에서는", "들에게도")]

    def measure(dictionary) -> float:
        start = time.perf_counter()
        for word, language in words:
            dictionary.lookup(word, language)
        return time.perf_counter() - start

    cold, warm = [], []
    for _ in range(5):
        dictionary = playroom_dictionary()
        base_forms.cache_clear()
        cold.append(measure(dictionary))
        warm.append(measure(dictionary))
    print(f"\ncold {min(cold) / len(words) * 1e6:.2f} us a word, warm {min(warm) / len(words) * 1e6:.2f} us")
    assert min(cold) > 5 * min(warm)
