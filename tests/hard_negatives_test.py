"""Tests of captions told from hard negatives, in the form of SugarCrepe."""

import dataclasses
import gzip
import json

import jax
import numpy as np
import pytest

from xmjax import sharding
from xmjax.data.playroom import Playroom
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS
from xmjax.evaluation.hard_negatives import chosen, read_pairs
from xmjax.objectives import options
from xmjax.training.step import init


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
    rows = [
        {"filename": f"{i}.jpg", "caption": "a red ball", "negative_caption": "a ball that is red"}
        for i in (0, 1, 2, 3, 4, 5, 90, 91)
    ]
    rows.append(rows[0] | {"negative_caption": "long " * 99})
    for name, known in (("add_att", rows), ("swap_obj", rows[-3:-1])):
        (tmp_path / f"{name}.json").write_text(json.dumps(known))
    changes = {
        "model.matching": True,
        "evaluation.hard_negatives": (str(tmp_path / "add_att.json"), str(tmp_path / "swap_obj.json")),
        "objectives": {name: options(name) for name in ("contrast", "match", "caption")},
    }
    config = make_config(changes)
    return EVALUATORS["hard_negatives"](config, sharding.make_mesh(config.mesh), records)


@pytest.mark.slow
def test_only_held_out_pictures_count_each_way(evaluator):
    params = jax.jit(lambda: init(evaluator.config).params)()
    scores = evaluator(params).scores
    assert scores["hard_negatives/add_att/n"] == 6 and scores["hard_negatives/add_att/too_long/n"] == 1
    assert scores["hard_negatives/swap_obj/n"] == 0 and scores["hard_negatives/n"] == 6
    assert not any(key.startswith("hard_negatives/swap_obj/") for key in scores if not key.endswith("/n"))
    assert scores["hard_negatives/add_att/shorter"] == 1 and scores["hard_negatives/chance"] == 0.5
    for arm in ("towers", "match", "caption"):
        for name in (arm, f"{arm}/shuffled_image"):
            assert 0 <= scores[f"hard_negatives/add_att/{name}"] <= 1
        assert scores[f"hard_negatives/{arm}/oracle"] == 1


def test_lists_of_other_pictures_score_nothing(records, evaluator):
    config = dataclasses.replace(
        evaluator.config,
        evaluation=dataclasses.replace(
            evaluator.config.evaluation, hard_negatives=evaluator.config.evaluation.hard_negatives[1:]
        ),
    )
    empty = EVALUATORS["hard_negatives"](config, evaluator.mesh, records)
    assert empty(None).scores["hard_negatives/n"] == 0
    broken = dataclasses.replace(config.evaluation, hard_negatives=("none.json",))
    with pytest.raises(UserError, match="none"):
        EVALUATORS["hard_negatives"].check(dataclasses.replace(config, evaluation=broken))
