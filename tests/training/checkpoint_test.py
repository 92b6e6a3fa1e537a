"""Tests of checkpoints on disk: what comes back, on which mesh, and what must be the same."""

import copy
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from xmjax import config as config_module
from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.errors import UserError
from xmjax.objectives import options
from xmjax.training.checkpoint import FREE, Checkpoints, check_manifest, check_same, meta
from xmjax.training.step import abstract_state, jit_init

MESHES = {1: MeshConfig(1, 1, 1), 8: MeshConfig(2, 2, 2)}


@pytest.fixture(scope="module")
def config(make_config):
    return make_config({"optimizer.ema": 0.9})


def mesh_of(devices: int):
    return sharding.make_mesh(MESHES[devices], jax.devices()[:devices])


@pytest.fixture(scope="module")
def states(config):
    """The first state on one and on eight devices."""
    return {n: jit_init(config, mesh_of(n))() for n in MESHES}


def same_bits(a, b) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.mark.parametrize(("before", "after"), [pytest.param(1, 1, marks=pytest.mark.slow), (1, 8), (8, 1)])
def test_a_state_comes_back_bit_by_bit_on_any_mesh(tmp_path, config, states, before, after):
    state = states[before].replace(step=states[before].step + 7)
    saved = Checkpoints(tmp_path, keep=2)
    content = meta(config, {"image_text": {"name": "x"}}, {"image_text": {"a.png": "broken"}}, {"step": 1.5})
    saved.save(7, state, content)
    saved.close()
    reader = Checkpoints(tmp_path, keep=2, read_only=True)
    assert reader.steps() == [7] and reader.meta(7)["clock"] == {"step": 1.5}
    wanted = abstract_state(config, mesh_of(after))
    restored = reader.restore(wanted, 7)
    reader.close()
    same_bits(restored.state, state)
    assert restored.step == 7 and int(restored.state.step) == 7
    for leaf, like in zip(jax.tree.leaves(restored.state), jax.tree.leaves(wanted), strict=True):
        assert leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim) and not leaf.weak_type
    check_same(config, restored.meta["config"], tmp_path)
    check_manifest({"image_text": {"name": "x"}}, restored.meta["manifest"], tmp_path)
    assert restored.meta["quarantine"] == {"image_text": {"a.png": "broken"}}


def test_the_first_state_is_the_same_on_every_mesh(states):
    same_bits(states[1], states[8])


def test_the_newest_are_kept_and_a_step_can_be_written_again(tmp_path, config, states):
    saved = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3, 3):
        saved.save(step, states[1], meta(config, {}, {}, {"step": float(step)}))
        saved.wait()
    assert saved.steps() == [2, 3]
    saved.close()


RECALL, RANK = "retrieval/text_to_image/R@1", "retrieval/text_to_image/MedR"


@pytest.mark.parametrize(("name", "sign"), [(RECALL, 1.0), pytest.param(RANK, -1.0, marks=pytest.mark.slow)])
def test_the_best_is_kept_beside_the_newest_and_found_after_a_restart(tmp_path, config, states, name, sign):
    def save(saved: Checkpoints, step: int, value: float | None = None) -> bool:
        score = {} if value is None else {name: value}
        improves = saved.improves(score)
        saved.save(step, states[1], meta(config, {}, {}, {}), score)
        assert saved.improves(score) is False  # also while it is being written
        saved.wait()
        return improves

    saved = Checkpoints(tmp_path, keep=2, best=name)
    assert saved.best() is None and not saved.improves({})
    assert [save(saved, 1, sign * 1), save(saved, 2, sign * 5), save(saved, 3, sign * 4), save(saved, 4)] == [
        True, True, False, False,
    ]  # fmt: skip
    assert save(saved, 5, float("nan")) is False
    assert saved.steps() == [2, 4, 5] and saved.best() == 2
    saved.close()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 4, 5]
    saved = Checkpoints(tmp_path, keep=2, best=name)  # another process goes on
    assert saved.steps() == [2, 4, 5] and saved.best() == 2
    assert [save(saved, 6, sign * 3), save(saved, 7, sign * 4.5)] == [False, False]
    assert saved.steps() == [2, 6, 7]
    assert [save(saved, 8, sign * 6), save(saved, 9), save(saved, 10)] == [True, False, False]
    saved.close()
    reader = Checkpoints(tmp_path, keep=2, read_only=True)
    assert reader.steps() == [8, 9, 10] and reader.best() == 8 and reader.meta(8)["clock"] == {}
    reader.close()


def test_without_a_score_there_is_no_best(tmp_path, config, states):
    saved = Checkpoints(tmp_path, keep=1)
    for step in (1, 2):
        saved.save(step, states[1], meta(config, {}, {}, {}))
        saved.wait()
    assert saved.best() is None and saved.steps() == [2]
    saved.close()


def test_a_reader_leaves_unfinished_checkpoints_alone(tmp_path, config, states):
    saved = Checkpoints(tmp_path, keep=2)
    saved.save(1, states[1], meta(config, {}, {}, {}))
    saved.close()
    unfinished = tmp_path / "2.orbax-checkpoint-tmp"  # what a kill leaves behind
    unfinished.mkdir()
    reader = Checkpoints(tmp_path, keep=2, read_only=True)
    assert reader.steps() == [1] and unfinished.is_dir()
    reader.close()
    writer = Checkpoints(tmp_path, keep=2)
    assert writer.steps() == [1] and not unfinished.exists()
    writer.close()


def flat_fields(tree: dict, prefix: str = ""):
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat_fields(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_every_field_is_either_free_or_must_be_the_same(make_sound_config):
    config = make_sound_config({"objectives": {name: options(name) for name in ("fill", "contrast", "sound")}})
    values = config_module.to_dict(config)
    checked = set()
    for field, value in flat_fields(values):
        other = copy.deepcopy(values)
        group = other
        *groups, last = field.split(".")
        for name in groups:
            group = group[name]
        if value == {}:
            group[last] = {"new": 1}
        else:
            group[last] = [*value, 1] if isinstance(value, tuple) else f"{value}x"
        free = any(field == f or field.startswith(f"{f}.") for f in FREE)
        if free:
            check_same(config, other, Path("runs/x"))
        else:
            with pytest.raises(UserError) as error:
                check_same(config, other, Path("runs/x"))
            assert field in str(error.value) and "runs/x" in str(error.value)
        checked.add(free)
    assert checked == {True, False}
    fields = [field for field, _ in flat_fields(values)]
    assert all(
        any(field == f or field.startswith(f"{f}.") for field in fields) for f in FREE
    )  # no free field is misspelt


def test_lists_and_tuples_are_the_same(make_config):
    config = make_config({"objectives": {"fill": options("fill", schedule=((0.0, 0.5), (0.3, 1.0)))}})
    check_same(config, json.loads(json.dumps(config_module.to_dict(config))), Path("x"))


def test_a_field_that_came_later_had_its_default(make_config):
    config = make_config()
    older = config_module.to_dict(config)
    del older["model"]["association"], older["objectives"]["fill"]["association"]
    check_same(config, older, Path("x"))
    changed = make_config({"model.association": True})
    with pytest.raises(UserError, match=r"model\.association: False there, True now"):
        check_same(changed, older, Path("x"))


def test_other_data_are_an_error_that_names_them():
    one = {"image_text": {"name": "folder", "files": ["a", "b"], "size": 2}}
    check_manifest(one, copy.deepcopy(one), Path("runs/x"))
    for field, value in (("size", 3), ("files", ["a", "c"]), ("extra", 1)):
        other = copy.deepcopy(one)
        other["image_text"][field] = value
        with pytest.raises(UserError, match=rf"the data changed since runs/x began: image_text\.{field} was"):
            check_manifest(one, other, Path("runs/x"))
