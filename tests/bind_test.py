"""Tests of further modalities: their signals, their embedders, binding, missing ones, and what is scored of them."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.base import get_config as base_config
from configs.bind import further
from configs.bind import get_config as bind_config
from xmjax import config as config_module
from xmjax import sharding
from xmjax.data import playroom
from xmjax.data.playroom import SIGNALS, Playroom
from xmjax.data.playroom.world import extent
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS
from xmjax.evaluation.emergent import agreement, trained_pairs
from xmjax.evaluation.retrieval import recalls
from xmjax.evaluation.run import first_records
from xmjax.evaluation.subsets import MISSING
from xmjax.model_api import Model
from xmjax.models.signals import embedder
from xmjax.objectives import OBJECTIVES, make, options, total_loss
from xmjax.objectives.base import focused
from xmjax.scores import lower_is_better
from xmjax.training import flops, weights
from xmjax.training.step import init, make_model, of_modality


@pytest.fixture(scope="module")
def bound(make_sound_config):
    """Function from changes to the config of a tiny model of seven modalities."""
    others = further(bind_config("smoke"))
    others = {m: o | ({"patch": 16, "stem": 0} if o["embedder"] == "plane" else {}) for m, o in others.items()}
    names = ("audio", *sorted(others))
    changes = {
        "model.others": others,
        "objectives": {"contrast": options("contrast"), "bind": options("bind", modalities=names)},
        "evaluation.samples": 12, "evaluation.pool": 12, "evaluation.batch_size": 12,
    }  # fmt: skip
    return lambda **more: make_sound_config(changes | more)


@pytest.fixture(scope="module")
def config(bound):
    return bound()


@pytest.fixture(scope="module")
def params(config):
    return jax.jit(lambda: init(config).params)()


@pytest.fixture(scope="module")
def batch(batch_at, config):
    return jax.tree.map(jnp.asarray, batch_at(config))


def test_a_stream_has_what_is_read_of_it(bound, batch_at):
    arrays = batch_at(bound(**{"data.further": False}))
    assert not arrays["image_text"].keys() & SIGNALS.keys() and arrays["frame_audio"].keys() >= SIGNALS.keys()


def test_signals_follow_from_the_index_and_change_nothing_else():
    plain, rich = Playroom("val", seconds=0.25), Playroom("val", seconds=0.25, further=tuple(SIGNALS))
    for before, record in zip(plain.read(range(30)), rich.read(range(30)), strict=True):
        assert before.truth == record.truth and before.captions == record.captions and not before.extra
        np.testing.assert_array_equal(before.audio, record.audio)
        assert set(record.extra) == set(SIGNALS) and all(x.dtype == np.uint8 for x in record.extra.values())
    alone = Playroom("val", seconds=0.25, further=("tags",)).read([7])[0]
    np.testing.assert_array_equal(alone.extra["tags"], rich.read([7])[0].extra["tags"])
    assert plain.manifest() != rich.manifest()
    with pytest.raises(ValueError, match="unknown signal 'smell'"):
        Playroom(further=("smell",))


def test_signals_tell_what_they_are_said_to_tell():
    def told(name, kind="cup", color="red"):
        height, width = extent(kind, "big", 32)
        toy = playroom.Toy(kind, color, "big", (4, 2, 4 + height, 2 + width))
        scene = playroom.Scene((toy,), None, "easy", 32, (99, 99, 99), 0)
        return SIGNALS[name](scene, np.random.default_rng(0)).astype(int)

    np.testing.assert_array_equal(told("depth"), told("depth", color="blue"))
    assert np.abs(told("depth") - told("depth", kind="pear")).max() > 50
    # The toy's middle is as warm as its colour; behind it the ground is cold.
    assert told("thermal")[11, 9] > 200 and told("thermal", color="white")[11, 9] < 80 and told("thermal")[28, 28] < 40
    for name in ("inertial", "tags"):
        assert all((told(name) != told(name, **{f: v})).any() for f, v in (("kind", "pear"), ("color", "blue")))
    sent = told("tags").reshape(-1, 3)
    assert (sent[0] > 0).all() and not sent[1:].any()


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("image", {}, "means something else"),
        ("depth", {"embedder": None}, "must name its embedder"),
        ("depth", {"embedder": "nose"}, "choose plane, series or bytes, or register one"),
        ("depth", {"sise": 3}, "its fields are embedder, unimodal_layers, size, patch, stem, table"),
        ("depth", {"patch": 5}, "must divide size=32"),
        ("depth", {"patch": 0}, "whole number above 0"),
        ("depth", {"unimodal_layers": -1}, "must be a whole number"),
        ("motion", {"embedder": "series", "length": 30, "channels": 2, "patch": 2}, "must be a multiple of 8"),
        ("tags", {"embedder": "bytes", "length": 16, "patch": 3}, "must be a multiple of 3"),
    ],
)
def test_what_a_further_modality_must_say(make_config, name, changes, message):
    plane = {"size": 32, "patch": 8, "stem": 0, "table": 4}
    fields = {"embedder": "plane", "unimodal_layers": 1} | (plane if changes.get("embedder") in (None, "nose") else {})
    fields = {field: value for field, value in (fields | changes).items() if value is not None}
    with pytest.raises(UserError, match=message):
        make_config({"model.others": {name: fields}})


@pytest.mark.parametrize("others", [("smell",), ("image",), ("text",), ("depth", "depth")])
def test_fill_reads_modalities_that_there_are_once(bound, others):
    with pytest.raises(UserError, match=r"objectives\.fill\.others"):
        bound(objectives={"fill": options("fill", others=others)})


@pytest.mark.parametrize("modality", ["depth", "inertial", "tags"])
def test_an_embedder_serves_a_modality_of_any_name_and_is_counted(config, modality):
    options_ = config.model.modalities[modality]
    module = embedder(modality, options_.embedder)(config.model)
    example = module.example(config.model)
    tokens, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), example)
    assert tokens.vectors.shape == (1, flops.tokens(config.model, modality), config.model.width)
    assert flops.encode(config.model, modality) > 0
    with pytest.raises(UserError, match=f"rows of {modality} have the shape"):
        jax.eval_shape(module.init, jax.random.key(0), example[:, :-1])


def test_every_modality_is_learned_and_no_two_of_the_others_are_compared(config, params, batch):
    objectives = make(config)

    def loss(params, batch):
        return total_loss(
            objectives, make_model(config).bind({"params": params}), batch, jnp.int32(0), jax.random.key(0)
        )

    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, metrics), gradient = run(params, batch)
    for m in (*config.model.others, "audio"):
        assert np.isfinite(metrics[f"bind/{m}/loss"]) and float(metrics[f"bind/{m}/weight"]) == pytest.approx(1 / 5)
        assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient[f"embedders_{m}"])) > 0
    # Depths of other scenes change what depth has to do with pictures, and nothing that warmth has.
    frames = batch["frame_audio"]
    other = {**batch, "frame_audio": {**frames, "depth": jnp.roll(frames["depth"], 1, 0)}}
    (_, after), _ = run(params, other)
    moved = {
        m for m in (*config.model.others, "audio") if float(after[f"bind/{m}/loss"]) != float(metrics[f"bind/{m}/loss"])
    }
    assert moved == {"depth"}


def test_what_is_learned_least_counts_most():
    losses = {"a": jnp.float32(2.0), "b": jnp.float32(1.0)}
    even = focused(losses, (), 0.0)
    assert float(even["a"]) == float(even["b"]) == 0.5
    given = focused(losses, (3.0, 1.0), 0.0)
    assert float(given["a"]) == pytest.approx(0.75)
    raised = focused(losses, (), 2.0)
    assert float(raised["a"]) == pytest.approx(0.8) and float(raised["b"]) == pytest.approx(0.2)
    there = focused(losses, (), 2.0, {"a": jnp.bool_(False), "b": jnp.bool_(True)})
    assert float(there["a"]) == 0 and float(there["b"]) == 1
    assert float(jnp.abs(jax.grad(lambda x: focused({"a": x, "b": x * 0}, (), 1.0)["a"])(1.0))) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modalities": ()}, "is empty"),
        ({"modalities": ("smell",)}, r"bind\.modalities='smell'"),
        ({"modalities": ("depth", "image")}, "not what to is"),
        ({"modalities": ("depth", "depth")}, "name each once"),
        ({"modalities": ("depth",), "loss": "ranking"}, "choose infonce or sigmoid"),
        ({"modalities": ("depth", "text")}, "several to a record"),
        ({"modalities": ("depth", "tags"), "weights": (0.0, 0.0)}, "nor all weights zero"),
        ({"modalities": ("depth", "tags"), "weights": (1.0,)}, "1 numbers for 2"),
        ({"modalities": ("depth",), "focus": -1.0}, "must not be negative"),
    ],
)
def test_what_cannot_be_bound_is_told(bound, changes, message):
    with pytest.raises(UserError, match=message):
        make(bound(objectives={"bind": options("bind", **changes)}))


def test_emergent_pairs_are_those_that_no_objective_shows_together(config, params):
    mesh = sharding.make_mesh(config.mesh)
    records, _ = first_records(Playroom("val"), 12)
    scores = EVALUATORS["emergent"](config, mesh, records)(params).scores
    pairs = {tuple(name.split("/")[1].split("_to_")) for name in scores}
    assert len(pairs) == 30 and not any("image" in pair for pair in pairs)
    assert {frozenset(p) for p in pairs}.isdisjoint(trained_pairs(config))
    # Captions of a sound would pair it with texts, and what fill reads together is paired too.
    more = {"caption": options("caption", modality="audio"), "fill": options("fill", others=("depth",))}
    shown = trained_pairs(
        dataclasses.replace(config, objectives={n: OBJECTIVES[n].Options(**o) for n, o in more.items()})
    )
    assert shown == {
        frozenset(p) for p in (("text", "audio"), ("text", "image"), ("text", "depth"), ("image", "depth"))
    }
    for pair in ("text_to_audio", "tags_to_inertial"):
        assert scores[f"emergent/{pair}/R@1/random"] == pytest.approx(1 / 12)
        assert 0 <= scores[f"emergent/{pair}/R@1"] <= 1 and scores[f"emergent/{pair}/n"] == 12
        assert scores[f"emergent/{pair}/R@10/oracle"] > 0.9


def test_a_loaded_model_embeds_them(config, params):
    records = Playroom("val", seconds=0.25, further=tuple(SIGNALS)).read(range(3))
    model = Model(config, params)
    found = {m: model.embed(**{m: [r.extra[m] for r in records]}) for m in ("depth", "tags")}
    assert all(x.shape == (3, config.model.embedding) for x in found.values())
    np.testing.assert_allclose(model.embed(tags=records[1].extra["tags"]), found["tags"][1:2], atol=1e-5)
    with pytest.raises(UserError, match="no modality 'smell' here"):
        model.embed(smell=records[0].extra["tags"])
    with pytest.raises(UserError, match="give one of them"):
        model.embed(text="a cup", depth=records[0].extra["depth"])


def test_the_oracle_reads_what_sound_and_warmth_tell_of_places():
    records = Playroom("val", seconds=0.25).read(range(120))
    for pair, least in ((("audio", "depth"), 0.8), (("thermal", "tags"), 0.9), (("audio", "thermal"), 0.25)):
        assert recalls([agreement(records, *pair)])["R@1"] > least, pair


def test_who_knows_what_two_modalities_tell_finds_the_scene():
    records = Playroom("val", seconds=0.25).read(range(40))
    for pair in (("depth", "thermal"), ("audio", "inertial"), ("text", "tags"), ("tags", "thermal")):
        agreed = agreement(records, *pair)
        assert agreed.diagonal().all() and agreed.mean() < 0.5
        np.testing.assert_array_equal(agreed, agreement(records, *pair[::-1]).T)


@pytest.mark.slow
def test_fill_reads_every_subset(make_config, batch_at):
    known = further(bind_config("smoke"))
    others = {m: known[m] | {"patch": 16, "stem": 0} for m in ("depth", "thermal")}
    config = make_config({
        "model.others": others, "evaluation.samples": 12, "evaluation.batch_size": 12,
        "objectives": {"fill": options("fill", others=("depth", "thermal"), drop=0.5)},
    })  # fmt: skip
    params = jax.jit(lambda: init(config).params)()
    batch = jax.tree.map(jnp.asarray, batch_at(config))

    def loss(params):
        model = make_model(config).bind({"params": params})
        return total_loss(make(config), model, batch, jnp.int32(0), jax.random.key(0))[0]

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(float(value))
    for name in ("embedders_depth", "embedders_thermal", "embedders_image", "absent_depth", "absent_image"):
        assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient[name])) > 0, name
    source = Playroom("val", further=("depth", "thermal"))
    evaluator = EVALUATORS["subsets"](config, sharding.make_mesh(config.mesh), source.read(range(12)))
    scores = evaluator(params).scores
    assert len([name for name in scores if "/" in name]) == 8 + 6 + 9
    oracle = {arm: scores[f"subsets/{arm}/oracle"] for arm in evaluator.arms}
    assert oracle["image"] == oracle["image+depth+thermal"] == 1.0
    assert oracle["text_alone"] == pytest.approx(scores["subsets/chance"]) and oracle["depth"] < 1
    # Depth tells no colours and warmth no kinds: only of words of place do all three tell.
    kinds = np.array([item.kind for item in evaluator.items])
    assert evaluator.shared.tolist() == np.isin(kinds, ("place", "relation")).tolist()
    assert 0 <= scores["subsets/gap/unimodal"] <= 1 and lower_is_better("playroom/subsets/gap/unimodal")
    missing = evaluator.arms[f"missing_{MISSING:.0%}".rstrip("%")]
    assert set(missing) == {"image", "depth", "thermal"}
    assert evaluator.arms["image"]["depth"].all() and not evaluator.arms["image"]["image"].any()
    assert scores["subsets/n"] == len(evaluator.items) > 0
    # A loaded model fills in from the same subsets.
    loaded, rows = Model(config, params), slice(0, 3)
    given = {m: list(evaluator.data[m][rows]) for m in ("depth", "thermal")}
    pictures = [item.record.image for item in evaluator.items[rows]]
    texts = [item.caption.text for item in evaluator.items[rows]]
    words = [t.encode()[i.word.start : i.word.end].decode() for t, i in zip(texts, evaluator.items[rows], strict=True)]
    for arm, shown in (("image+depth+thermal", given), ("image+depth", {"depth": given["depth"]})):
        nats = evaluator.run(params, evaluator.data, evaluator.masked, evaluator.sequences, evaluator.arms[arm])
        for i, item in enumerate(evaluator.items[rows]):
            mine = {m: x[i] for m, x in shown.items()}
            found = dict(loaded.fill(texts[i], pictures[i], words[i], item.candidates, **mine))
            odds = np.exp(nats[i].min() - nats[i][: len(item.candidates)])
            np.testing.assert_allclose([found[word] for word in item.candidates], odds / odds.sum(), atol=1e-5)
    asked = ["a ___ cup"] * 3
    blind = loaded.fill(asked, candidates=("red", "big"), depth=given["depth"])
    assert len(blind) == 3 and blind != loaded.fill(asked, candidates=("red", "big"))
    with pytest.raises(UserError, match="leave smell out"):
        loaded.fill(asked[0], smell=given["depth"][0])
    with pytest.raises(UserError, match="depth has the shape"):
        loaded.fill(asked[0], candidates=("red", "big"), depth=np.zeros(3, np.uint8))


def test_a_focus_raises_captions_of_what_is_learned_least_alone(make_config):
    changes = {"model.others": {"tags": further(bind_config("smoke"))["tags"]}}
    fill = {"others": ("tags",), "drop": 0.3}

    def weights(focus, losses, absent):
        config = make_config(changes | {"objectives": {"fill": options("fill", **fill, focus=focus)}})
        found, metrics = make(config)["fill"]._by_modality(jnp.asarray(losses), jax.tree.map(jnp.asarray, absent))
        return np.asarray(found), metrics

    absent = {"image": np.array([0, 0, 0, 1, 1, 1], bool), "tags": np.array([0, 1, 1, 0, 0, 1], bool)}
    losses = np.array([9.0, 0.5, 0.7, 0.1, 0.3, 8.0], np.float32)  # both, picture, picture, tags, tags, none
    found, metrics = weights(0.0, losses, absent)
    np.testing.assert_allclose(found, 1)
    assert float(metrics["alone/image/nats_per_byte"]) == pytest.approx(0.6)
    assert float(metrics["alone/tags/nats_per_byte"]) == pytest.approx(0.2)
    found, _ = weights(1.0, losses, absent)
    np.testing.assert_allclose(found, [1, 1.5, 1.5, 0.5, 0.5, 1], rtol=1e-5)
    gone = {"image": absent["image"], "tags": np.ones(6, bool)}  # no tags alone in this batch
    found, _ = weights(1.0, losses, gone)
    np.testing.assert_allclose(found, 1, rtol=1e-5)
    for bad in ({"focus": -1.0}, {"focus": 1.0, "others": ()}, {"focus": 1.0, "drop": 0.0}):
        with pytest.raises(UserError, match="focus"):
            make(make_config(changes | {"objectives": {"fill": options("fill", **fill | bad)}}))


def test_gradients_are_counted_by_modality(config, params):
    parts = {m: of_modality(params, m) for m in config.model.modalities}
    assert all(f"embedders_{m}" in part and f"towers_{m}" in part for m, part in parts.items())
    assert not any(set(a) & set(b) for m, a in parts.items() for n, b in parts.items() if m != n)
    assert set(params) - set().union(*parts.values()) == {"decoder", "fusion", "log_scale", "similarity_bias"}


def test_an_ensemble_multiplies_what_each_tells_beside_the_text():
    evaluator = object.__new__(EVALUATORS["subsets"])
    evaluator.modalities = ("a", "b")
    own = {"a": [0.6, 0.3, 0.1], "b": [0.2, 0.7, 0.1], "text_alone": [0.5, 0.25, 0.25]}
    nats = {name: np.array([[*-np.log(p), np.inf]]) for name, p in own.items()}
    found = evaluator._ensemble(nats)
    expected = -np.log([0.6 * 0.2 / 0.5, 0.3 * 0.7 / 0.25, 0.1 * 0.1 / 0.25])
    np.testing.assert_allclose(found[0, :3], expected, rtol=1e-6)
    assert found[0, 3] == np.inf


def test_the_configs_are_what_they_say():
    config = config_module.build(bind_config())
    assert len(config.model.modalities) == 7
    assert len(trained_pairs(config)) == 6 and all("image" in pair for pair in trained_pairs(config))


def test_binding_can_begin_with_all_of_the_base_run():
    here, there = (
        jax.eval_shape(lambda c=c: init(config_module.build(c)).params) for c in (bind_config(), base_config())
    )
    shapes, given = ({n: x.shape for n, x in weights._named(p).items()} for p in (here, there))
    assert given.keys() <= shapes.keys() and all(shapes[name] == shape for name, shape in given.items())


def test_a_deeper_run_begins_as_the_one_it_begins_with(make_config, monkeypatch):
    """Layers that are added write nothing until they have learned something, and can learn."""
    shallow, deep = (make_config({"model.decoder_layers": layers}) for layers in (1, 3))
    given, drawn = (jax.jit(lambda c=c: init(c).params)() for c in (shallow, deep))
    monkeypatch.setattr(weights.inference, "read_config", lambda workdir: shallow)
    monkeypatch.setattr(weights.inference, "restore", lambda *_: (SimpleNamespace(used=given), 7))
    found, told = weights.read_run(Path("runs/shallow"), drawn)
    assert told["reshaped"] == told["missing"] == told["unused"] == []
    assert "decoder/stack/cross_out" in told["deepened"] and "13 deepened" in weights.summary(told)
    text, memory = jnp.arange(6, dtype=jnp.int32).reshape(1, 1, 6), jnp.ones((1, 4, 16))

    def logits(config, params):
        return make_model(config).bind({"params": params}).decode(text, memory, jnp.ones((1, 4), bool))

    begun = weights.placed(drawn, found)
    np.testing.assert_allclose(logits(deep, begun), logits(shallow, given), atol=1e-5)
    gradient = jax.grad(lambda params: jnp.sum(jnp.sin(logits(deep, params))))(begun)
    assert (jnp.abs(gradient["decoder"]["stack"]["cross_out"]).max((1, 2, 3)) > 0).all()


def test_a_run_of_other_sizes_is_no_beginning(config, monkeypatch):
    params = jax.eval_shape(lambda: init(config).params)
    wider = jax.tree.map(lambda x: np.zeros((*x.shape[:-1], 2 * x.shape[-1]) if x.shape else (), np.float32), params)
    monkeypatch.setattr(weights.inference, "read_config", lambda workdir: config)
    monkeypatch.setattr(weights.inference, "restore", lambda *_: (SimpleNamespace(used=wider), 7))
    with pytest.raises(UserError, match="begin with a run of the same sizes"):
        weights.read_run(Path("runs/wide"), params)
