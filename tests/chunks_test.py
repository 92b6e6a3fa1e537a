"""Tests of contrast in chunks: the loss and gradient of the whole batch on any mesh, in memory linear in its rows."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import sharding
from xmjax.config import Config, MeshConfig
from xmjax.errors import UserError
from xmjax.models.passes import Passes
from xmjax.objectives import OBJECTIVES, make, options
from xmjax.training.step import abstract_state, jit_init, jit_update

RECORDS, CAPTIONS, E = 16, 2, 6
MESHES = [None, (2, 1, 1), (2, 2, 1), (1, 4, 2), (8, 1, 1), (2, 4, 1)]
DEFAULT = (None, (8, 1, 1), (1, 4, 2))
"""Meshes that are tested by default; the others are in the slow tier."""

LOSSES = {
    "infonce": {},
    "variable": {"margin": 0.3, "variable": True},
    "back": {"margin": 0.3, "variable": True, "first": "text", "second": "image"},
    "sound": {"second": "audio"},
    "sigmoid": {"loss": "sigmoid"},
}


class Scalars:
    """A model of nothing but the scalars of similarities."""

    def __init__(self, scale, bias):
        self.bias = bias
        self._scale = scale

    def scale(self):
        return self._scale


def gradient_of(mesh, **chosen):
    """Jitted function from vectors, scalars and a batch to loss, metrics and gradient."""
    objective = OBJECTIVES["contrast"](OBJECTIVES["contrast"].Options(**chosen), Config())

    def loss(vectors, scalars, batch):
        return objective.loss(Passes(Scalars(*scalars), batch, vectors), None)

    rows = None if mesh is None else sharding.batch_sharding(mesh)
    whole = None if mesh is None else jax.NamedSharding(mesh, jax.P())
    return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True), in_shardings=(rows, whole, rows))


def in_use(mesh):
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def mesh_of(sizes):
    return None if sizes is None else sharding.make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])


@pytest.fixture(scope="module")
def given():
    """Vectors, scalars, and a batch in which records and captions come more than once."""
    rng = np.random.default_rng(0)
    vectors = {
        m: rng.standard_normal((n, E)).astype(np.float32) for m, n in (("image", 16), ("text", 32), ("audio", 16))
    }
    vectors = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in vectors.items()}
    batch = {
        "id": rng.integers(0, 12, RECORDS).astype(np.int32),
        "caption_id": rng.integers(0, 20, (RECORDS, CAPTIONS)).astype(np.int32),
        "text": np.zeros((RECORDS, CAPTIONS, 4), np.uint16),
    }
    return vectors, (np.float32(9), np.float32(-2.5)), batch


@pytest.fixture(scope="module")
def dense(given):
    """Loss, metrics and gradient of the whole batch on one device, by name of the loss."""
    return {name: gradient_of(None, **chosen)(*given) for name, chosen in LOSSES.items()}


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param(m, id="x".join(map(str, m or ("alone",))), marks=() if m in DEFAULT else pytest.mark.slow)
        for m in MESHES
    ],
)
@pytest.mark.parametrize("name", LOSSES)
def test_chunks_give_the_loss_and_gradient_of_the_whole_batch(given, dense, name, sizes):
    mesh = mesh_of(sizes)
    with in_use(mesh):
        (loss, metrics), gradient = gradient_of(mesh, **LOSSES[name], chunk=2)(*given)
    (expected, expected_metrics), whole = dense[name]
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    assert float(metrics["accuracy"]) == float(expected_metrics["accuracy"])
    for part, leaf in zip(jax.tree.leaves(gradient), jax.tree.leaves(whole), strict=True):
        assert part.shape == leaf.shape
        np.testing.assert_allclose(part, leaf, rtol=0, atol=1e-5 * np.abs(leaf).max())
    read = {LOSSES[name].get("first", "image"), LOSSES[name].get("second", "text")}
    assert all(np.abs(whole[0][modality]).max() > 1e-3 for modality in read) and np.abs(whole[1][0]) > 1e-3


@pytest.mark.parametrize("chunk", [1, 4, 16, 64])
def test_any_chunk_gives_the_same(given, dense, chunk):
    (loss, _), gradient = gradient_of(None, chunk=chunk)(*given)
    (expected, _), whole = dense["infonce"]
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    for part, leaf in zip(jax.tree.leaves(gradient), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(part, leaf, rtol=0, atol=1e-5 * max(np.abs(leaf).max(), 1e-9))


def test_what_chunks_leave_out_would_be_seen(given, dense):
    """The records that a device does not hold matter: the loss over its own is another."""
    half = jax.tree.map(lambda x: x[: len(x) // 2] if x.ndim else x, given)
    assert abs(float(gradient_of(None, chunk=2)(*half)[0][0]) - float(dense["infonce"][0][0])) > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
@pytest.mark.parametrize("devices", [1, 8])
def test_memory_is_linear_in_the_batch(loss, devices):
    """Of the compiled loss and gradient at 32,768 records, a device; nothing is run."""
    mesh, temporary = mesh_of((devices, 1, 1)), {}
    for records, chunk in ((32768, 0), (32768, 1024), (16384, 1024)):
        struct = jax.ShapeDtypeStruct
        vectors = {m: struct((records, 64), jnp.float32) for m in ("image", "text")}
        batch = {"id": struct((records,), jnp.int32), "caption_id": struct((records, 1), jnp.int32),
                 "text": struct((records, 1, 4), jnp.uint16)}  # fmt: skip
        scalar = struct((), jnp.float32)
        with jax.set_mesh(mesh):
            compiled = gradient_of(mesh, loss=loss, chunk=chunk).lower(vectors, (scalar, scalar), batch).compile()
        temporary[records, chunk] = compiled.memory_analysis().temp_size_in_bytes
    assert temporary[32768, 1024] <= temporary[32768, 0] / 16, temporary
    assert temporary[32768, 1024] <= 2.2 * temporary[16384, 1024], temporary


def test_a_collapsed_model_hits_nothing(given):
    vectors = {m: np.ones_like(x) / np.float32(E**0.5) for m, x in given[0].items()}
    for chunk in (0, 2):
        (_, metrics), _ = gradient_of(None, chunk=chunk)(vectors, *given[1:])
        assert float(metrics["accuracy"]) == 0


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"chunk": -1}, r"contrast.chunk=-1: give 0"),
        ({"chunk": 4, "loss": "ranking", "margin": 0.2}, r"contrast.chunk=4: .*infonce and sigmoid"),
    ],
)
def test_chunks_that_cannot_work_are_refused(chosen, message):
    with pytest.raises(UserError, match=message):
        gradient_of(None, **chosen)


def test_a_chunk_must_divide_the_records_of_a_device(given):
    with pytest.raises(UserError, match=r"contrast\.chunk=5 does not divide the 16 records of a device"):
        gradient_of(None, chunk=5)(*given)
    mesh = mesh_of((4, 1, 1))
    with in_use(mesh), pytest.raises(UserError, match=r"contrast\.chunk=3 does not divide the 4 records of a device"):
        gradient_of(mesh, chunk=3)(*given)


@pytest.mark.slow
def test_a_step_in_chunks_on_a_mesh_is_that_of_one_device(make_config, batch_at):
    found = {}
    for chunk, sizes in ((0, (1, 1, 1)), (1, (2, 2, 2))):
        config = make_config({"objectives": {"contrast": options("contrast", chunk=chunk)}, "optimizer.clip": 0.0})
        mesh = mesh_of(sizes)
        with jax.set_mesh(mesh):
            update = jit_update(config, make(config), mesh)
            batch = sharding.place(batch_at(config), mesh, config.batch_size)
            state, metrics = update(jit_init(config, mesh)(), batch)
            state, _ = update(state, batch)
        assert update._cache_size() == 1
        found[chunk] = float(metrics["loss"]), jax.tree.map(np.asarray, state.opt_state[0].mu)
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    for part, whole in zip(jax.tree.leaves(found[1][1]), jax.tree.leaves(found[0][1]), strict=True):
        np.testing.assert_allclose(part, whole, rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.slow
def test_chunks_lower_for_256_devices(make_config, abstract_batch):
    config = make_config({"objectives": {"contrast": options("contrast", chunk=2)}, "batch_size": 512})
    axes = ("data", "fsdp", "tensor")
    mesh = jax.sharding.AbstractMesh((64, 2, 2), axes, axis_types=(jax.sharding.AxisType.Auto,) * 3)
    with jax.sharding.use_abstract_mesh(mesh):
        shapes = abstract_state(config, mesh), abstract_batch(config, sharding.batch_sharding(mesh))
        text = jit_update(config, make(config), mesh).trace(*shapes).lower(lowering_platforms=("tpu",)).as_text()
    assert "collective_permute" in text
