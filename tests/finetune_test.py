"""Tests of fine-tuning: what is trained, low-rank matrices, and beginning from another run."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

from configs.finetune import parse
from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.data.playroom import LANGUAGES, Playroom, questions
from xmjax.data.sources import open_source
from xmjax.errors import UserError
from xmjax.evaluation.finetune import FinetuneEvaluator
from xmjax.objectives import make, options
from xmjax.training import adapters
from xmjax.training.step import init, update


@pytest.fixture(scope="module")
def lora_config(make_config):
    return make_config({"optimizer.trained": "lora", "optimizer.rank": 2})


def paths(tree) -> dict:
    return {
        jax.tree_util.keystr(p, simple=True, separator="."): x for p, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def test_low_rank_matrices_begin_at_no_effect_and_add_their_product(lora_config, tiny_state):
    params = jax.jit(partial(init, lora_config))().params
    plain = paths(tiny_state.params)
    merged = paths(adapters.merged(params))
    assert plain.keys() == merged.keys()
    for name, leaf in plain.items():
        np.testing.assert_array_equal(leaf, merged[name])
    name = "unimodal_image.attention_query"
    factors = params[adapters.LORA][name]
    factors["up"] = factors["up"] + 1.0
    moved = paths(adapters.merged(params))
    for other, leaf in plain.items():
        if other != name:
            np.testing.assert_array_equal(leaf, moved[other])
    expected = plain[name] + np.sum(factors["down"], -1)[:, :, None, None]
    np.testing.assert_allclose(moved[name], np.broadcast_to(expected, plain[name].shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", ["fused", "lora"])
def test_what_is_held_does_not_move(way, make_config, tiny_batch):
    config = make_config({"optimizer.trained": way, "optimizer.rank": 2, "optimizer.warmup": 0, "steps": 5})
    state = jax.jit(partial(init, config))()
    step = jax.jit(partial(update, config, make(config)))
    after, metrics = step(state, tiny_batch)
    after, _ = step(after, tiny_batch)  # the first product is zero on one side
    before, moved = paths(state.params), paths(after.params)
    trained = paths(adapters.trained(config.optimizer, state.params))
    assert float(metrics["gradient_norm"]) > 0
    for name, leaf in before.items():
        if not trained[name]:
            np.testing.assert_array_equal(leaf, moved[name], err_msg=name)
    changed = {name for name, leaf in before.items() if np.any(leaf != moved[name])}
    assert changed <= {name for name, train in trained.items() if train}
    if way == "lora":
        assert all(name.startswith("lora.") for name in changed)
        assert any(name.endswith(".up") and "fusion" in name for name in changed)
    else:
        assert any("fusion" in name for name in changed) and any("decoder" in name for name in changed)
        assert not any(name.startswith(("embedders_", "unimodal_")) for name in changed)
    assert paths(after.used).keys() == {name for name in before if not name.startswith("lora.")}


def test_every_scene_has_one_label():
    seen = set()
    for record in Playroom("val").read(range(60)):
        for language in LANGUAGES:
            [question] = questions(record.truth, language, "scene")
            seen.add((language, question.answer))
    assert len(seen) == 10


def test_scenes_are_asked_only_where_they_are_asked_for():
    assert {q.kind for r in Playroom(questions_per_record=2).read(range(20)) for q in r.questions}.isdisjoint({"scene"})
    asked = Playroom(questions_per_record=2, kinds_of_questions=("scene",))
    assert {q.kind for r in asked.read(range(20)) for q in r.questions} == {"scene"}
    assert asked.manifest() != Playroom(questions_per_record=2).manifest()


def test_an_evaluation_without_labels_is_empty(tiny_config, make_config):
    evaluator = FinetuneEvaluator(tiny_config, None, Playroom("val").read(range(4)))
    assert evaluator(None).scores == {"finetune/n": 0}


def test_labels_of_a_folder_are_asked_for(tmp_path, make_config, tiny_params):
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    lines = []
    for i, label in enumerate(["dog", "cat", ["dog", "grass"]] * 6):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": "it runs", "class": label}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    folder = {"data.source": "folder", "data.root": str(tmp_path), "objectives": {"answer": options("answer")}}
    asked = folder | {"data.questions": ("label",), "data.label_column": "class"}
    plain, config = make_config(folder), make_config(asked)
    records = open_source(config, config.data, "train").read(range(10))
    assert {(r.labels, *(q.answer for q in r.questions)) for r in records} == {
        (("dog",), "dog"), (("cat",), "cat"), (("dog", "grass"),),
    }  # fmt: skip
    assert open_source(config, config.data, "train").manifest() != open_source(plain, plain.data, "train").manifest()
    found = FinetuneEvaluator(config, mesh, records)(tiny_params).scores
    assert found["finetune/n"] == sum(len(r.labels) == 1 for r in records) and found["finetune/label/oracle"] == 1
    assert found["finetune/label/most_frequent"] < 1 and "finetune/scene" not in found
    make(config)
    for changes, message in (
        (folder, "label is asked"),
        (asked | {"data.label_column": ""}, "label_column"),
        (asked | {"data.source": "stamps"}, "no labels either"),
    ):
        with pytest.raises(UserError, match=message):
            make(make_config(changes))


def test_modes_of_the_config():
    assert parse("from=runs/a,task=answering,train=lora,smoke") == (
        {"from": "runs/a", "task": "answering", "train": "lora"},
        "smoke",
    )
    for wrong, message in (("task=scenes", "choose one of"), ("size=tny", "unknown mode"), ("from=", "unknown mode")):
        with pytest.raises(UserError, match=message):
            parse(wrong)
