"""Tests of what a library tells of objects and texts: its gates, its look-ups, and that no answer comes with them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import vocab
from xmjax.data.arrays import text_ids
from xmjax.data.playroom import Playroom
from xmjax.data.regions import boxes_array
from xmjax.data.source import picture_id, stable_id
from xmjax.errors import UserError
from xmjax.evaluation.run import check_apart
from xmjax.lexicon import library as libraries
from xmjax.models.library import manifest, mentioned, nearest, opened, standard_images, tables
from xmjax.models.regions import erased
from xmjax.objectives import make, options, total_loss
from xmjax.training.step import init, make_model

LENGTH = 48
COUNT = 4


@pytest.fixture(scope="module")
def records():
    return Playroom("train").read(range(60))


@pytest.fixture(scope="module")
def library(records):
    return libraries.build(records, 16)


@pytest.fixture(scope="module")
def path(library, tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "a.safetensors"
    library.save(path)
    return path


@pytest.fixture(scope="module")
def with_library(make_config, path):
    """Function from changes to the config of a tiny model with the library."""
    changes = {
        "model.library.path": str(path),
        "model.regions.count": COUNT,
        "model.text.max_bytes": LENGTH,
        "objectives": {"regions": options("regions"), "mask_predict": options("mask_predict", units=6)},
    }
    return lambda **others: make_config(changes | others)


@pytest.fixture(scope="module")
def config(with_library):
    return with_library()


@pytest.fixture(scope="module")
def params(config):
    return jax.jit(lambda: init(config))().params


@pytest.fixture(scope="module")
def open_params(params):
    """Parameters of which the gates are open."""
    gates = {name: jnp.ones_like(params["library"][name]) for name in ("object_gate", "text_gate")}
    return params | {"library": params["library"] | gates}


@pytest.fixture(scope="module")
def shown(records):
    """Pictures, boxes and origins of the records that the library is made of."""
    images = jnp.asarray(np.stack([r.image for r in records]))
    boxes = jnp.asarray(np.stack([boxes_array(r.regions, COUNT) for r in records]))
    return images, boxes, jnp.asarray(np.array([[stable_id(r.id), picture_id(r)] for r in records]))


def ids_of(*texts):
    return jnp.asarray(np.stack([text_ids(text, LENGTH) for text in texts]))


def test_closed_gates_are_the_model_without_a_library(with_library, params, config, batch_at):
    without = with_library(**{"model.library.path": ""})
    plain = jax.jit(lambda: init(without))().params
    others = {name: value for name, value in params.items() if name != "library"}
    jax.tree.map(np.testing.assert_array_equal, others, plain)
    batch = jax.tree.map(jnp.asarray, batch_at(config))

    def loss(config, params):
        model = make_model(config).bind({"params": params})
        return total_loss(make(config), model, batch, jnp.int32(0), jax.random.key(0))[0]

    value, gradient = jax.jit(jax.value_and_grad(lambda p: loss(config, p)))(params)
    assert float(value) == float(jax.jit(lambda p: loss(without, p))(plain))
    for gate in ("object_gate", "text_gate"):
        assert float(jnp.abs(gradient["library"][gate]).max()) > 0


@pytest.mark.parametrize(("side", "other"), [("objects", "texts"), ("texts", "objects")])
def test_open_gates_change_their_side_at_its_width(side, other, with_library, params, open_params, shown, library):
    config = with_library(**{f"model.library.{other}": False})
    model = make_model(config)
    image, boxes, origins = (x[:4] for x in shown)
    text = ids_of("nothing", *library.texts[:3])

    @jax.jit
    def both(params):
        bound = model.bind({"params": params})
        objects = bound.grounded(bound.encode("image", image), boxes, None, image, origins)
        return objects.vectors, bound.encode("text", text).vectors

    shut, opened = both(params), both(open_params)
    changed = [float(jnp.abs(a - b).max()) > 1e-3 for a, b in zip(shut, opened, strict=True)]
    assert changed == [side == "objects", side == "texts"]
    assert [x.shape[-1] for x in opened] == [config.model.width] * 2
    np.testing.assert_array_equal(shut[1][0], opened[1][0])  # a text without a standard text stays as it is


def test_the_nearest_crop_is_of_another_record_and_as_the_library_tells(library, records, shown):
    found, there = (np.asarray(x) for x in jax.jit(lambda *x: nearest(tables(library), *x))(*shown))
    same = []
    for i, record in enumerate(records):
        for k, region in enumerate(record.regions):
            assert there[i, k] and library.records[found[i, k]] != record.id
            crop = libraries.cut(record.image, region.box, 16)
            same.append(found[i, k] == library.nearest(crop[None], {record.id})[0])
    assert np.mean(same) > 0.7  # crops pass two sizes on their way into the library
    itself, _ = jax.jit(lambda *x: nearest(tables(library), *x, None))(*shown[:2])
    own = [library.records[itself[i, k]] == r.id for i, r in enumerate(records) for k in range(len(r.regions))]
    assert np.mean(own) > 0.9


@pytest.mark.parametrize("kind", [0, 1])
def test_what_a_record_or_its_picture_shows_does_not_reach_its_texts(library, kind):
    found = tables(library)
    whole = next(row for row in found.origins if np.sum(found.origins[:, 0] == row[0]) > 1)
    mine = found.origins[:, kind] == whole[kind]
    own = np.where(np.arange(2) == kind, whole, 12345)  # another record of the picture, or its picture cut otherwise
    at = jnp.asarray(found.text_of[mine][None])
    features = np.where(mine[:, None], 7, found.features).astype(np.float32)
    other = found._replace(features=features, total=found.total.copy())
    np.add.at(other.total, found.text_of[mine], (other.features - found.features)[mine])
    first, there = standard_images(found, at, jnp.array([own]))
    both, _ = standard_images(found, at, jnp.array([whole]))  # nothing is taken off twice
    np.testing.assert_allclose(first, both, atol=1e-5)
    second, _ = standard_images(other, at, jnp.array([own]))
    np.testing.assert_allclose(first, second, atol=1e-4)
    for k, text in enumerate(found.text_of[mine]):
        rows = (found.text_of == text) & ~mine
        assert bool(there[0, k]) == rows.any()
        if rows.any():
            np.testing.assert_allclose(first[0, k], found.features[rows].mean(0), atol=1e-4)
    assert np.abs(standard_images(found, at, None)[0] - first).max() > 1e-3


def test_where_all_crops_are_the_records_own_nothing_is_found(records, shown):
    alone = tables(libraries.build(records[:1], 16))
    image, boxes, own = (x[:1] for x in shown)
    assert nearest(alone, image, boxes, None)[1].all()
    for origins in (own, own.at[:, 0].add(1), own[:, :1], own.at[:, 1].add(1)):
        assert not nearest(alone, image, boxes, origins)[1].any()
        assert not standard_images(alone, jnp.zeros((1, 1), int), origins)[1].any()
    assert nearest(alone, image, boxes, own + 1)[1].all()


def test_standard_texts_are_found_as_the_library_finds_them(library, records):
    texts = [c.text for r in records for c in r.captions if c.language == "en" and len(c.text) <= LENGTH]
    texts += [library.texts[0].upper() + ", " + library.texts[1] + "s", library.texts[2]]
    found = np.asarray(jax.jit(lambda x: mentioned(tables(library), x.astype(jnp.int32)))(ids_of(*texts)))
    some = 0
    for text, row in zip(texts, found, strict=True):
        expected = np.full(LENGTH, -1)
        for index, first, end in library.mentioned(text):
            expected[first:end], some = index, some + 1
        assert row.tolist() == expected.tolist(), text
    assert some > 20


def test_padding_between_words_parts_no_standard_text(library, records):
    texts = [caption.text for record in records[:8] for caption in record.captions]
    plain = [text_ids(text, LENGTH) for text in texts]
    apart = np.full((len(texts), 2 * LENGTH), vocab.PAD, np.int32)  # three bytes before each space
    place = np.arange(LENGTH) + np.array([3 * np.cumsum(ids == ord(" ")) for ids in plain])
    np.put_along_axis(apart, place, np.array(plain, np.int32), 1)
    find = jax.jit(lambda ids: mentioned(tables(library), ids))
    found = np.asarray(find(jnp.array(plain, jnp.int32)))
    assert (found >= 0).any()
    np.testing.assert_array_equal(np.take_along_axis(np.asarray(find(jnp.asarray(apart))), place, 1), found)


def test_nothing_is_found_of_a_masked_word_nor_beside_a_masked_byte():
    made = tables(libraries.Library(
        ("a", "red cup", "cup"), np.zeros((3, 4, 4, 3), np.uint8), np.arange(3, dtype=np.int32), ("1", "2", "3"),
        np.zeros(3, np.int32),
    ))  # fmt: skip
    ids = np.array(ids_of("red cup, cup", "red cup, cup", "red cup, cup"))
    ids[1, 6], ids[2, 7], ids[0, 9:12] = vocab.MASK, vocab.MASK, [vocab.sentinel(0), vocab.PAD, vocab.PAD]
    found = np.asarray(mentioned(made, jnp.asarray(ids).astype(jnp.int32)))
    assert found[0].tolist() == [1] * 7 + [-1] * (LENGTH - 7)
    for row in found[1:]:
        assert (row[:9] == -1).all() and row[9:12].tolist() == [2] * 3


def test_what_is_masked_changes_nothing_with_open_gates(config, params, open_params, shown, library):
    """Neither an erased object nor a masked text tells itself through the library."""
    model = make_model(config)
    image, boxes, origins = (x[:8] for x in shown)
    masked = jnp.zeros(boxes.shape[:2], bool).at[:, 0].set(True)
    noise = jax.random.randint(jax.random.key(0), image.shape, 0, 256).astype(jnp.uint8)
    inside = (erased(image, boxes, masked) != image) | (erased(noise, boxes, masked) != noise)
    hidden = jnp.where(inside, noise, image)  # another object in the box
    assert (hidden != image).any()

    @jax.jit
    def grounded(params, image):
        bound, left = model.bind({"params": params}), erased(image, boxes, masked)
        found = bound.library.standard_texts(left, boxes, masked, origins)[1]
        return bound.grounded(bound.encode("image", left), boxes, masked, left, origins).vectors, found

    (first, found), (second, _) = grounded(open_params, image), grounded(open_params, hidden)
    np.testing.assert_array_equal(first, second)
    assert not found[:, 0].any() and found.any()

    encode = jax.jit(lambda p, ids: model.bind({"params": p}).encode("text", ids, origins[:2]).vectors)
    ids = ids_of(f"a {library.texts[0]} there", f"a {library.texts[1]} there")
    spans = [slice(2, 2 + len(text)) for text in library.texts[:2]]
    blank = np.array(ids)
    for row, span in zip(blank, spans, strict=True):
        row[span] = vocab.MASK
    masked_text = jnp.asarray(blank)
    np.testing.assert_array_equal(encode(open_params, masked_text), encode(params, masked_text))  # as if without
    assert np.abs(encode(open_params, ids) - encode(params, ids)).max() > 1e-3


def test_what_cannot_work_is_one_line(with_library, make_config, config, records, tmp_path):
    (tmp_path / "broken").write_bytes(b"nothing")
    libraries.build([], 8).save(tmp_path / "empty")
    for name, message in (("broken", "cannot be read"), ("none", "prepare.py library"), ("empty", "no crops")):
        with pytest.raises(UserError, match=message):
            opened(str(tmp_path / name))
    with pytest.raises(UserError, match="nothing is looked up"):
        with_library(**{"model.library.texts": False, "model.library.objects": False})
    with pytest.raises(UserError, match="other"):
        with_library(**{"model.image.embedder": "file"})
    check_apart(config, Playroom("val").read(range(5)))
    with pytest.raises(UserError, match="holds the same records out"):
        check_apart(config, records[:1])
    with pytest.raises(UserError, match="crops of 1 held-out pictures"):
        check_apart(config, [dataclasses.replace(records[0], id="another of the same picture")])
    assert manifest(config)["library"] == opened(config.model.library.path).digest
    libraries.build(records, 8, seen="64 px, crop").save(tmp_path / "larger")
    with pytest.raises(UserError, match="knows pictures as 64 px, crop, and this run reads them as 32 px, stretch"):
        manifest(with_library(**{"model.library.path": str(tmp_path / "larger")}))
