"""Tests of arithmetic with vectors: what counts as found, the playroom's items, sound mixed into pictures."""

import jax
import numpy as np
import pytest

from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.data import playroom
from xmjax.evaluation.arithmetic import ArithmeticEvaluator, ComposeEvaluator, alone, language_of, top1
from xmjax.evaluation.sound import mixed_scores, sound_records

CHANGES = {"model.image.patch": 8, "evaluation.samples": 24, "evaluation.pool": 5, "evaluation.batch_size": 8}


@pytest.fixture(scope="module")
def config(make_sound_config):
    return make_sound_config(CHANGES)


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])


def test_the_nearest_item_that_is_not_excluded():
    items = np.eye(4)
    queries = np.array([[3.0, 2, 0, 0], [3, 2, 0, 0], [0, 0, 1, 1]])
    assert top1(queries, items, np.array([1, 1, 2])) == pytest.approx(0.5 / 3)  # a tie counts as its expectation
    assert top1(queries, items, np.array([1, 1, 2]), np.array([0, 3, 3])) == pytest.approx(2 / 3)
    assert top1(np.zeros((2, 4)), items, np.array([1, 2]), np.array([0, 0])) == pytest.approx(1 / 3)


def test_one_attribute_is_changed(config, mesh):
    evaluator = ArithmeticEvaluator(config, mesh, [])
    assert len(evaluator.looks) == len(playroom.KINDS) * len(playroom.COLORS) == len(evaluator.image) / 2
    assert len(evaluator.pairs) == len(evaluator.looks) * (len(playroom.KINDS) - 1 + len(playroom.COLORS) - 1)
    for i, j in evaluator.pairs[:: len(evaluator.pairs) // 7]:
        assert sum(a != b for a, b in zip(evaluator.looks[i], evaluator.looks[j], strict=True)) == 1
    # Vectors that are sums of what they show make every pair right, and the text's alone too; equal ones are at chance.
    kind, color = np.eye(len(playroom.KINDS)), np.eye(len(playroom.COLORS))
    looks = [(playroom.KINDS.index(k), playroom.COLORS.index(c)) for k, c in evaluator.looks]
    vectors = np.array([np.concatenate([kind[k], color[c]]) for k, c in looks])
    place = np.random.default_rng(0).normal(size=(len(looks), 3))  # what a text does not say

    def found(image, text):
        return lambda *_: (np.tile(image, (2, 1)), np.tile(text, (2, 1)))  # texts in two languages

    evaluator.run = found(np.concatenate([vectors, place], 1), np.concatenate([vectors, 0 * place], 1))
    scores = evaluator(None).scores
    assert scores["arithmetic/n"] == len(evaluator.pairs) and scores["arithmetic/top1/oracle"] == 1
    assert scores["arithmetic/top1_inputs_kept"] <= scores["arithmetic/top1"]
    evaluator.run = found(vectors, vectors)
    assert evaluator(None).scores["arithmetic/top1"] == evaluator(None).scores["arithmetic/top1/text_alone"] == 1
    evaluator.run = found(0 * vectors, 0 * vectors)
    scores = evaluator(None).scores
    assert scores["arithmetic/top1"] == pytest.approx(scores["arithmetic/top1/chance"])
    # Who knows what is said finds every picture: no text names two kinds.
    for j in evaluator.pairs[:, 1]:
        said = [playroom.NAMES[playroom.LANGUAGES[evaluator.language[j]]][kind] for kind, _ in evaluator.looks]
        assert len({kind for (kind, _), name in zip(evaluator.looks, said, strict=True) if name == said[j]}) == 1


def test_a_picture_and_a_sound_ask_for_the_picture_of_both(config, mesh):
    evaluator = ComposeEvaluator(config, mesh, [])
    assert evaluator.records and len(evaluator.records) % 5 == 0
    for record, image in zip(evaluator.records, evaluator.arrays[0], strict=True):
        assert len(record.truth.toys) > 1 and image.shape == record.image.shape
    rng = np.random.default_rng(0)
    heard = rng.normal(size=(len(evaluator.records), 16))
    seen = np.full_like(heard, 0.1)  # the same for all, so that it finds one in five
    evaluator.run = lambda *_: (seen, heard, seen + heard)
    scores = evaluator(None).scores
    name = "retrieval/image+audio_to_image/R@1"
    assert scores[name] == 1 and scores[f"{name}/random"] == pytest.approx(1 / 5)
    assert scores[f"{name}/image_alone"] == pytest.approx(1 / 5) and scores["retrieval/image+audio_to_image/n"] == len(
        evaluator.records
    )


def test_toys_alone_have_the_look_that_is_asked_for():
    for seed in range(3):
        record = alone("cup", "red", "medium", seed, 96)
        (toy,) = record.truth.toys
        assert (toy.kind, toy.color, toy.size) == ("cup", "red", "medium")
        assert record.image.shape == (96, 96, 3) and record.truth.image_size == 48
    assert alone("cup", "red", "medium", 0, 32).truth != alone("cup", "red", "medium", 1, 32).truth


def test_the_share_of_sound_is_chosen_on_other_records():
    rng = np.random.default_rng(0)
    n, half = 60, 30
    text, image, other = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in rng.normal(size=(3, n, 8)))
    audio = text.copy()
    audio[half:] = other[half:]  # sound helps where the share is chosen, and nowhere else
    scores = mixed_scores(text, image, audio, half)
    name = "retrieval/text_to_image+audio"
    assert scores[f"{name}/share"] > 0.2 and scores[f"{name}/n"] == n - half
    assert scores[f"{name}/R@1"] < 0.3
    scores = mixed_scores(text, text, other, half)
    assert scores[f"{name}/share"] == 0 and scores[f"{name}/R@1"] == scores[f"{name}/R@1/image_alone"] == 1


def test_texts_are_asked_in_the_languages_that_the_run_has_learned(make_sound_config):
    config = make_sound_config({"data.languages": ("en",), "evaluation.samples": 20})
    found = sound_records(config)
    assert len(found) == 20 and {caption.language for record in found for caption in record.captions} == {"en"}
    both = sound_records(make_sound_config({"evaluation.samples": 20}))
    assert {caption.language for record in both for caption in record.captions} == {"en", "ko"}
    own = sound_records(make_sound_config({"frame_audio.languages": ("ko",), "evaluation.samples": 4}))
    assert {caption.language for record in own for caption in record.captions} == {"ko"}
    assert language_of("pear", ("en", "ko")) == 0 and language_of("pear", ("ko",)) == 0
