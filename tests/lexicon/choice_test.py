"""Tests of the choice of a sense, and of the report on it."""

import hashlib

import numpy as np
import pytest

from xmjax.data.playroom import HOMOGRAPHS, LANGUAGES, NAMES, STYLES, PlayCaption, Playroom, captions
from xmjax.data.source import Caption, Record, Word
from xmjax.lexicon import (
    Query,
    Sense,
    Symbolic,
    Vectors,
    ask,
    choose,
    kind_of,
    make_report,
    playroom_dictionary,
)

DICTIONARY = playroom_dictionary()
SYMBOLIC = Symbolic(DICTIONARY.glosses(1000))
THRESHOLDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.01)


def hashed(texts: list[str]) -> np.ndarray:
    """Unit vectors that follow from the text alone, in the place of a model's."""
    seeds = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") for text in texts]
    vectors = np.array([np.random.default_rng(seed).normal(size=16) for seed in seeds])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def mentions(caption: PlayCaption, word: str, color: str) -> list[Word]:
    """The nouns of a caption that name a toy of that colour by that word."""
    nouns = [word for word in caption.words or () if word.kind == "kind"]
    pairs = zip(nouns, caption.meaning.phrases, strict=True)
    return [noun for noun, phrase in pairs if phrase.word == word and phrase.color == color]


def homographs(count: int, grade: str = "easy", mentioned: bool = True) -> tuple[list[Query], list[str]]:
    """Homographs of scenes, each with a third caption in the other language, and the ids of the right senses.

    The third caption mentions the toy, or it does not.
    """
    queries, truth = [], []
    for number, record in enumerate(Playroom("test", grade, captions_per_record=0).read(range(count))):
        assert isinstance(record, Record)
        rng = np.random.default_rng(number)
        for (language, word), kinds in HOMOGRAPHS.items():
            other = next(tag for tag in LANGUAGES if tag != language)
            for toy in record.truth.toys:
                if toy.kind not in kinds:
                    continue
                first, third = STYLES[rng.integers(len(STYLES))], STYLES[rng.integers(len(STYLES))]
                own = [c for c in captions(record.truth, language, first) if mentions(c, word, toy.color)]
                name = NAMES[other][toy.kind]
                others = [
                    c for c in captions(record.truth, other, third) if bool(mentions(c, name, toy.color)) == mentioned
                ]
                if own and others:
                    caption = own[rng.integers(len(own))]
                    place = mentions(caption, word, toy.color)[0]
                    queries.append(ask(DICTIONARY, caption, place, [others[rng.integers(len(others))]]))
                    truth.append(f"playroom/{language}/{toy.kind}")
    return queries, truth


def random_questions(seed: int, count: int) -> list[Query]:
    """Questions of few words, so that senses often are equally good, and of no sense at all."""
    rng = np.random.default_rng(seed)
    vocabulary = np.array(["pears", "float", "water", "배가"])

    def text() -> str:
        return " ".join(rng.choice(vocabulary, rng.integers(1, 3)))

    return [
        Query(
            "word",
            "en",
            tuple(
                Sense(f"{i}/{j}", "word", text(), "en", (text(),) * int(rng.integers(2)))
                for j in range(rng.integers(0, 5))
            ),
            tuple(text() for _ in range(rng.integers(1, 3))),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("scorer", [Symbolic(["red pears", "ship on water"]), Vectors(hashed)])
def test_random_questions_keep_the_contract(scorer):
    ties = 0
    for seed in range(20):
        queries = random_questions(seed, 20)
        for threshold in (-1.0, 0.0, 0.1, 0.4, 0.9, 1.1):
            choices = choose(queries, scorer, threshold)
            assert choices == choose(queries, scorer, threshold)
            for query, choice in zip(queries, choices, strict=True):
                assert len(choice.scores) == len(query.senses)
                assert all(-1 <= score <= 1 for score in choice.scores)
                if not query.senses:
                    assert choice.sense is None and choice.score == -np.inf
                    continue
                assert choice.score == max(choice.scores)
                if choice.score < threshold:
                    assert choice.sense is None
                else:  # the best one, and of equals the first
                    assert choice.sense == query.senses[choice.scores.index(max(choice.scores))]
                ties += choice.scores.count(choice.score) > 1
    assert ties > 0


def test_all_below_the_threshold_keeps_none():
    queries, _ = homographs(40)
    choices = choose(queries, SYMBOLIC, 1.01)
    assert queries and all(choice.sense is None and choice.score > 0 for choice in choices)


@pytest.mark.parametrize("scorer", [SYMBOLIC, Vectors(hashed)])
def test_ties_fall_to_the_order_of_the_dictionary(scorer):
    senses = tuple(Sense(name, "x", "a sweet fruit", "en") for name in "bca")
    for order in (senses, senses[::-1]):
        (choice,) = choose([Query("x", "en", order, ("sweet things",))], scorer, -1)
        assert choice.sense == order[0] and len(set(choice.scores)) == 1


@pytest.mark.parametrize("scorer", [SYMBOLIC, Vectors(hashed)])
def test_a_score_does_not_depend_on_the_other_questions(scorer):
    queries = random_questions(0, 30)
    together = choose(queries, scorer, 0.1)
    assert together == [choose([query], scorer, 0.1)[0] for query in queries]


def test_texts_of_a_question():
    caption = Caption("빨간 배가 있다", "ko")
    query = ask(DICTIONARY, caption, Word(7, 13), [Caption("a red pear", "en")])
    assert query.word == "배가" and query.texts == ("빨간 _ 있다", "a red pear")
    assert [kind_of(sense) for sense in query.senses] == ["pear", "boat"]
    (choice,) = choose([query], SYMBOLIC, 0.1)
    assert choice.sense is not None and kind_of(choice.sense) == "pear"
    assert choose([ask(DICTIONARY, caption, Word(0, 6))], SYMBOLIC, -1)[0].sense is None  # "빨간" is not listed


def test_the_headword_does_not_count():
    """A gloss that repeats the headword is no nearer to captions that do."""
    senses = (Sense("1", "bat", "a bat is a bat among bats", "en"), Sense("2", "bat", "a club of wood", "en", ("bat",)))
    (choice,) = choose([Query("bat", "en", senses, ("_ on the left", "a bat and two bats"))], SYMBOLIC, -1)
    assert choice.scores == (0, 0)


def test_synonyms_weigh_more_than_glosses_and_hypernyms_less():
    senses = (
        Sense("hypernym", "x", "stone iron", "en", (), ("pear",)),
        Sense("gloss", "x", "pear iron", "en", (), ("stone",)),
        Sense("synonym", "x", "stone iron", "en", ("pear",)),
    )
    (choice,) = choose([Query("x", "en", senses, ("two pears",))], SYMBOLIC, -1)
    assert 0 < choice.scores[0] < choice.scores[1] < choice.scores[2]


@pytest.mark.parametrize("grade", ["easy", "cluttered"])
def test_symbolic_sense_accuracy_in_the_playroom(grade):
    queries, truth = homographs(1500, grade)
    report = make_report(queries, SYMBOLIC, THRESHOLDS, truth)
    print(f"\n{grade}\n{report.markdown()}")
    assert {language for _, language, _ in (id.split("/") for id in truth)} == set(LANGUAGES)
    kept = report.kept[2]
    assert kept.threshold == 0.1 and kept.kept >= 0.8 * len(queries) >= 400
    assert kept.right is not None and kept.right >= 0.95 * kept.kept
    assert kept.first_right is not None and kept.first_right <= 0.6 * kept.kept


def test_fewer_senses_are_kept_where_no_caption_mentions_the_toy():
    queries, truth = homographs(1500, mentioned=False)
    report = make_report(queries, SYMBOLIC, THRESHOLDS, truth)
    print(f"\nnot mentioned\n{report.markdown()}")
    kept = report.kept[3]
    assert kept.threshold == 0.2 and kept.kept <= 0.1 * len(queries)


def test_vectors_find_the_sense_by_a_model_that_knows_translations():
    """A model whose space is the kinds of toys: the measure, not the model, is what is tested."""

    def encode(texts: list[str]) -> np.ndarray:
        kinds = list(NAMES["en"])
        names = [(NAMES["en"][kind], NAMES["ko"][kind]) for kind in kinds]
        vectors = [[1e-3] + [float(any(name in text for name in pair)) for pair in names] for text in texts]
        return np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)

    caption = Caption("배와 컵이 있다", "ko")
    for text, kind in (("a pear", "pear"), ("a cup and a boat", "boat")):
        query = ask(DICTIONARY, caption, Word(0, 6), [Caption(text, "en")])
        (choice,) = choose([query], Vectors(encode), 0.2)
        assert choice.sense is not None and kind_of(choice.sense) == kind


def test_senses_are_encoded_once():
    seen: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        seen.extend(texts)
        return hashed(texts)

    scorer = Vectors(encode)
    sense = Sense("1", "x", "a gloss", "en")
    for _ in range(3):
        choose([Query("x", "en", (sense,), ("text",))], scorer, 0)
    assert seen.count("a gloss") == 1


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((1, 4)), "of shape"),
        (np.ones(2), "of shape"),
        (np.ones((2, 4)), "not of length 1"),
        (np.full((2, 4), np.nan), "not of length 1"),
    ],
)
def test_wrong_vectors_are_refused(vectors, message):
    query = Query("x", "en", (Sense("1", "x", "a gloss", "en"),), ("text",))
    with pytest.raises(ValueError, match=message):
        choose([query], Vectors(lambda texts: vectors), 0)


def test_wrong_scores_are_refused():
    query = Query("x", "en", (Sense("1", "x", "a gloss", "en"),), ("text",))
    for scores in ([np.zeros(2)], [np.array([np.nan])]):
        with pytest.raises(ValueError, match="one finite number for each sense"):
            choose([query], lambda queries, scores=scores: scores, 0)


def test_report():
    senses = tuple(Sense(name, "x", gloss, "en") for name, gloss in (("a", "sweet fruit"), ("b", "water vessel")))
    queries = [
        Query("x", "en", senses, ("on water",)),
        Query("x", "en", senses, ("a fruit",)),
        Query("x", "ko", senses[:1], ("nothing",)),
        Query("x", "ko", (), ("nothing",)),
    ]
    report = make_report(queries, SYMBOLIC, (0.0, 0.1, 1.01), ["b", "b", "a", "a"])
    assert report == make_report(queries, SYMBOLIC, (0.0, 0.1, 1.01), ["b", "b", "a", "a"])
    assert [(row.kept, row.right, row.first_right) for row in report.kept] == [(3, 2, 1), (2, 1, 0), (0, 0, 0)]
    assert report.markdown() == (
        "| language | words | found | share | ambiguous | senses of a found word |\n"
        "|---|---:|---:|---:|---:|---:|\n"
        "| en | 2 | 2 | 100.0% | 2 | 2.00 |\n"
        "| ko | 2 | 1 | 50.0% | 0 | 1.00 |\n"
        "\n"
        "| threshold | kept | of found | right | first sense right |\n"
        "|---:|---:|---:|---:|---:|\n"
        "| 0 | 3 | 100.0% | 66.7% | 33.3% |\n"
        "| 0.1 | 2 | 66.7% | 50.0% | 0.0% |\n"
        "| 1.01 | 0 | 0.0% | - | - |\n"
    )
    assert "right" not in make_report(queries, SYMBOLIC, (0.0,)).markdown()


def test_the_keep_rate_falls_with_the_threshold():
    queries, _ = homographs(200)
    kept = [row.kept for row in make_report(queries, SYMBOLIC, THRESHOLDS).kept]
    assert kept == sorted(kept, reverse=True) and kept[0] == len(queries) and kept[-1] == 0
