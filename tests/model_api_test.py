"""Tests of a model in use: against the evaluators, in batches and alone, without compiling twice."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from xmjax import sharding, vocab
from xmjax.config import MeshConfig
from xmjax.data import playroom
from xmjax.errors import UserError
from xmjax.evaluation.caption import CaptionEvaluator
from xmjax.evaluation.fill import FillEvaluator
from xmjax.evaluation.retrieval import RetrievalEvaluator
from xmjax.loaded import ROWS
from xmjax.model_api import Model
from xmjax.objectives import options
from xmjax.training.step import make_model

ROOT = Path(__file__).resolve().parents[1]
RECORDS = playroom.Playroom("val").read(range(24))
IMAGES = [record.image for record in RECORDS]


@pytest.fixture(scope="module")
def config(make_config):
    """The tiny config with room for the playroom's captions."""
    return make_config({"model.text.max_bytes": 64, "evaluation.samples": 20, "evaluation.pool": 20})


@pytest.fixture(scope="module")
def params(config):
    """Parameters twice as far from zero as those that training starts with, so that pictures and texts matter."""
    params = jax.jit(lambda: make_model(config).init(jax.random.key(3), method="initialise")["params"])()
    return jax.tree.map(lambda x: 2 * x, params)


@pytest.fixture(scope="module")
def model(config, params):
    """One model for all tests, since it keeps what it compiles."""
    return Model(config, params)


@pytest.fixture(scope="module")
def mesh():
    """One device."""
    return sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])


def test_embeddings_are_those_of_the_evaluation(model, config, params, mesh):
    evaluator = RetrievalEvaluator(config, mesh, RECORDS)
    image, text = evaluator.run(params, evaluator.image, evaluator.text)
    found = model.embed(image=[r.image for r in evaluator.records])
    assert found.shape == (20, config.model.embedding) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(found, image, atol=1e-5)
    texts = [caption.text for caption in evaluator.captions]
    np.testing.assert_allclose(model.embed(texts), text, atol=1e-5)
    np.testing.assert_allclose(model.embed(texts[3]), text[3:4], atol=1e-5)
    np.testing.assert_allclose(model.embed(image=np.stack(IMAGES[:3])), image[:3], atol=1e-5)


@pytest.fixture(scope="module")
def evaluator(config, mesh):
    """What evaluates fill."""
    return FillEvaluator(config, mesh, RECORDS)


def test_candidates_are_scored_as_in_the_evaluation(model, params, evaluator):
    absent = np.zeros(len(evaluator.items), bool)
    nats = evaluator.run(params, evaluator.image, evaluator.masked, evaluator.sequences, absent)
    for i, item in enumerate(evaluator.items[:6]):
        found = model.fill(item.masked_text(), item.record.image, candidates=item.candidates)
        weight = np.exp(nats[i].min() - nats[i][: len(item.candidates)])
        share = dict(zip(item.candidates, weight / weight.sum(), strict=True))
        assert [p for _, p in found] == sorted((p for _, p in found), reverse=True)
        assert dict(found) == pytest.approx(share, rel=1e-3, abs=1e-6)
        assert sum(p for _, p in found) == pytest.approx(1)
        data = item.caption.text.encode()
        word = data[item.word.start : item.word.end].decode()
        if item.caption.text.count(word) == 1:
            assert model.fill(item.caption.text, item.record.image, word, item.candidates) == found


def test_what_is_written_has_the_probability_of_a_candidate(model):
    found = model.fill("a ___ hat", IMAGES[0], top=4)
    assert 1 <= len(found) <= 4 and all(word for word, _ in found)
    assert len({word for word, _ in found}) == len(found)
    shares = [share for _, share in found]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1
    scored = dict(model.fill("a ___ hat", IMAGES[0], candidates=[word for word, _ in found]))
    assert scored == pytest.approx({word: share / sum(shares) for word, share in found}, rel=1e-3)


def test_a_missing_picture_is_the_absent_token(model, params, evaluator):
    item = evaluator.items[0]
    absent = np.ones(len(evaluator.items), bool)
    nats = evaluator.run(params, evaluator.image, evaluator.masked, evaluator.sequences, absent)[0]
    found = dict(model.fill(item.masked_text(), candidates=item.candidates))
    order = np.argsort(nats[: len(item.candidates)])
    assert list(found) == [item.candidates[k] for k in order]
    assert found != dict(model.fill(item.masked_text(), item.record.image, candidates=item.candidates))


def test_lists_give_lists(model):
    texts = ["a ___ hat", "there is a ___", "one ___ two"]
    words = ["red", "green", "파란"]
    pictures = [IMAGES[0], None, IMAGES[1]]
    single = [model.fill(t, p, candidates=words) for t, p in zip(texts, pictures, strict=True)]
    for found, expected in zip(model.fill(texts, pictures, candidates=words), single, strict=True):
        assert dict(found) == pytest.approx(dict(expected), rel=1e-3)
    shared = model.fill(texts[0], IMAGES[: ROWS + 2], candidates=words)
    assert len(shared) == ROWS + 2 and dict(shared[0]) == pytest.approx(dict(single[0]), rel=1e-3)
    assert len(model.fill(texts, IMAGES[0], candidates=words)) == 3


def test_captions_are_those_of_the_evaluation(model, config, params, mesh):
    evaluator = CaptionEvaluator(config, mesh, RECORDS)
    written = evaluator.write(params, evaluator.image, evaluator.prompt)
    for caption, record, ids in list(zip(evaluator.captions, evaluator.records, written, strict=True))[:4]:
        assert model.caption(record.image, caption.language, caption.style) == [vocab.decode(ids)]


def test_the_evaluation_searches_with_as_many_beams_as_are_asked_for(model, config, params, mesh):
    wide = dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, beams=3))
    evaluator = CaptionEvaluator(wide, mesh, RECORDS[:4])
    written = evaluator.write(params, evaluator.image, evaluator.prompt)
    for caption, record, ids in zip(evaluator.captions, evaluator.records, written, strict=True):
        found = model.caption(record.image, caption.language, caption.style, "beam", width=3)
        assert found == [vocab.decode(ids)]


def test_captions_by_every_method(model):
    first = model.caption(IMAGES[0])
    assert model.caption(IMAGES[:2])[0] == first == model.caption(IMAGES[0], "en", "list")
    assert model.caption(IMAGES[0], "ko") != first
    drawn = model.caption(IMAGES[:2], method="sample", n=3, seed=1)
    assert [len(texts) for texts in drawn] == [3, 3] and len(set(drawn[0])) > 1
    assert drawn == model.caption(IMAGES[:2], method="sample", n=3, seed=1)
    assert drawn != model.caption(IMAGES[:2], method="sample", n=3, seed=2)
    assert model.caption(IMAGES[:2], method="sample", n=3, temperature=0)[0] == first * 3
    assert model.caption(IMAGES[:2], method="sample", n=3, top_k=1, seed=5)[0] == first * 3
    assert len(set(model.caption(IMAGES[0], method="beam", n=3))) == 3


def test_nothing_compiles_twice(model):
    compiled = []

    def count(event: str, duration: float, **_) -> None:
        compiled.append(event) if event == "/jax/core/compile/jaxpr_trace_duration" else None

    def ask(i: int) -> None:
        model.embed("a" * (i + 1))
        model.embed(image=[IMAGES[i], IMAGES[i + 1]])
        model.fill("a " * i + "___", IMAGES[i])
        model.fill("___ " + "b" * i, candidates=["x" * (k + 1) for k in range(i + 1)])
        model.caption(IMAGES[i], ("en", "ko")[i % 2])
        model.caption(IMAGES[i], method="sample", n=2, temperature=0.5 + i, top_k=i, seed=i)

    ask(0)
    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        ask(1)
        ask(4)
        assert compiled == []
        model.caption(IMAGES[0], method="beam", width=2)
        assert compiled  # what is new is counted
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda m: m.embed(), ("embed takes a text, an image or a sound",)),
        (lambda m: m.embed("a", IMAGES[0]), ("embed takes a text, an image or a sound",)),
        (lambda m: m.embed([]), ("empty list",)),
        (lambda m: m.fill("a ___", candidates=[]), ("no candidates",)),
        (lambda m: m.fill("a ___", candidates=["x", ""]), ("no candidates, or an empty one",)),
        (lambda m: m.fill("a ___", candidates=["x" * 65]), ("longer than the 64 bytes",)),
        (lambda m: m.fill("a ___", top=0), ("top=0", "at least 1")),
        (lambda m: m.fill(["a ___"] * 2, IMAGES[:3]), ("2 texts and 3 pictures",)),
        (lambda m: m.fill("a ___", "/nowhere.png"), ("/nowhere.png", "does not exist")),
        (lambda m: m.caption(IMAGES[0], "fr"), ("unknown language 'fr'", "en, ko")),
        (lambda m: m.caption(IMAGES[0], style="pairs"), ("unknown style 'pairs'", "pair, list")),
        (lambda m: m.caption(IMAGES[0], method="beams"), ("'beams'", "did you mean 'beam'")),
        (lambda m: m.caption(IMAGES[0], n=2), ("n=2", "sample or beam")),
        (lambda m: m.caption(IMAGES[0], n=0), ("n=0", "ask for 1")),
        (lambda m: m.caption(IMAGES[0], method="sample", top_p=0), ("top_p",)),
    ],
)
def test_what_cannot_be_asked(ask, expected, model):
    with pytest.raises(UserError) as error:
        ask(model)
    assert all(text in str(error.value) for text in expected), error.value


def test_what_a_run_has_not_trained(make_config):
    model = Model(make_config({"objectives": {"fill": options("fill")}}), None)
    for ask in (lambda: model.caption(IMAGES[0]), lambda: model.embed("a")):
        with pytest.raises(UserError, match="its objectives are fill; load one that has"):
            ask()


def test_languages_of_other_data(make_config):
    wording = Model(make_config({"data.source": "folder", "data.root": "x"}), None)._wording
    assert wording(None, "") == ("", "") and wording("de", "loud") == ("de", "loud")
    assert Model(make_config({"data.source": "stamps"}), None)._wording(None, "") == ("en", "")
    some = Model(make_config({"data.source": "stamps", "data.languages": ("ko", "de")}), None)._wording
    assert some(None, "") == ("ko", "")
    with pytest.raises(UserError, match="unknown language 'en': this run has learned ko, de"):
        some("en", "")


def test_averaged_parameters_are_used_where_there_are_any(tiny_state):
    assert tiny_state.used is tiny_state.params
    averaged = tiny_state.replace(ema={"some": 1})
    assert averaged.used == {"some": 1}


def test_importing_the_package_is_light():
    code = "import sys, xmjax; assert xmjax.load; assert not {'jax', 'numpy', 'flax'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
