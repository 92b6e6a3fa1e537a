"""Tests of labels as texts: prompts, zero-shot classification, tags both ways, and both of a model in use."""

import itertools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from xmjax import sharding
from xmjax.config import MeshConfig
from xmjax.data import playroom
from xmjax.data.folder import Folder
from xmjax.data.source import Caption, Record, Region
from xmjax.errors import UserError
from xmjax.evaluation.prompts import label_vectors, prompts, tag_probabilities
from xmjax.evaluation.tags import (
    TagsEvaluator,
    average_precision,
    known_tags,
    mean_average_precision,
    playroom_tags,
    scene_tags,
)
from xmjax.evaluation.zero_shot import ZeroShotEvaluator, look_name
from xmjax.model_api import Model
from xmjax.objectives import options

RECORDS = playroom.Playroom("val").read(range(40))


@pytest.fixture(scope="module")
def config(make_config):
    return make_config({"model.text.max_bytes": 64, "evaluation.samples": 40, "evaluation.batch_size": 60})


@pytest.fixture(scope="module")
def mesh():
    return sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])


@pytest.fixture(scope="module")
def zero_shot(config, mesh):
    return ZeroShotEvaluator(config, mesh, [])


def naive_precision(scores: np.ndarray, right: np.ndarray) -> float:
    """Average precision without ties, by two loops."""
    total = 0.0
    for i in np.flatnonzero(right):
        above = [j for j in range(len(scores)) if scores[j] >= scores[i]]
        total += sum(right[j] for j in above) / len(above)
    return total / right.sum()


def test_average_precision_is_that_of_the_loops():
    rng = np.random.default_rng(0)
    for size in range(1, 30):
        scores, right = rng.permutation(size).astype(float), rng.random(size) < 0.4
        right[rng.integers(size)] = True
        assert average_precision(scores, right) == pytest.approx(naive_precision(scores, right))


def test_ties_count_as_the_mean_over_their_orders():
    rng = np.random.default_rng(1)
    for size in range(1, 6):
        for _ in range(10):
            scores, right = rng.integers(0, 3, size).astype(float), rng.random(size) < 0.5
            right[0] = True
            orders = [np.array(o) for o in itertools.permutations(range(size))]  # breaks ties in every way
            broken = [naive_precision(scores + 1e-3 * o, right) for o in orders]
            assert average_precision(scores, right) == pytest.approx(np.mean(broken))


def test_one_score_for_all_has_the_precision_of_chance():
    rng = np.random.default_rng(2)
    right = np.arange(20) < 6
    drawn = [average_precision(rng.random(20), right) for _ in range(4000)]
    assert average_precision(np.zeros(20), right) == pytest.approx(np.mean(drawn), abs=0.01)
    rows = np.array([right, np.zeros(20, bool)])
    assert mean_average_precision(np.zeros((2, 20)), rows) == average_precision(np.zeros(20), right)  # none: left out


def test_templates_are_captions_of_the_playroom():
    for kind, color, language in itertools.product(playroom.KINDS, playroom.COLORS, playroom.LANGUAGES):
        text, name = playroom.label(kind, color, language), playroom.NAMES[language][kind]
        for alone in (True, False):
            said = [
                playroom.compose(
                    playroom.Meaning((playroom.Phrase(name, color, s),), alone=alone), language, "one"
                ).text
                for s in playroom.SIZES
            ]
            assert [t.replace("{}", text) for t in playroom.templates(text, alone)] == said


def test_training_shows_and_tells_no_held_out_combination(zero_shot, config):
    held_out = {look_name(config, *look) for look in playroom.HELDOUT}
    assert {name for _, name in zero_shot.items["model"]} <= held_out
    assert not {name for _, name in zero_shot.items["seen"]} & held_out
    for grade in ("easy", "cluttered", "single"):
        for record in playroom.Playroom("train", grade).read(range(500)):
            assert not {(toy.kind, toy.color) for toy in record.truth.toys} & playroom.HELDOUT
            for kind, color in playroom.HELDOUT:  # no caption of training is one of a held-out toy and its own name
                own = [
                    t
                    for t in playroom.LANGUAGES
                    if list(playroom.NAMES[t].values()).count(playroom.NAMES[t][kind]) == 1
                ]
                for language in own:
                    text = playroom.label(kind, color, language)
                    assert not any(text in c.text for c in record.captions if c.language == language)


def test_zero_shot_reads_the_texts_of_labels(zero_shot, config, mesh, make_config):
    assert len(zero_shot.labels) == 120 and set(map(len, zero_shot.labels.values())) == {6}
    names = list(zero_shot.labels)
    vectors = np.eye(len(names))
    answers = {key: vectors[[names.index(name) for _, name in items]] for key, items in zero_shot.items.items()}

    def shown(of):
        return lambda params, image: of("model" if image is zero_shot.image["model"] else "seen")

    def read(params, texts):
        """A text is all labels that it stands for, two of them where it names a homograph."""
        return np.array([[float(text in own) for own in zero_shot.labels.values()] for text in texts])

    zero_shot.read, zero_shot.see = read, shown(lambda key: answers[key])
    scores = zero_shot(None).scores
    for name in ("model", "seen", "model/oracle", "seen/oracle", "by_attribute/color", "by_attribute/kind"):
        assert scores[f"zero_shot/{name}"] == 1
    assert scores["zero_shot/n"] == 40 and scores["zero_shot/chance"] == pytest.approx(1 / 120)
    assert 0 <= scores["zero_shot/model/most_frequent"] < 0.5
    zero_shot.see = shown(lambda key: np.zeros_like(answers[key]))
    scores = zero_shot(None).scores
    assert scores["zero_shot/model"] == pytest.approx(scores["zero_shot/chance"])
    for name, chance in (("color", 1 / 6), ("kind", 1 / 20)):
        found = scores[f"zero_shot/by_attribute/{name}"]
        assert found == pytest.approx(chance) == scores[f"zero_shot/by_attribute/{name}/chance"]
    # In English alone two senses of a homograph are one label.
    english = make_config({"data.languages": ("en",), "evaluation.samples": 4})
    names = set(playroom.NAMES["en"].values())
    assert len(ZeroShotEvaluator(english, mesh, []).labels) == 6 * len(names)


def test_the_evaluators_run_on_a_model(config, mesh, tiny_params, make_config):
    records, small = RECORDS[:8], make_config({"evaluation.samples": 8, "evaluation.batch_size": 60})
    for cls, names in (
        (ZeroShotEvaluator, ("model", "seen")),
        (TagsEvaluator, ("image_to_tag_mAP", "tag_to_image_mAP")),
    ):
        evaluator = cls(small, mesh, records)
        scores = evaluator(tiny_params).scores
        assert all(0 <= scores[f"{next(iter(scores)).split('/')[0]}/{name}"] <= 1 for name in names)


def test_tags_of_the_playroom(config, mesh):
    evaluator = TagsEvaluator(config, mesh, RECORDS)
    assert set(evaluator.tags) == set(playroom_tags(config)) and len(evaluator.tags) == 26
    assert "bat / 방망이" in scene_tags(config, playroom.Scene(
        (playroom.Toy("bat_club", "red", "big", (0, 0, 9, 9)),), None, "easy", 32, (0, 0, 0), 0
    ))  # fmt: skip
    # "a bat" is said of two kinds, and stands for neither; of its colour it tells all the same.
    assert "작은 빨간 방망이가 있다" in evaluator.tags["bat / 방망이"]
    assert not any("bat" in text for text in evaluator.tags["bat / 방망이"])
    assert "there is a small red cup" in evaluator.tags["cup / 컵"]
    assert "작은 빨간 방망이가 있다" in evaluator.tags["red / 빨간"]
    width, tags = len(evaluator.tags), list(evaluator.tags)
    colored = {
        f"{en} / {playroom.NAMES_OF_COLORS['ko'][color]}" for color, en in playroom.NAMES_OF_COLORS["en"].items()
    }
    kinds = {text: i for i, tag in enumerate(tags) for text in evaluator.tags[tag] if tag not in colored}
    colors = {text: i for i, tag in enumerate(tags) for text in evaluator.tags[tag] if tag in colored}

    def read(params, texts):
        """A text is what it tells: its kind and its colour."""
        return sum(np.eye(width + 1)[[known.get(t, width) for t in texts]][:, :width] for known in (kinds, colors))

    def see(params, image):
        """A picture is near to a text as far as both of what it tells are there."""
        return evaluator.right.astype(float)

    evaluator.read, evaluator.see, evaluator.scale = read, see, lambda params, rows: np.full(len(rows), 9.0)
    scores = evaluator(None).scores
    assert scores["tags/n"] == 40
    for way in ("image_to_tag_mAP", "tag_to_image_mAP"):
        assert scores[f"tags/{way}"] == scores[f"tags/{way}/oracle"] == 1
        assert scores[f"tags/{way}/chance"] < 0.5
    evaluator.see = lambda p, image: np.zeros((40, width))
    scores = evaluator(None).scores
    assert scores["tags/tag_to_image_mAP"] == scores["tags/tag_to_image_mAP/chance"]
    # Who sees nothing knows that there are fewer colours than kinds, of which each has more prompts.
    assert scores["tags/image_to_tag_mAP"] == pytest.approx(scores["tags/image_to_tag_mAP/most_frequent"], abs=0.05)


def test_labels_of_a_folder(tmp_path, make_config, mesh, tiny_params):
    lines = []
    for i, (label, text) in enumerate([("dog", "a dog"), ("cat", "one cat"), (["dog", "grass"], "it runs")] * 6):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", "text": text, "class": label}))
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    plain = Folder(str(tmp_path), split="all", image_size=32)
    folder = Folder(str(tmp_path), label_column="class", split="all", image_size=32)
    assert [r.labels for r in folder.read([0, 2])] == [("dog",), ("dog", "grass")] and plain.read([0])[0].labels == ()
    assert plain.manifest() | {"columns": folder.manifest()["columns"]} == folder.manifest()
    config = make_config({"data.source": "folder", "data.root": str(tmp_path), "evaluation.templates": ("a {}",)})
    evaluator = ZeroShotEvaluator(config, mesh, folder.read(range(18)))
    assert evaluator.labels == {"cat": ["a cat"], "dog": ["a dog"]}
    scores = evaluator(tiny_params).scores
    assert scores["zero_shot/n"] == 12 and scores["zero_shot/chance"] == 0.5 and "zero_shot/seen" not in scores
    tags = TagsEvaluator(config, mesh, folder.read(range(18)))
    assert set(tags.tags) == {"cat", "dog", "grass"} and tags(tiny_params).scores["tags/n"] == 18
    for cls, name in ((ZeroShotEvaluator, "zero_shot"), (TagsEvaluator, "tags")):
        assert cls(config, mesh, plain.read(range(18)))(tiny_params).scores == {f"{name}/n": 0}
    with pytest.raises(UserError, match=r"no column 'klass'.*label_column"):
        Folder(str(tmp_path), label_column="klass", split="all")
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "a", "class": 3}\n')
    with pytest.raises(UserError, match="line 1: a label is int"):
        Folder(str(tmp_path), label_column="class", split="all")


def test_tags_are_the_first_that_the_data_have(make_config, tmp_path):
    table = tmp_path / "senses.jsonl"
    table.write_text(json.dumps({"word": "bat", "language": "en", "gloss": "an animal"}) + "\n")
    config = make_config({"objectives": {"fill": options("fill", dictionary=str(table))}, "data.source": "folder"})
    captions = (Caption("two bats fly", "en"),)
    records = [Record("a", captions), Record("b", captions, regions=(Region((0, 0, 1, 1), "wing"),))]
    assert known_tags(config, records[:1]) == [{"bat"}]
    assert known_tags(config, records) == [set(), {"wing"}]
    assert known_tags(config, [*records, Record("c", labels=("cat",))]) == [set(), set(), {"cat"}]
    assert known_tags(make_config(), records[:1]) == [set()]


def test_a_label_is_the_mean_of_its_prompts():
    rows = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [-1.0, 0.0]}
    found = label_vectors(lambda texts: np.array([rows[t] for t in texts]), {"x": ["a", "b"], "y": ["c"]})
    np.testing.assert_allclose(found, [[2**-0.5, 2**-0.5], [-1, 0]])


def test_a_tag_is_as_probable_as_its_prompts_together():
    rows = {"a": [1.0, 0.0], "b": [0.0, 1.0], "c": [-1.0, 0.0]}
    labels, items = {"x": ["a", "b"], "y": ["c", "b"]}, np.array([[0.8, 0.6], [0.0, 0.0]])
    found = tag_probabilities(lambda texts: np.array([rows[t] for t in texts]), labels, items, 5.0)
    a, b, c = np.exp(5 * 0.8), np.exp(5 * 0.6), np.exp(-5 * 0.8)
    np.testing.assert_allclose(found, [[(a + b) / (a + b + c), (b + c) / (a + b + c)], [2 / 3, 2 / 3]])


def test_a_picture_near_to_all_texts_is_not_every_tag_s_first():
    """Of two pictures with the same likeliest tag, the one that is nearer to all texts is no likelier."""
    rows = {"a": [1.0, 0.0], "b": [0.8, 0.6]}
    near, far = np.array([0.9, 0.436]), np.array([0.5, -0.866])
    found = tag_probabilities(
        lambda t: np.array([rows[x] for x in t]), {"x": ["a"], "y": ["b"]}, np.stack([near, far]), 9.0
    )
    assert near @ rows["a"] > far @ rows["a"] and found[0, 0] < found[1, 0]


def test_templates_of_the_config_come_before_the_data_own(make_config):
    assert prompts(make_config(), ["red bat"])[0] == "only a small red bat"
    given = make_config({"evaluation.templates": ("see {}",)})
    assert prompts(given, ["red bat"]) == ["see red bat"]
    assert prompts(given, ["red bat"], templates=["{}!"]) == ["red bat!"]
    assert prompts(make_config({"data.source": "folder"}), ["dog"]) == ["dog", "a photo of a dog"]
    with pytest.raises(UserError, match=r"evaluation\.templates.*write {}"):
        make_config({"evaluation.templates": ("a photo",)})


@pytest.fixture(scope="module")
def model(config):
    """A model whose pictures and texts matter."""
    from xmjax.training.step import make_model

    params = jax.jit(lambda: make_model(config).init(jax.random.key(3), method="initialise")["params"])()
    return Model(config, jax.tree.map(lambda x: 2 * x, params))


def test_classify_is_a_softmax_by_the_learnt_temperature(model):
    images, labels = [r.image for r in RECORDS[:3]], ["red bat", "파란 컵", "green hat"]
    found = model.classify(images, labels)
    cosines = model.embed(image=images) @ label_vectors(
        model.embed, {n: prompts(model.config, [n]) for n in labels}
    ).T  # fmt: skip
    weight = np.exp(min(np.exp(2 * 2.3), 100) * cosines)  # the scale begins at exp(2.3), and is doubled here
    for row, ranked in zip(weight / weight.sum(1, keepdims=True), found, strict=True):
        assert dict(ranked) == pytest.approx(dict(zip(labels, row, strict=True)), rel=1e-2, abs=1e-6)
        assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert dict(model.classify(images[0], labels)) == pytest.approx(dict(found[0]), rel=1e-2)
    assert dict(model.classify(images[0], labels, "a {}")) != pytest.approx(dict(found[0]), rel=1e-2)


def test_tags_of_a_picture(model):
    found = model.tags(RECORDS[0].image, top=30)
    assert len(found) == 26 and [p for _, p in found] == sorted((p for _, p in found), reverse=True)
    assert all(0 <= p <= 1 for _, p in found) and sum(p for _, p in found) == pytest.approx(2)  # a kind and a colour
    assert model.tags([RECORDS[0].image] * 2, top=3)[1][0][0] == found[0][0]
    assert len(model.tags(RECORDS[0].image, ["cat", "dog"])) == 2


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (lambda m: m.classify(RECORDS[0].image, []), "no labels, or an empty one"),
        (lambda m: m.classify(RECORDS[0].image, ["x" * 65]), "label 'x+' is longer than the 64 bytes"),
        (lambda m: m.classify(RECORDS[0].image, ["x"], ["a photo"]), "template 'a photo' has no {}"),
        (lambda m: m.classify("/nowhere.png", ["x"]), "/nowhere.png does not exist"),
        (lambda m: m.tags(RECORDS[0].image, top=0), "top=0"),
        (lambda m: m.tags(RECORDS[0].image, [""]), "no labels, or an empty one"),
    ],
)
def test_what_cannot_be_asked(ask, expected, model):
    with pytest.raises(UserError, match=expected):
        ask(model)


def test_other_data_have_no_tags_of_their_own(make_config):
    model = Model(make_config({"data.source": "folder", "data.root": "x"}), None)
    with pytest.raises(UserError, match="no tags of their own: give the labels"):
        model.tags(RECORDS[0].image)
