"""Tests of senses and answers: what is trained on, what is asked, and that nothing gives the answer away."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from xmjax import predict, prepare, sharding, vocab
from xmjax.config import MeshConfig
from xmjax.data import playroom
from xmjax.data.arrays import asked, gloss_ids, marked_ids
from xmjax.data.pipeline import Example
from xmjax.data.source import Caption, Question, Record, Word
from xmjax.errors import UserError
from xmjax.evaluation.answer import AnswerEvaluator, most_frequent, oracle
from xmjax.evaluation.dictionary import DictionaryEvaluator
from xmjax.evaluation.entities import EntitiesEvaluator, f1
from xmjax.evaluation.objects import ReductionEvaluator, RelationsEvaluator, auroc, between, toy_pairs
from xmjax.evaluation.pointing import PointingEvaluator, middle, pointing_items
from xmjax.evaluation.sense import SenseEvaluator, play_items
from xmjax.lexicon import Vectors, ask, join, kind_of, masked_gloss, open_dictionary, with_wrong
from xmjax.model_api import Associated, Model
from xmjax.models.embedders import squares
from xmjax.models.passes import Passes
from xmjax.objectives import make, options
from xmjax.pictures import draw_association, heated, nearest
from xmjax.training.step import make_model

RECORDS = playroom.Playroom("val", questions_per_record=2).read(range(150))


@pytest.fixture(scope="module")
def config(make_config):
    return make_config(
        {
            "model.association": True,
            "model.text.max_bytes": 64,
            "objectives": {
                "fill": options("fill", association="learned"),
                "sense": options("sense", association="learned"),
                "answer": options("answer", questions=2),
            },
            "evaluation.samples": 150,
        }
    )


def example(record: Record) -> Example:
    return Example(record, record.captions, np.random.default_rng(0))


@pytest.fixture
def towers(make_config, monkeypatch):
    """A run with a tower of texts in the place of whatever is loaded."""
    towers = make_config({"model.text.max_bytes": 64, "objectives": {"contrast": options("contrast")}})
    params = jax.jit(lambda: make_model(towers).init(jax.random.key(0), method="initialise")["params"])()
    monkeypatch.setattr("xmjax.load", lambda workdir: Model(towers, params))


def test_an_earlier_run_may_choose_the_senses(make_config, towers):
    chosen = options("sense", scorer="runs/earlier", threshold=-1.0)
    sense = make(make_config({"model.text.max_bytes": 64, "objectives": {"sense": chosen}}))["sense"]
    assert isinstance(sense.scorer, Vectors)
    assert sense.chosen(example(RECORDS[0])) is not None


def test_a_run_without_vectors_chooses_none(config, make_config, monkeypatch):
    monkeypatch.setattr("xmjax.load", lambda workdir: Model(config, {}))
    with pytest.raises(UserError, match="contrast"):
        make(make_config({"objectives": {"sense": options("sense", scorer="runs/earlier")}}))


def test_coverage_of_a_dictionary(config, monkeypatch, capsys):
    monkeypatch.setattr("xmjax.inference.read_config", lambda workdir: config)
    prepare.coverage("runs/any", limit=20)
    told = capsys.readouterr().out
    assert "| en |" in told and "| ko |" in told and "| 0.1 |" in told
    with pytest.raises(UserError, match="--limit=0"):
        prepare.coverage("runs/any", limit=0)


def test_a_sense_that_is_learned_is_near_the_captions(config):
    sense = make(config)["sense"]
    kept = []
    for record in RECORDS:
        found = sense.chosen(example(record))
        arrays = sense.features(example(record))
        if found is None:
            assert (arrays["marked"] == vocab.PAD).all() and (arrays["gloss"] == vocab.PAD).all()
            continue
        caption, word, meaning = found
        index = caption.words.index(word)
        toy = playroom.meant(caption, index, record.truth)
        kept.append(toy is None or record.truth.toys[toy].kind == kind_of(meaning))
        assert vocab.decode(arrays["gloss"][1:]) == masked_gloss(meaning)
        assert arrays["marked"][word.start] == vocab.sentinel(0)
    assert len(kept) > 0.4 * len(RECORDS) and np.mean(kept) > 0.95


def test_words_with_several_senses_are_learned_first(config):
    sense = make(config)["sense"]

    def senses(caption, word):
        surface = caption.text.encode()[word.start : word.end].decode()
        return sense.dictionary.lookup(surface, caption.language)

    several = 0
    for record in RECORDS:
        words = [(c, w) for c in record.captions for w in c.words if len(senses(c, w)) > 1]
        found = sense.chosen(example(record))
        queries = [ask(sense.dictionary, c, w, [o for o in record.captions if o is not c]) for c, w in words]
        if any(scores.max() >= sense.options.threshold for scores in sense.scorer(queries)):
            several += 1
            assert len(senses(*found[:2])) > 1
    assert several > 5


def test_no_sense_below_the_threshold_is_learned(config):
    high = dataclasses.replace(config.objectives["sense"], threshold=2.0)
    sense = make(dataclasses.replace(config, objectives={"sense": high}))["sense"]
    assert all(sense.chosen(example(record)) is None for record in RECORDS)


@pytest.mark.slow
def test_a_word_of_every_second_record_is_as_good_as_half_a_batch(config, batch_at):
    def loss(changed, batch):
        objective = make(changed)["sense"]
        model = make_model(changed)
        params = jax.jit(lambda: model.init(jax.random.key(0), method="initialise")["params"])()
        rows = {key: jnp.asarray(batch[key]) for key in ("image", "marked", "gloss", "id")}
        return objective.loss(Passes(model.bind({"params": params}), rows), jax.random.key(1))[0]

    def with_options(**changes):
        changed = dataclasses.replace(config.objectives["sense"], drop=0.0, **changes)
        return dataclasses.replace(config, objectives={"sense": changed})

    batch = batch_at(with_options())["image_text"]
    half = {key: value[::2] for key, value in batch.items()}
    assert float(loss(with_options(every=2), batch)) == pytest.approx(float(loss(with_options(), half)), rel=1e-5)
    with pytest.raises(UserError, match=r"sense\.every=3 must divide config\.batch_size=8"):
        make(with_options(every=3))


def test_wrong_entries_have_the_meaning_of_others(config):
    right = open_dictionary("playroom")
    assert with_wrong(right, 0.0).entries() == right.entries()
    for share in (0.25, 1.0):
        wrong = with_wrong(right, share)
        pairs = list(zip(right.entries(), wrong.entries(), strict=True))
        assert all((a[0], a[1].id, a[1].word) == (b[0], b[1].id, b[1].word) for a, b in pairs)
        changed = [(a[1], b[1]) for a, b in pairs if a != b]
        assert len(changed) == round(share * len(pairs)) and all(a.gloss != b.gloss for a, b in changed)
        assert wrong.entries() == with_wrong(right, share).entries()
    bad = dataclasses.replace(config.objectives["sense"], wrong=0.5, threshold=0.0)
    entries = make(dataclasses.replace(config, objectives={"sense": bad}))["sense"].dictionary.entries()
    assert entries == with_wrong(right, 0.5).entries()


def test_marked_texts_and_glosses():
    ids = marked_ids("눈이 있다", Word(0, 6), 32)
    assert ids[:2].tolist() == [vocab.sentinel(0), ord(" ")]
    assert bytes(ids[(ids < 256)].tolist()).decode() == " 있다\n눈이"
    long = marked_ids("a pear " + "배" * 40, Word(2, 6), 16)
    assert long.shape == (16,) and long[2] == vocab.sentinel(0)
    assert bytes(long[(long < 256)].tolist()).decode() == "a  배배\npear"
    assert marked_ids("a pear", Word(2, 6), 8).tolist() == [*b"a ", vocab.sentinel(0), *b"\npear"]
    gloss = gloss_ids("눈" * 10, 10)
    assert gloss[0] == vocab.SEP and vocab.decode(gloss[1:]) == "눈눈눈" and vocab.EOS in gloss


def test_questions_keep_their_sentinel():
    text, answer = asked(Question("what color is the bat?", "red"), 8, 32)
    assert vocab.decode(text[:22]) == "what color is the bat?" and text[23] == vocab.sentinel(0)
    assert answer.tolist()[:5] == [vocab.sentinel(0), *b"red", vocab.EOS]
    text, answer = asked(Question("눈" * 20, "배" * 5), 8, 32)
    assert (text == vocab.sentinel(0)).sum() == 1 and vocab.decode(answer[1:]) == "배배"
    text, answer = asked(None, 8, 32)
    assert (text == vocab.PAD).all() and (answer == vocab.PAD).all()


def test_a_record_without_questions_is_padding(config):
    arrays = make(config)["answer"].features(example(Record("x", (Caption("a b"),))))
    assert arrays["question"].shape == (2, 64) and (arrays["question"] == vocab.PAD).all()


def test_ambiguous_words_are_decided_by_the_picture():
    items = play_items(RECORDS, open_dictionary("playroom"), 64)
    assert len(items) > 40
    for item in items:
        assert len(item.candidates) == 2 and item.fits(item.record)
        surface = item.text.encode()[item.word.start : item.word.end].decode()
        assert not any(surface in masked_gloss(sense).split() for sense in item.candidates)
    share = np.mean([item.answer for item in items])
    assert 0.3 < share < 0.7


def test_words_point_at_the_toy_they_mean():
    items = pointing_items(RECORDS, 64)
    assert len(items) > 100
    for item in items:
        y0, x0, y1, x1 = item.box
        assert 0 <= y0 < y1 <= 1 and 0 <= x0 < x1 <= 1
        assert (item.masked == vocab.sentinel(0)).sum() == 1


def test_answers_are_those_of_the_truth():
    assert all(oracle(q, r) for r in RECORDS for q in r.questions)
    wrong = dataclasses.replace(RECORDS[0].questions[0], answer="never")
    assert not oracle(wrong, RECORDS[0])
    assert most_frequent([Question("", a, "en", "k") for a in "aaaaaaaa"]) == 1


@pytest.fixture(scope="module")
def evaluators(config):
    mesh = sharding.make_mesh(MeshConfig())
    with jax.set_mesh(mesh):
        return {cls: cls(config, mesh, RECORDS) for cls in (SenseEvaluator, AnswerEvaluator, PointingEvaluator)}


def test_sense_scores_follow_the_likeliest_definition(evaluators):
    evaluator = evaluators[SenseEvaluator]
    answers = np.array([item.answer for item in evaluator.items])
    best = np.where(np.arange(2) == answers[:, None], 1.0, 2.0)

    def run(params, image, marked, glosses, absent):
        return 3 - best if absent.all() else best

    evaluator.run = run
    scores = evaluator(None).scores
    assert scores["sense/image"] == 1 and scores["sense/no_image"] == 0
    assert scores["sense/chance"] == 0.5 and scores["sense/n"] == len(answers)
    assert scores["sense/shuffled_image/oracle"] < 0.55


def test_answers_and_descriptions_are_scored_apart(evaluators):
    evaluator = evaluators[AnswerEvaluator]

    def run(params, image, boxes, text, absent):
        said = ["" if absent.all() else q.answer for q in evaluator.questions]
        return np.stack([np.append(vocab.padded(t.encode(), 40), vocab.PAD) for t in said])

    evaluator.run = run
    scores = evaluator(None).scores
    assert scores["answer/model"] == scores["describe/exact"] == 1
    assert scores["answer/question_only"] == scores["describe/question_only"] == 0
    assert scores["answer/n"] + scores["describe/n"] == len(evaluator.records)
    assert scores["answer/model/oracle"] == scores["describe/exact/oracle"] == 1
    assert 0 < scores["answer/model/most_frequent"] < 0.6


def test_an_object_is_pointed_at_in_its_middle():
    side = 4
    boxes = squares(2, side)
    share = np.zeros((2, side * side), np.float32)
    share[0, [0, 1, 2, 4, 5, 6, 8, 9, 10]] = 1 / 9  # a block of three by three, whose first unit is its corner
    share[1] = 0.01
    share[1, 15] = 0.85  # soft: what hardly belongs to it does not count
    assert middle(share, boxes).tolist() == [5, 15]


def test_pointing_counts_points_in_the_box(evaluators):
    evaluator = evaluators[PointingEvaluator]
    boxes = np.array([item.box for item in evaluator.items])
    units = np.stack([boxes, boxes * 0], 1)  # the toy's own box, and a unit in the corner
    for weights, expected in (([0.6, 0.4], 1.0), ([0.4, 0.6], 0.0)):
        found = np.tile(weights, (len(boxes), 1)), np.ones(len(boxes)), units, np.full(len(boxes), np.argmax(weights))
        evaluator.run = lambda params, image, masked, found=found: found
        scores = evaluator(None).scores
        assert (
            scores["pointing/model"] == scores.get("pointing/named", expected) == expected
            and scores["pointing/model/oracle"] == 1
        )
    assert 0.05 < scores["pointing/random"] < scores["pointing/centre_prior"] < 0.5


@pytest.fixture(scope="module")
def model(config):
    """A model with parameters twice as far from zero as at the start, so that pictures and texts matter."""
    params = jax.jit(lambda: make_model(config).init(jax.random.key(3), method="initialise")["params"])()
    return Model(config, jax.tree.map(lambda x: 2 * x, params))


def test_a_model_in_use_finds_what_the_evaluators_find(model, config):
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    params = model._params
    senses, answers = (cls(config, mesh, RECORDS[:40]) for cls in (SenseEvaluator, AnswerEvaluator))
    item = senses.items[0]
    surface = item.text.encode()[item.word.start : item.word.end].decode()
    found = model.sense(item.text, surface.removeprefix("a "), item.record.image)
    nats = senses.run(params, senses.image, senses.marked, senses.glosses, np.zeros(len(senses.items), bool))[0]
    assert found[0][0] == item.candidates[int(np.argmin(nats))]
    assert sum(share for _, share in found) == pytest.approx(1)
    assert dict(found)[item.candidates[0]] == pytest.approx(1 / (1 + np.exp(nats[0] - nats[1])), rel=1e-3)
    written = answers.run(params, *answers.arrays, np.zeros(len(answers.records), bool))
    images = [record.image for record in answers.records[:3]]
    assert model.answer([q.text for q in answers.questions[:3]], images) == [vocab.decode(i) for i in written[:3]]


def test_the_dictionary_evaluator_tells_what_is_kept_and_what_of_it_is_right(model, config):
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    scores = DictionaryEvaluator(config, mesh, RECORDS)(model._params).scores
    assert scores["dictionary/accuracy"] > 0.95 and 0.3 < scores["dictionary/keep_rate"] < 1
    assert scores["dictionary/accuracy/oracle"] == 1 and scores["dictionary/accuracy/chance"] == 0.5
    assert (
        scores["dictionary/n"] == len(play_items(RECORDS, open_dictionary("playroom"), 64))
        and 0 <= scores["dictionary/text_tower"] <= 1
    )
    high = dataclasses.replace(config.objectives["sense"], threshold=2.0)
    none = DictionaryEvaluator(dataclasses.replace(config, objectives={"sense": high}), mesh, RECORDS)
    assert none._chosen(none.sense.scorer, 2.0) == (0.0, 0.0)
    without = dataclasses.replace(config, objectives={})
    assert DictionaryEvaluator(without, mesh, RECORDS)(None).scores == {"dictionary/n": 0}


def test_the_commands_answer(model, tmp_path):
    picture = str(tmp_path / "scene.png")
    Image.fromarray(RECORDS[0].image).save(picture)
    asked = {
        "answer": {"text": "what color is the bat?", "image": picture},
        "sense": {"text": "작은 배가 있다", "word": "배", "image": picture, "lang": "ko"},
        "associate": {"text": "a red bat", "image": picture, "picture": str(tmp_path / "heat.png")},
        "objects": {"image": picture, "picture": str(tmp_path / "objects.png")},
    }
    for name, given in asked.items():
        predict._check(name, given)
        found = predict.COMMANDS[name](model, **given)
        assert json.loads(json.dumps(found.values)) and found.lines
        if name == "sense":
            assert {one["sense"] for one in found.values["senses"]} == {"playroom/ko/pear", "playroom/ko/boat"}
        if name == "associate":
            assert [one["word"] for one in found.values["words"]] == ["a", "red", "bat"]
        if name == "objects":
            assert len(found.values["boxes"]) == len(found.values["relations"]) > 0
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("heat.png", "objects.png"))


def test_objects_are_found_or_given(model):
    image = RECORDS[0].image
    found = model.objects(image)
    units = (model.config.model.image.size // model.config.model.image.patch) ** 2
    assert found.boxes.shape == (units // 4, 4) and found.shares.shape == (units // 4, units)
    assert found.shares.sum(0) == pytest.approx(np.ones(units))  # discovered ones share the picture out
    assert np.allclose(found.relations, found.relations.T, atol=1e-5) and found.relations.max() <= 1 + 1e-5
    assert all(i < j for i, j in nearest(found))
    boxes = [(0, 0, 0.5, 0.5), (0.25, 0.25, 1, 1), (0, 0, 1, 1)]
    given = model.objects(image, boxes)
    assert given.boxes.tolist() == [list(box) for box in boxes]
    areas = [(y1 - y0) * (x1 - x0) * units for y0, x0, y1, x1 in boxes]
    assert given.shares.sum(1) == pytest.approx(np.array(areas), rel=1e-5)
    for wrong in ([], [(0, 0, 2, 1)], [(0.5, 0, 0.5, 1)], [(0, 1)], ["none"]):
        with pytest.raises(UserError, match=r"box.*give"):
            model.objects(image, wrong)


def test_every_word_is_associated(model, tmp_path):
    found = model.associate("a red 배가 있다", RECORDS[0].image)
    assert [one.word for one in found] == ["a", "red", "배가", "있다"]
    for one in found:
        assert one.weights.sum() == pytest.approx(1, rel=1e-5) and 0 < one.strength < 1
        assert one.boxes.shape == (len(one.weights), 4)
    given = model.associate("a red 배가 있다", RECORDS[0].image, boxes=[(0, 0, 0.5, 1), (0.5, 0, 1, 1)])
    for one in given:  # a half of the picture is one object: its units weigh alike
        half = one.weights[one.boxes[:, 2] <= 0.5]
        np.testing.assert_allclose(half, half[0], rtol=1e-4)
        assert one.weights.sum() == pytest.approx(1, rel=1e-4)
    with pytest.raises(UserError, match="an empty list of boxes"):
        model.associate("a bat", RECORDS[0].image, boxes=[])
    read = model._in_dictionary("a red 배가 있다")
    assert [read(one.place) for one in found] == [False, False, True, False]
    draw_association(RECORDS[0].image, found, tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.size[0] > 500
    with pytest.raises(UserError, match="cannot be written"):
        draw_association(RECORDS[0].image, found, tmp_path / "none" / "found.png")


def test_what_is_bright_is_where_the_weight_lies():
    image = np.full((8, 8, 3), 200, np.uint8)
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1]], np.float32)
    bright = heated(image, Associated("x", Word(0, 1), 1.0, np.array([0.25, 0.75], np.float32), boxes, 1))
    assert (bright[4:] == 200).all() and (bright[:4] < 100).all()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda m: m.sense("a red bat", "boat", RECORDS[0].image), "the word 'boat' is not in 'a red bat'"),
        (lambda m: m.sense("a red bat", "red"), "the dictionary has no sense of 'red' in en or ko"),
        (lambda m: m.sense("a red bat", "bat", language="fr"), "no sense of 'bat' in fr"),
        (lambda m: m.sense("a red bat", "bat", dictionary="none.tsv"), "none.tsv"),
        (lambda m: m.sense("a " * 40 + "bat", "bat"), "this model reads 64: shorten the text"),
        (lambda m: m.answer("  "), "the question is empty"),
        (lambda m: m.answer("what " * 40), "ask in fewer words"),
        (lambda m: m.associate(" . ", RECORDS[0].image), "no word in ' . '"),
        (lambda m: m.associate("a bat", "nowhere.png"), "nowhere.png does not exist"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(model, ask, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        ask(model)
    assert "\n" not in str(error.value)


def test_a_run_without_association_says_so(make_config):
    plain = Model(make_config(), None)
    with pytest.raises(UserError, match="this run has no association"):
        plain.associate("a bat", RECORDS[0].image)
    for task in (lambda: plain.answer("what?"), lambda: plain.sense("a bat", "bat")):
        with pytest.raises(UserError, match="this run has not trained"):
            task()


def test_the_words_that_a_dictionary_has_are_masked(make_config):
    changes = {"model.text.max_bytes": 64, "objectives": {"fill": options("fill", entities=1.0, rate=0.5)}}
    fill = make(make_config(changes))["fill"]
    for record in RECORDS[:40]:
        for caption, spans in zip(record.captions, fill.features(example(record))["spans"], strict=True):
            nouns = {caption.text.encode()[w.start : w.end] for w in caption.words if w.kind == "kind"}
            found = {bytes(row[1:][row[1:] < 256].tolist()) for row in spans if row[0] != vocab.PAD}
            assert found and found <= nouns


def test_the_masking_with_the_greatest_gain_is_taken(make_config, monkeypatch):
    changes = {"objectives": {"fill": options("fill", gain=1.0, alternatives=3, temperature=1e-3)}}
    config = make_config(changes)
    fill = make(config)["fill"]
    arrays = fill.features(example(RECORDS[0]))
    assert arrays["masked"].shape[:2] == arrays["spans"].shape[:2] == (2, 3)
    batch = {name: np.stack([array] * 2) for name, array in arrays.items()}
    gain = np.array([[0.1, 3.0, 0.2], [2.0, 0.0, 1.0], [0.0, 0.1, 0.2], [5.0, 6.0, 4.0]])

    def nats(passes, texts, ids, spans, absent):
        assert ids.shape[0] == 12 and texts == 6
        lost = np.where(np.asarray(absent["image"]), gain.reshape(-1), 0)
        return jnp.tile(jnp.asarray(lost)[:, None], (1, 2)) / 2, jnp.ones((12, 2)) / 2

    monkeypatch.setattr(fill, "_nats", nats)
    passes = Passes(None, {name: jnp.asarray(array) for name, array in batch.items()})
    ids, spans = fill._most_gained(passes, jax.random.key(0))
    rows = batch["masked"].reshape(4, 3, -1)
    np.testing.assert_array_equal(ids, rows[np.arange(4), gain.argmax(1)])
    np.testing.assert_array_equal(spans, batch["spans"].reshape(4, 3, *spans.shape[1:])[np.arange(4), gain.argmax(1)])


def test_f1_counts_words_inside_the_wanted_ones():
    wanted = [[Word(0, 5), Word(8, 12)], [Word(0, 3)]]
    assert f1(wanted, wanted) == pytest.approx(1)
    assert f1([[], []], wanted) == 0
    assert f1([[Word(2, 5)], [Word(0, 3), Word(4, 6)]], wanted) == pytest.approx(2 / 3)  # 2 of 3 chosen, 2 of 3 found
    assert f1([[Word(0, 12)], [Word(0, 9)]], wanted) == 0  # words larger than what is wanted do not count


def test_entities_are_found_in_the_text_alone(config):
    mesh = sharding.make_mesh(MeshConfig())
    with jax.set_mesh(mesh):
        evaluator = EntitiesEvaluator(config, mesh, RECORDS[:60])
    nouns = [noun for nouns in evaluator.nouns for noun in nouns]
    inside = np.array([any(n.start <= w.start and w.end <= n.end for n in evaluator.nouns[k]) for k, w in
                       zip(evaluator.rows, evaluator.words, strict=True)])  # fmt: skip
    evaluator.run = lambda params, image, masked, spans, absent: np.where(absent, inside * 50.0, 0.0)
    scores = evaluator(None).scores
    assert len(nouns) > 60 and scores["entities/f1/oracle"] == pytest.approx(1)
    assert scores["entities/f1"] > 0.98 > scores["entities/all_words_f1"] + 0.2
    assert scores["entities/gain_f1"] > 0.9


def test_nothing_names_the_masked_entity_in_a_joined_caption():
    dictionary = open_dictionary("playroom")
    rng = np.random.default_rng(0)
    records = playroom.Playroom("val", captions_per_record=4).read(range(120))
    together = 0
    for record in records:
        first = record.captions[0]
        found = join(first, record.captions[1:], dictionary, rng, 128)
        if found is None:
            continue
        caption, words = found
        data = caption.text.encode()
        assert data.startswith(first.text.encode() + b"\n") and len(data) <= 128
        assert any(caption.text == f"{first.text}\n{other.text}" for other in record.captions[1:])
        assert set(words) <= set(caption.words) and [w.start for w in words] == sorted(w.start for w in words)
        names = {
            name
            for sense in dictionary.lookup(data[words[0].start : words[0].end].decode(), first.language)
            for name in (sense.word, *sense.synonyms)
        }
        left = [w for w in caption.words if w not in words and w.kind == "kind"]
        for word in left:
            surface = data[word.start : word.end].decode()
            assert not any(s.word in names for tag in ("en", "ko") for s in dictionary.lookup(surface, tag)), caption
        together += any(w.start > len(first.text.encode()) for w in words)
    assert together > 20


def test_third_captions_are_trained_on_jointly(make_config):
    fields = {"model.text.max_bytes": 128, "objectives": {"fill": options("fill", thirds=1.0, spans=3)}}
    fill = make(make_config(fields))["fill"]
    both = 0
    for record in RECORDS[:60]:
        arrays = fill.features(example(record))
        for masked, spans in zip(arrays["masked"], arrays["spans"], strict=True):
            sentinels = masked[masked >= vocab.FIRST_SENTINEL]
            assert sentinels.tolist() == [row[0] for row in spans if row[0] != vocab.PAD]
            both += ord("\n") in masked and len(sentinels) > 1
    assert both > 20
    short = make(make_config({"objectives": {"fill": options("fill", thirds=1.0)}}))["fill"]
    assert all(ord("\n") not in short.features(example(r))["masked"] for r in RECORDS[:10])


def test_area_under_the_curve():
    assert auroc([1, 2, 3, 4], [False, False, True, True]) == 1
    assert auroc([4, 3, 2, 1], [False, False, True, True]) == 0
    assert auroc([1, 1, 1, 1], [False, True, False, True]) == 0.5
    assert auroc([1, 3, 2, 4], [False, False, True, True]) == 0.75


def test_relations_between_groups_on_two_toys():
    boxes = np.array([[0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], [0, 0.5, 0.5, 1.0]])
    scores = np.array([[1, 0.2, 0.7], [0.2, 1, 0.4], [0.7, 0.4, 1]])
    left, right = np.array([0, 0, 0.6, 0.6]), np.array([0.45, 0.45, 1, 1])
    assert between(scores, boxes, left, right) == 0.2
    assert between(scores, boxes, left, left) == 1
    assert between(scores, boxes, left, np.array([0.9, 0, 1, 0.1])) == 0


def test_pairs_that_touch_are_those_of_the_truth():
    pairs = toy_pairs(RECORDS)
    share = np.mean([touching for *_, touching in pairs])
    assert len(pairs) > 150 and 0.1 < share < 0.5
    for k, i, j, touching in pairs:
        names = {name for a, name, b in playroom.relations(RECORDS[k].truth) if {a, b} == {i, j}}
        assert touching == bool(names & {"holding", "in front of"})


def test_reduction_and_relations_are_scored(config, model):
    mesh = sharding.make_mesh(MeshConfig(1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        scores = ReductionEvaluator(config, mesh, RECORDS[:20])(model._params).scores
        related = RelationsEvaluator(config, mesh, RECORDS[:40])(model._params).scores
    assert {"reduction/none@4", *(f"reduction/{m}@1" for m in ("relation", "tome", "grid", "random"))} <= set(scores)
    assert all(0 <= value <= 1 for name, value in scores.items() if name != "reduction/n")
    assert related["relations/auroc/oracle"] == 1 and 0 <= related["relations/auroc"] <= 1
