"""Tests of questions about the playroom: one right answer each, in words that tell one toy."""

from collections import Counter

import pytest

from xmjax.data import playroom
from xmjax.data.playroom import KINDS_OF_QUESTIONS, LANGUAGES, Playroom, questions

SCENES = [record.truth for grade in ("easy", "cluttered") for record in Playroom("val", grade).read(range(300))]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_has_one_answer(language):
    for scene in SCENES:
        answers: dict[str, set[str]] = {}
        for kind in KINDS_OF_QUESTIONS:
            for question in questions(scene, language, kind):
                answers.setdefault(question.text, set()).add(question.answer)
                assert (question.kind, question.language) == (kind, language)
        assert all(len(found) == 1 for found in answers.values()), answers


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_description_fits_one_toy(language):
    sizes, colors, names = playroom.lexicon.SIZES, playroom.lexicon.COLORS, playroom.lexicon.NAMES
    for scene in SCENES:
        looks = Counter(
            f"{sizes[language][t.size]} {colors[language][t.color]} {names[language][t.kind]}" for t in scene.toys
        )
        for question in questions(scene, language, "describe"):
            assert question.answer in looks


def test_what_is_asked_is_true():
    for scene in SCENES:
        for question in questions(scene, "en", "relation"):
            first, second = question.text.removeprefix("how is the ").removesuffix("?").split(" to the ")
            caption = f"a {first} {question.answer} a {second}"
            assert caption in {c.text for c in playroom.captions(scene, "en", "pair")}
        (count,) = questions(scene, "en", "count")
        assert count.answer == str(len(scene.toys))


def test_records_stay_what_they_were_without_questions():
    plain, asked = Playroom("val").read(range(50)), Playroom("val", questions_per_record=4).read(range(50))
    for a, b in zip(plain, asked, strict=True):
        assert a.captions == b.captions and (a.image == b.image).all() and a.questions == ()
        assert [q.language for q in b.questions] == ["en", "ko", "en", "ko"]
    kinds = Counter(q.kind for r in Playroom("val", questions_per_record=2).read(range(400)) for q in r.questions)
    assert set(kinds) == set(KINDS_OF_QUESTIONS) and min(kinds.values()) > 0.5 * max(kinds.values())
    assert max(len(q.text.encode()) for r in asked for q in r.questions) <= 62


def test_a_wrong_number_is_refused():
    with pytest.raises(ValueError, match="questions_per_record is -1"):
        Playroom(questions_per_record=-1)
