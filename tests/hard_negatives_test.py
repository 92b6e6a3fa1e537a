"""Tests of captions told from hard negatives, in the form of SugarCrepe."""

import dataclasses
import gzip
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import sharding, vocab
from xmjax.data.playroom import Playroom
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS
from xmjax.evaluation.caption import picture_memory
from xmjax.evaluation.hard_negatives import by_file, chosen, read_pairs
from xmjax.evaluation.retrieval import towers
from xmjax.objectives import options
from xmjax.scores import rows
from xmjax.training.step import init, make_model


def test_a_tie_counts_half():
    np.testing.assert_array_equal(chosen(np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 1.0]])), [1, 0, 0.5])


def test_lists_are_read_as_they_are_published(tmp_path):
    row = {"filename": "val2017/1.jpg", "caption": "a dog chases a cat", "negative_caption": "a cat chases a dog"}
    (tmp_path / "swap.json").write_text(json.dumps({"0": row}))
    (tmp_path / "add.json.gz").write_bytes(gzip.compress(json.dumps([row]).encode()))
    for name in ("swap.json", "add.json.gz"):
        (pair,) = read_pairs(tmp_path / name)
        assert (pair.file, pair.true, pair.false) == ("1.jpg", row["caption"], row["negative_caption"])
    for content in (b"{", b"[{}]", b"[1]", b"3", b"\x1f\x8b"):
        (tmp_path / "bad.json.gz").write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.json\.gz cannot be read.*negative_caption"):
            read_pairs(tmp_path / "bad.json.gz")
    with pytest.raises(UserError, match="none"):
        read_pairs(tmp_path / "none.json")


@pytest.fixture(scope="module")
def records():
    found = Playroom("val").read(range(8))
    return [dataclasses.replace(record, id=f"photos/{i}.jpg") for i, record in enumerate(found)]


@pytest.fixture
def evaluator(make_config, records, tmp_path):
    """An evaluator of two lists: of six known pictures, two others and one long text; and of others alone."""
    listed = [
        {"filename": f"{i}.jpg", "caption": "a red ball", "negative_caption": "a ball that is red"}
        for i in (0, 1, 2, 3, 4, 5, 90, 91)
    ]
    listed.append(listed[0] | {"negative_caption": "long " * 99})
    for name, known in (("add_att", listed), ("swap_obj", listed[-3:-1])):
        (tmp_path / f"{name}.json").write_text(json.dumps(known))
    changes = {
        "model.matching": True,
        "evaluation.hard_negatives": (str(tmp_path / "add_att.json"), str(tmp_path / "swap_obj.json")),
        "objectives": {name: options(name) for name in ("contrast", "match", "caption")},
    }
    config = make_config(changes)
    return EVALUATORS["hard_negatives"](config, sharding.make_mesh(config.mesh), records)


@pytest.mark.slow
def test_models_choose_by_what_they_were_trained_for(evaluator):
    params = jax.jit(lambda: init(evaluator.config).params)()
    scores = evaluator(params).scores
    for arm in ("cosine", "match", "caption"):
        assert scores[f"hard_negatives/{arm}/oracle"] == 1 and f"hard_negatives/{arm}/shuffled_image" in scores
    model = make_model(evaluator.config).bind({"params": params})
    some = evaluator.image[:2], evaluator.boxes[:2], evaluator.written[:2]
    found = evaluator.arms["caption"](params, *some)
    for i in range(2):
        for k in range(2):
            sequence = jnp.asarray(evaluator.written[i, k])
            logits = model.decode(
                sequence[None, None, :-1], *picture_memory(model, jnp.asarray(evaluator.image[i : i + 1]))
            )
            log = jax.nn.log_softmax(logits[0, 0])
            begun = int(np.flatnonzero(sequence == vocab.SEP)[0])
            ids = [(t, int(sequence[t + 1])) for t in range(begun, len(sequence) - 1) if sequence[t + 1] != vocab.PAD]
            assert found[i, k] == pytest.approx(float(sum(log[t, after] for t, after in ids)), rel=1e-4)
    cosine = evaluator.arms["cosine"](params, evaluator.image, evaluator.boxes, evaluator.text)
    image, text = towers(model, jnp.asarray(evaluator.image), jnp.asarray(evaluator.text[:, 1]))
    np.testing.assert_allclose(cosine[:, 1], np.sum(image * text, -1), atol=1e-5)


def test_scores_are_of_held_out_pictures_by_list(evaluator):
    """Arms are replaced by rules: one is right of each picture's own mark, one never, one cannot tell."""
    marks = {image.tobytes(): i for i, image in enumerate(evaluator.image)}

    def marked(params, image, boxes, text):
        own = np.array([marks[x.tobytes()] == i for i, x in enumerate(image)], float)
        return np.stack([own, 1 - own], 1)

    ones = np.ones((len(evaluator.rows), 2))
    evaluator.arms = {"match": marked, "cosine": lambda *_: ones * [0.0, 1.0], "caption": lambda *_: ones}
    scores = evaluator(None).scores
    above = "hard_negatives/by_list/add_att"
    assert scores[f"{above}/n"] == 6 and scores[f"{above}/items/left_out"] == 3
    assert scores["hard_negatives/by_list/swap_obj/n"] == 0 and scores["hard_negatives/n"] == 6
    assert [key for key in scores if "swap_obj" in key and not key.endswith(("/n", "/left_out"))] == []
    assert scores[f"{above}/shorter"] == 1 and scores["hard_negatives/chance"] == 0.5
    assert [scores[f"{above}/{arm}"] for arm in ("match", "cosine", "caption")] == [1, 0, 0.5]
    assert scores[f"{above}/match/shuffled_image"] == 0
    table = {row.key: row for row in rows({f"photos/{key}": value for key, value in scores.items()})}
    row = table[f"photos/{above}/cosine"]
    assert (row.oracle, row.n, row.unit) == (1, 6, "%") and set(row.baselines) == {"chance"}
    assert table[f"photos/{above}/items/left_out"].unit == "items"


def test_a_match_by_objects_asks_what_has_some(evaluator, records):
    regions = dataclasses.replace(evaluator.config.model.regions, count=4)
    model = dataclasses.replace(evaluator.config.model, regions=regions)
    some = [dataclasses.replace(r, regions=()) if i in (1, 4) else r for i, r in enumerate(records)]
    found = EVALUATORS["hard_negatives"](dataclasses.replace(evaluator.config, model=model), evaluator.mesh, some)
    asked = []

    def match(params, image, boxes, text):
        asked.append(image)
        assert (boxes[:, 0, 2] > 0).all()
        return np.ones((len(image), 2)) * [1.0, 0.0]

    found.arms = {"match": match, "cosine": lambda params, image, *_: np.ones((len(image), 2))}
    scores = found(None).scores
    assert [len(images) for images in asked] == [4, 4]
    assert (scores["hard_negatives/match"], scores["hard_negatives/n"]) == (1, 6)
    for above in ("hard_negatives", "hard_negatives/by_list/add_att"):
        assert scores[f"{above}/match/n"] == scores[f"{above}/match/shuffled_image/n"] == 4


def test_lists_of_other_pictures_score_nothing(records, evaluator):
    config = evaluator.config

    def listing(*paths):
        return dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, hard_negatives=paths))

    other = listing(config.evaluation.hard_negatives[1])
    assert EVALUATORS["hard_negatives"](other, evaluator.mesh, records)(None).scores["hard_negatives/n"] == 0
    for paths, message in ((("none.json",), "none"), (("a/x.json", "b/x.json.gz"), "named like a/x")):
        with pytest.raises(UserError, match=message):
            EVALUATORS["hard_negatives"].check(listing(*paths))
    with pytest.raises(UserError, match="have one name"):
        by_file([records[0], dataclasses.replace(records[1], id="more/0.jpg")])
