"""Tests of the embedders, those of the package and one that a test adds."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from einops import rearrange
from flax import linen as nn

from xmjax import vocab
from xmjax.config import AudioConfig, ImageConfig, ModelConfig, TextConfig
from xmjax.data.pipeline import Batches, open_streams
from xmjax.data.source import Record
from xmjax.data.sources import SOURCES
from xmjax.models.embedders import EMBEDDERS, Tokens, hash_ngrams, lean, unit_of_bytes
from xmjax.models.layers import sincos
from xmjax.models.signals import embedder
from xmjax.objectives import features, make, options
from xmjax.training import flops
from xmjax.training.step import init, update

BASE = ModelConfig(
    width=16,
    heads=2,
    text=TextConfig(max_bytes=24, ngrams=(), buckets=64),
    image=ImageConfig(size=32, patch=8),
    audio=AudioConfig("mel", seconds=0.2, bands=16, patch=4),
)


def variant(modality: str, **fields) -> ModelConfig:
    return dataclasses.replace(BASE, **{modality: dataclasses.replace(getattr(BASE, modality), **fields)})


VARIANTS = {
    "text/bytes": variant("text", embedder="bytes"),
    "text/ngram": variant("text", embedder="ngram", ngrams=(2, 3)),
    "text/ngram/none": variant("text", embedder="ngram"),
    "image/pixels": variant("image", embedder="pixels"),
    "image/pixels/stem": variant("image", embedder="pixels", stem=8),
    "text/units": variant("text", embedder="units", unit=2),
    "text/units/bytes": variant("text", embedder="units", unit=3, unit_of="bytes"),
    "text/words": variant("text", embedder="words", words=4, vectors=12),
    "image/resnet18": variant("image", embedder="resnet18", stem=8),
    "image/vit": variant("image", embedder="vit", stem=64, depth=1),
    "image/file": variant("image", embedder="file", max_file_bytes=96, file_kernel=16),
}
"""Every registered embedder and its forms, by name."""


GRIDS = ("image/pixels", "image/resnet18", "image/vit")
"""Those whose tokens are squares of the picture."""


def own_embedders() -> set[str]:
    return {name for name in EMBEDDERS.items if name.split("/")[0] in ("text", "image")}


def test_every_embedder_is_tested():
    assert {"/".join(name.split("/")[:2]) for name in VARIANTS} == own_embedders()


def data_for(name: str, rows: int = 3, seed: int = 0) -> np.ndarray:
    """Random input; byte strings end in padding of different lengths, the first row has none."""
    rng, config = np.random.default_rng(seed), VARIANTS[name]
    if name.startswith(GRIDS):
        return rng.integers(0, 256, (rows, 32, 32, 3)).astype(np.uint8)
    length = config.text.max_bytes if name.startswith("text") else config.image.max_file_bytes
    data = rng.integers(0, 256, (rows, length)).astype(np.uint16)
    for row in range(1, rows):
        data[row, length * (rows - row) // (rows + 1) + 1 :] = vocab.PAD
    return data


@pytest.fixture(scope="module", params=VARIANTS)
def case(request):
    """Name, config, parameters and the jitted embedder."""
    name, config = request.param, VARIANTS[request.param]
    module = embedder(*name.split("/")[:2])(config)
    params = jax.jit(lambda: module.init(jax.random.key(0), module.example(config)))()
    return name, config, params, jax.jit(module.apply)


def test_shapes(case):
    name, config, params, apply = case
    modality = name.split("/")[0]
    tokens = apply(params, data_for(name))
    count = flops.tokens(config, modality)
    assert tokens.vectors.shape == (3, count, 16) and tokens.vectors.dtype == jnp.float32
    assert tokens.valid.shape == (3, count) and tokens.valid.dtype == bool
    assert tokens.spans.shape == (3, count, 4 if name.startswith(GRIDS) else 2)
    assert np.isfinite(tokens.vectors).all() and 0.2 < np.std(tokens.vectors) < 5


def test_spans_tile_the_input(case):
    name, _, params, apply = case
    if name == "text/words":
        pytest.skip("stop words and what is between words belong to no token; see word_hash_test.py")
    if name.startswith("text/units"):
        pytest.skip("how many units there are depends on the characters; see below")
    data = data_for(name)
    tokens = apply(params, data)
    spans = np.asarray(tokens.spans)
    for row in range(3):
        if name.startswith(GRIDS):
            covered = np.zeros((32, 32), int)
            for y0, x0, y1, x1 in (spans[row] * 32).round().astype(int):
                covered[y0:y1, x0:x1] += 1
            assert (covered == 1).all() and tokens.valid.all()
        else:
            edges = spans[row].astype(int)
            assert edges[0, 0] == 0 and edges[-1, 1] == data.shape[1] and (edges[1:, 0] == edges[:-1, 1]).all()
            expected = [bool((data[row, a:b] != vocab.PAD).any()) for a, b in edges]
            assert np.asarray(tokens.valid)[row].tolist() == expected
            assert row == 0 or not all(expected)


REACH = {"text/bytes": (0, 0), "text/ngram": (4, 2), "text/ngram/none": (2, 2), "image/file": (0, 8)}
"""Bytes that a token sees before and after its span: half a stride and the rest of an n-gram, half a kernel."""


@pytest.mark.parametrize("case", REACH, indirect=True)
def test_a_byte_changes_the_token_that_spans_it_and_none_out_of_reach(case):
    name, _, params, apply = case
    data = data_for(name, 1)
    rows = np.repeat(data, data.shape[1], 0)
    rows[np.arange(len(rows)), np.arange(len(rows))] ^= 1  # row i has byte i changed
    before, after = (np.asarray(apply(params, d).vectors) for d in (np.repeat(data, len(rows), 0), rows))
    changed = np.abs(after - before).max(-1) > 1e-7
    spans = np.asarray(apply(params, data).spans[0]).astype(int)
    before_span, after_span = REACH[name]
    for byte, tokens in enumerate(changed):
        for (start, end), seen in zip(spans, tokens, strict=True):
            if start <= byte < end:
                assert seen, (byte, start, end)
            elif seen:
                assert start - before_span <= byte < end + after_span, (byte, start, end)


@pytest.mark.parametrize("case", ["image/pixels", "image/pixels/stem"], indirect=True)
def test_a_pixel_changes_the_token_that_spans_it(case):
    name, _, params, apply = case
    image = data_for(name, 1)
    tokens = apply(params, image)
    boxes = (np.asarray(tokens.spans[0]) * 32).round().astype(int)
    changed_rows = np.repeat(image, len(boxes), 0)
    for i, (y0, x0, y1, x1) in enumerate(boxes):
        changed_rows[i, (y0 + y1) // 2, (x0 + x1) // 2, 1] ^= 128
    after = np.asarray(apply(params, changed_rows).vectors)
    before = np.asarray(apply(params, np.repeat(image, len(boxes), 0)).vectors)
    changed = np.abs(after - before).max(-1) > 1e-7
    assert changed.diagonal().all()
    if name == "image/pixels":  # patches do not overlap
        assert (changed == np.eye(len(boxes), dtype=bool)).all()
    else:  # a stem's window is less than three tokens wide
        for i, j in np.argwhere(changed):
            assert np.abs(boxes[i] - boxes[j]).max() <= 8


@pytest.mark.parametrize("case", REACH, indirect=True)
def test_valid_tokens_do_not_depend_on_padding(case):
    name, _, params, apply = case
    data = data_for(name)
    before = apply(params, data)
    other = jax.tree.map(lambda x: x, params)
    other["params"]["table"] = other["params"]["table"].at[vocab.PAD].add(100.0)
    after = apply(other, data)
    valid = np.asarray(before.valid)
    assert valid.any() and not valid.all()
    np.testing.assert_array_equal(np.asarray(after.vectors)[valid], np.asarray(before.vectors)[valid])
    unpadded = other["params"]["table"].at[data[0, 0]].add(100.0)
    moved = apply({"params": other["params"] | {"table": unpadded}}, data)
    assert not np.allclose(np.asarray(moved.vectors)[valid], np.asarray(before.vectors)[valid])


def test_rows_do_not_depend_on_their_neighbours(case):
    name, _, params, apply = case
    data, others = data_for(name), data_for(name, seed=1)
    together = apply(params, data)
    for row in range(3):
        mixed = others.copy()
        mixed[2 - row] = data[row]  # in another place, among others
        found = apply(params, mixed)
        np.testing.assert_allclose(found.vectors[2 - row], together.vectors[row], atol=1e-6)
        assert row == 1 or not np.allclose(found.vectors[row], together.vectors[row], atol=1e-2)


TEXTS = ("a red bat", "배가 있다", "é배🍐a", "x", "🍐🍐🍐🍐🍐🍐")


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("text", TEXTS)
def test_units_of_characters_have_so_many_of_them(text, size):
    ids = vocab.padded(text.encode(), 24)
    found = np.asarray(unit_of_bytes(jnp.asarray(ids)[None], size, True))[0]
    expected = [i // size for i, character in enumerate(text) for _ in character.encode()]
    assert found[: len(expected)].tolist() == expected


@pytest.mark.parametrize("size", range(1, 9))
@pytest.mark.parametrize("text", TEXTS)
def test_units_of_bytes_hold_as_many_as_fit_and_split_no_character(text, size):
    ids = vocab.padded(text.encode(), 24)
    found = np.asarray(unit_of_bytes(jnp.asarray(ids)[None], size, False))[0]
    units, current = [], b""
    for character in text:  # greedily
        if current and len(current + character.encode()) > size:
            units.append(current)
            current = b""
        current += character.encode()
    units.append(current)
    assert found[: len(text.encode())].tolist() == [i for i, unit in enumerate(units) for _ in unit]
    assert all(unit.decode() for unit in units)
    config = TextConfig(embedder="units", max_bytes=24, unit=size, unit_of="bytes")
    assert len(units) <= config.units


@pytest.mark.parametrize("case", ["text/units", "text/units/bytes"], indirect=True)
def test_units_span_their_bytes_and_nothing_else_changes_them(case):
    _, _, params, apply = case
    data = np.stack([vocab.padded("a 배 bé".encode(), 24), vocab.padded("a 배 bè".encode(), 24)])
    tokens = apply(params, data)
    spans, valid = np.asarray(tokens.spans[0]).astype(int), np.asarray(tokens.valid)
    length = len("a 배 bé".encode())
    edges = spans[valid[0]]
    assert edges[0, 0] == 0 and edges[-1, 1] == length and (edges[1:, 0] == edges[:-1, 1]).all()
    different = np.abs(np.asarray(tokens.vectors[0] - tokens.vectors[1])).max(-1) > 1e-6
    assert different[valid[0]].tolist() == [end == length for _, end in edges]


def test_ngrams_are_of_the_bytes_that_end_there():
    text = np.array([list(b"abcabcab"), list(b"xbcabcab")], np.int32)
    for n in (2, 3):
        found = np.asarray(hash_ngrams(jnp.asarray(text), n, 4096))
        assert found.min() >= 0 and found.max() < 4096
        groups = {}
        for row in range(2):
            for i in range(8):
                gram = tuple(text[row, max(0, i - n + 1) : i + 1].tolist())
                groups.setdefault(gram, set()).add(int(found[row, i]))
        assert all(len(buckets) == 1 for buckets in groups.values())  # equal n-grams, equal buckets
        assert len({b for buckets in groups.values() for b in buckets}) == len(groups)  # and no collision among so few


@pytest.mark.parametrize(
    ("modality", "name"),
    [
        *(("text", name) for name in ("ngram", "words")),
        *(("image", name) for name in ("pixels", "resnet18", "vit", "file")),
    ],
)
def test_matrix_products_are_in_the_precision_asked_for(make_config, modality, name):
    changes = {"model.text.unimodal_layers": 0} if name == "words" else {}
    stem = 64 if name == "vit" else 8
    config = make_config({f"model.{modality}.embedder": name, "model.image.stem": stem} | changes).model
    module = embedder(modality, name)(config, jnp.dtype("bfloat16"))
    example = module.example(config)
    params = jax.eval_shape(module.init, jax.random.key(0), example)
    program = jax.make_jaxpr(module.apply)(params, example)
    products = [e for e in program.eqns if e.primitive.name in ("dot_general", "conv_general_dilated")]
    assert products and all(v.aval.dtype == jnp.bfloat16 for e in products for v in e.invars)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(params))


@EMBEDDERS.register("imu/windows")
class ImuWindows(nn.Module):
    """Six channels of int16 as bytes [L]: windows of ``window`` samples, one token each."""

    config: ModelConfig
    dtype: jnp.dtype

    @staticmethod
    def example(config):
        return jnp.zeros((1, config.others["imu"]["max_bytes"]), jnp.uint8)

    @nn.compact
    def __call__(self, imu):
        width, window = self.config.width, self.config.others["imu"]["window"]
        low, high = (rearrange(imu, "b (t w c two) -> two b t (w c)", w=window, c=6, two=2)).astype(jnp.int32)
        x = (low + 256 * (high - 256 * (high > 127))).astype(jnp.float32) / 8192
        x = x @ self.param("kernel", nn.initializers.normal(x.shape[-1] ** -0.5), (x.shape[-1], width))
        x = x + self.param("position", lambda key, shape: sincos(*shape), x.shape[1:])
        start = jnp.arange(x.shape[1], dtype=jnp.float32) * window
        spans = jnp.broadcast_to(jnp.stack([start, start + window], -1), (*x.shape[:2], 2))
        return Tokens(x, jnp.ones(x.shape[:2], bool), spans)


class Shaken:
    """Things shaken in one of 16 ways, and pictures in whose grey the way can be seen."""

    name = "shaken"

    def __len__(self):
        return 16

    def read(self, indices):
        time = np.arange(16)[:, None]
        return [
            Record(
                str(i),
                image=np.full((32, 32, 3), 16 * i, np.uint8),
                extra={
                    "imu": np.frombuffer(
                        (8000 * np.sin(time * (i + 1) / 5 + np.arange(6))).astype("<i2").tobytes(), np.uint8
                    )
                },
            )
            for i in map(int, indices)
        ]

    def manifest(self):
        return {"name": self.name}


def test_a_new_modality_is_one_registered_class(make_config):
    SOURCES.register("shaken")(lambda config, options, split: Shaken())
    config = make_config(
        {
            "data.source": "shaken",
            "objectives": {"contrast": options("contrast", first="image", second="imu")},
            "model.others": {"imu": {"embedder": "windows", "unimodal_layers": 1, "window": 4, "max_bytes": 192}},
            "optimizer.learning_rate": 3e-3,
            "steps": 20,
        }
    )
    objectives = make(config)
    streams = open_streams(config, features(objectives))
    batches = Batches(config, streams, slice(0, 8)).start(0)
    state = jax.jit(lambda: init(config))()
    step = jax.jit(lambda state, batch: update(config, objectives, state, batch))
    losses = []
    for batch in batches:
        assert batch["image_text"]["imu"].shape == (8, 192)
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    batches.close()
    assert len(losses) == 20 and np.isfinite(losses).all()
    assert losses[0] > 1.8  # chance among eight is log 8 = 2.08
    assert np.mean(losses[-4:]) < 0.7 * losses[0], losses


@pytest.mark.parametrize("stem", [0, 8])
@pytest.mark.parametrize("patch", [4, 8])
def test_where_the_middle_of_what_a_token_sees_lies(stem, patch):
    config = variant("image", stem=stem, patch=patch)
    module = embedder("image", "pixels")(config)
    shown = np.full((33, 32, 32, 3), 90, np.uint8)
    shown[np.arange(32), np.arange(32), np.arange(32)] = 200  # a pixel of the diagonal each, the last picture has none
    shown = jnp.asarray(shown)
    tokens = np.asarray(module.apply(module.init(jax.random.key(0), shown[:1]), shown).vectors)
    token = tokens[:, 1 + 32 // patch]  # the second of the second row
    seen = np.flatnonzero(np.abs(token[:-1] - token[-1]).max(-1))
    assert seen[0] == patch and (seen[0] + seen[-1] + 1) / 2 - 1.5 * patch == lean(config.image)
