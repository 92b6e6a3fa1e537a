"""Tests of rules, meshes and rows, of equal results on every mesh, and of lowering and compiling for TPU."""

import functools
import importlib
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from configs.base import get_config
from xmjax import config as config_module
from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.errors import UserError
from xmjax.objectives import make, options
from xmjax.training.step import abstract_state, init, jit_init, jit_update

CONFIGS_DIRECTORY = Path(__file__).parents[1] / "configs"
CONFIGS = sorted(p.stem for p in CONFIGS_DIRECTORY.glob("[!_]*.py"))
FAMILIES = sorted(f"families.{p.stem}" for p in CONFIGS_DIRECTORY.joinpath("families").glob("[!_]*.py"))
MESHES = [m for m in itertools.product((1, 2, 4, 8), repeat=3) if np.prod(m) == 8]


def abstract_mesh(*sizes: int) -> AbstractMesh:
    return AbstractMesh(sizes, sharding.AXES, axis_types=(AxisType.Auto,) * 3)


def test_rules_are_checked():
    with pytest.raises(UserError, match=r"rule 'mlp_up' names the mesh axis 'model'; the axes are data, fsdp, tensor"):
        sharding.check_rules((("mlp_up", (None, "model")),))
    with pytest.raises(UserError, match=r"rule 'mlp_up' uses a mesh axis twice"):
        sharding.check_rules((("mlp_up", ("fsdp", None, "fsdp")),))
    sharding.check_rules((("mlp_up", ("fsdp", None, None)),))


def test_a_dimension_that_does_not_divide_names_the_parameter():
    mesh = abstract_mesh(1, 2, 4)
    assert sharding.spec("decoder/stack/mlp_up", (2, 16, 32), mesh) == P(None, "fsdp", "tensor")
    with pytest.raises(UserError) as error:
        sharding.spec("decoder/stack/mlp_up", (2, 16, 30), mesh)
    message = str(error.value)
    assert "decoder/stack/mlp_up" in message and "(2, 16, 30)" in message and "dimension of 30" in message
    assert "'tensor'" in message and "config.mesh.tensor" in message


def test_rules_hold_for_the_optimizers_state_too():
    mesh = abstract_mesh(1, 2, 4)
    assert sharding.spec("opt_state/0/mu/decoder/stack/mlp_up", (2, 16, 32), mesh) == P(None, "fsdp", "tensor")
    assert sharding.spec("xmlp_up", (2, 16, 32), mesh) == P()  # the end of a path, from a slash on
    assert sharding.spec("decoder/stack/mlp_up", (2, 16), mesh) == P()


def test_every_matrix_of_a_stack_of_the_base_size_is_sharded():
    config = config_module.build(get_config("size=base"))
    mesh = abstract_mesh(1, 4, 4)
    state = jax.eval_shape(functools.partial(init, config))
    placed = sharding.shardings(state, mesh)
    whole, specs = (
        {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in jax.tree_util.tree_flatten_with_path(t)[0]
        }
        for t in (state, jax.tree.map(lambda s: s.spec, placed))
    )
    split = 0
    for name, leaf in whole.items():
        stacked = any(part in name for part in ("unimodal_", "fusion", "decoder/stack")) and leaf.ndim >= 3
        if stacked:
            split += 1
            assert {"fsdp", "tensor"} <= set(specs[name]), f"{name} {leaf.shape} is on every device: {specs[name]}"
    assert split > 30
    held = sum(leaf.size / np.prod([mesh.shape[a] for a in specs[n] if a]) for n, leaf in whole.items())
    assert held < 0.15 * sum(leaf.size for leaf in whole.values())


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [((-1, 1, 1), (8, 1, 1)), ((2, -1, 2), (2, 2, 2)), ((2, 4, 1), (2, 4, 1)), ((1, 1, -1), (1, 1, 8))],
)
def test_a_free_axis_takes_the_rest(sizes, expected):
    mesh = sharding.make_mesh(MeshConfig(*sizes))
    assert tuple(mesh.shape.values()) == expected and mesh.axis_names == sharding.AXES
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize("sizes", [(3, 1, 1), (-1, -1, 1), (2, 2, 1), (16, 1, 1), (0, 1, 8), (-1, 3, 1), (-2, -2, 2)])
def test_a_mesh_that_does_not_fit_is_an_error(sizes):
    with pytest.raises(UserError) as error:
        sharding.make_mesh(MeshConfig(*sizes))
    assert f"data={sizes[0]} fsdp={sizes[1]} tensor={sizes[2]}" in str(error.value) and "8 devices" in str(error.value)


def test_one_process_holds_all_rows():
    mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
    assert sharding.local_rows(mesh, 8) == slice(0, 8)
    with pytest.raises(UserError, match=r"config\.batch_size=6 does not divide over the 4 devices .*multiple of 4"):
        sharding.local_rows(mesh, 6)


def test_rows_are_placed_in_order():
    mesh = sharding.make_mesh(MeshConfig(2, 2, 2))
    rows = np.arange(24).reshape(8, 3)
    placed = sharding.place({"x": rows}, mesh, 8)["x"]
    np.testing.assert_array_equal(placed, rows)
    assert placed.sharding.spec == P(("data", "fsdp"))
    for shard in placed.addressable_shards:
        np.testing.assert_array_equal(shard.data, rows[shard.index])
        assert shard.data.shape == (2, 3)


def test_constrain_needs_no_mesh():
    x = jnp.ones((4, 2))
    assert sharding.constrain(x) is x
    with jax.set_mesh(sharding.make_mesh(MeshConfig(2, 2, 2))):
        split = jax.jit(lambda x: sharding.constrain(x, 1))(jnp.ones((3, 8)))
    assert split.sharding.spec == P(None, ("data", "fsdp"))


@pytest.fixture(scope="module")
def run_on(make_config, batch_at):
    """Function from a mesh to what three steps of a model of eight heads give there: see below."""
    config = make_config({"model.heads": 8, "optimizer.clip": 0.0, "optimizer.warmup": 1})
    batches = [batch_at(config, i) for i in range(3)]

    @functools.cache
    def run(*sizes: int):
        mesh = sharding.make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
        with jax.set_mesh(mesh):
            first = state = jit_init(config, mesh)()
            weak = [leaf.weak_type for leaf in jax.tree.leaves(state)]
            update = jit_update(config, make(config), mesh)
            losses, gradient = [], None
            for batch in batches:
                state, metrics = update(state, sharding.place(batch, mesh, config.batch_size))
                losses.append(float(metrics["loss"]))
                if gradient is None:  # AdamW's first moment after one step is the gradient times 1 - b1
                    gradient = jax.tree.map(np.asarray, state.opt_state[0].mu)
        specs = jax.tree.map(lambda x: x.sharding.spec, state)
        weak += [leaf.weak_type for leaf in jax.tree.leaves(state)]
        return losses, gradient, update._cache_size(), weak, specs, first.step.is_deleted()

    return run


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [pytest.param(m, id="x".join(map(str, m))) for m in MESHES])
def test_every_mesh_gives_the_loss_and_gradient_of_one_device(run_on, sizes):
    losses, gradient, compiled, weak, specs, donated = run_on(*sizes)
    expected_losses, expected, *_ = run_on(1, 1, 1)
    assert losses[0] == pytest.approx(expected_losses[0], rel=1e-5)
    flat = jax.tree_util.tree_flatten_with_path(expected)[0]
    for (path, whole), part in zip(flat, jax.tree.leaves(gradient), strict=True):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        np.testing.assert_allclose(part, whole, rtol=0, atol=1e-5 * np.abs(whole).max(), err_msg=name)
    assert max(np.abs(g).max() for g in jax.tree.leaves(expected)) > 1e-3
    assert compiled == 1 and not any(weak) and donated
    expected_spec = P(None, "fsdp", "tensor")
    assert (
        specs.params["fusion"]["mlp_up"] == expected_spec and specs.opt_state[0].mu["fusion"]["mlp_up"] == expected_spec
    )


def stepped(config, batches, sizes):
    """Metrics of one step a batch, on a mesh of these sizes."""
    mesh = sharding.make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    found = []
    with jax.set_mesh(mesh):
        state, update = jit_init(config, mesh)(), jit_update(config, make(config), mesh)
        for batch in batches:
            state, metrics = update(state, sharding.place(batch, mesh, config.batch_size))
            found.append({name: float(value) for name, value in metrics.items()})
    return found


@pytest.mark.slow
def test_muon_gives_the_losses_of_one_device(make_config, batch_at):
    """It looks at whole matrices, also where they are split."""
    config = make_config({"model.heads": 8, "optimizer.name": "muon", "optimizer.warmup": 1})
    batches = [batch_at(config, i) for i in range(3)]
    one, many = ([m["loss"] for m in stepped(config, batches, sizes)] for sizes in ((1, 1, 1), (2, 2, 2)))
    assert many == pytest.approx(one, rel=1e-4)
    assert abs(one[2] - one[0]) > 1e-2 * one[0]


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "every"), [("merged", 1), ("coattention", 2)])
def test_objects_and_mismatches_are_those_of_one_device(make_config, batch_at, fusion, every):
    """Negatives are drawn from the whole batch, wherever its rows lie."""
    names = ("contrast", "match", "regions", "mask_predict")
    config = make_config(
        {
            "model.heads": 8,
            "model.fusion": fusion,
            "model.regions.count": 4,
            "model.matching": True,
            "model.matching_product": True,
            "optimizer.warmup": 1,
            "objectives": {
                "contrast": options("contrast"),
                "match": options("match", every=every),
                "regions": options("regions"),
                "mask_predict": options("mask_predict", units=6),
            },
        }
    )
    batches = [batch_at(config, i) for i in range(2)]
    one, many = (
        [[m[f"{name}/loss"] for name in names] for m in stepped(config, batches, sizes)]
        for sizes in ((1, 1, 1), (2, 2, 2))
    )
    np.testing.assert_allclose(many, one, rtol=1e-4)


def load(name: str, mode: str):
    return config_module.build(importlib.import_module(f"configs.{name}").get_config(mode))


def shapes_on(config, mesh, abstract_batch):
    """The arguments of the jitted update as shapes with shardings."""
    return abstract_state(config, mesh), abstract_batch(config, sharding.batch_sharding(mesh))


@pytest.mark.parametrize(
    ("name", "mode"),
    [*itertools.product(CONFIGS, ("smoke", "size=base")), *itertools.product(FAMILIES, ("size=base",))],
)
def test_every_config_lowers_for_256_devices(abstract_batch, name, mode):
    config = load(name, mode)
    sizes = (64, 2, 2) if mode == "smoke" else (16, 8, 2)
    rows = sizes[0] * sizes[1]
    if config.batch_size % rows:
        config = config_module.build(config_module.to_dict(config) | {"batch_size": rows})
    mesh = abstract_mesh(*sizes)
    with jax.sharding.use_abstract_mesh(mesh):
        traced = jit_update(config, make(config), mesh).trace(*shapes_on(config, mesh, abstract_batch))
        text = traced.lower(lowering_platforms=("tpu",)).as_text()
    assert "mhlo.num_partitions = 256" in text
    assert text.count("sdy.sharding") > 100


@pytest.mark.tpu
def test_the_base_size_compiles_for_a_v5e_of_16_chips(abstract_batch, monkeypatch):
    pytest.importorskip(
        "libtpu", reason="libtpu is not installed; pip install 'jax[tpu]' to compile for TPU without one"
    )
    from jax.experimental import topologies

    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:4x4").devices
    config = config_module.build(config_module.to_dict(load("base", "size=base")) | {"precision": "bfloat16"})
    mesh = sharding.make_mesh(MeshConfig(1, 16, 1), list(devices))
    with jax.set_mesh(mesh):
        compiled = jit_update(config, make(config), mesh).lower(*shapes_on(config, mesh, abstract_batch)).compile()
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
    assert 0 < used < 15.75 * 2**30, f"{used / 2**30:.1f} GiB a chip"
    assert isinstance(compiled.input_shardings[0][0].step, NamedSharding)
