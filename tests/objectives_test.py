"""Tests of the pretraining tasks: losses against loops, what counts, and that nothing leaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax import vocab
from xmjax.data.arrays import prompted
from xmjax.data.pipeline import Stream
from xmjax.data.source import Caption, Record, Word
from xmjax.errors import UserError
from xmjax.evaluation import EVALUATORS
from xmjax.models.embedders import Tokens
from xmjax.models.passes import Passes, masked_memory
from xmjax.objectives import OBJECTIVES, Objective, features, make, options
from xmjax.objectives.base import TASKS, bits_per_byte, sequence_nats, weight, written_after_prompt
from xmjax.objectives.contrast import infonce_loss, positives, sigmoid_loss
from xmjax.training.step import make_model, update

ROWS, COLUMNS = 4, 6


@pytest.fixture(scope="module")
def pairs():
    """Similarities of four rows and six columns, of which several belong together."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(-1, 1, (ROWS, COLUMNS)).astype(np.float32)
    positive = np.zeros((ROWS, COLUMNS), bool)
    for row, column in [(0, 0), (0, 1), (1, 2), (2, 3), (2, 2), (3, 4), (3, 5), (0, 5)]:
        positive[row, column] = True
    return scores, positive


def softmax_entropy(logits, positive) -> float:
    total = 0.0
    for row, true in zip(logits.astype(np.float64), positive, strict=True):
        log_z = np.log(sum(np.exp(x) for x in row))
        total += sum(log_z - x for x, t in zip(row, true, strict=True) if t) / true.sum()
    return total / len(logits)


def test_infonce_equals_a_double_loop(pairs):
    scores, positive = pairs
    logits = scores * np.float32(7.0)
    expected = (softmax_entropy(logits, positive) + softmax_entropy(logits.T, positive.T)) / 2
    found = infonce_loss(*map(jnp.asarray, pairs), jnp.float32(7.0))
    assert float(found) == pytest.approx(expected, abs=1e-6)


def test_sigmoid_equals_a_double_loop(pairs):
    scores, positive = pairs
    total = 0.0
    for i in range(ROWS):
        for j in range(COLUMNS):
            sign = 1 if positive[i, j] else -1
            total += np.log1p(np.exp(-sign * (float(scores[i, j]) * 7.0 - 2.5)))
    found = sigmoid_loss(*map(jnp.asarray, pairs), jnp.float32(7.0), jnp.float32(-2.5))
    assert float(found) == pytest.approx(total / ROWS, rel=1e-6)


def test_losses_do_not_depend_on_the_order_of_rows(pairs):
    rows, columns = np.array([2, 0, 3, 1]), np.array([5, 3, 0, 1, 4, 2])
    scores, positive = map(jnp.asarray, pairs)
    moved = scores[rows][:, columns], positive[rows][:, columns]
    scale, bias = jnp.float32(7.0), jnp.float32(-2.5)
    np.testing.assert_allclose(infonce_loss(*moved, scale), infonce_loss(scores, positive, scale), rtol=1e-6)
    np.testing.assert_allclose(
        sigmoid_loss(*moved, scale, bias), sigmoid_loss(scores, positive, scale, bias), rtol=1e-6
    )
    unrelated = infonce_loss(scores[rows], positive, scale)
    assert abs(float(unrelated - infonce_loss(scores, positive, scale))) > 0.1


def contrast_batch() -> dict:
    """Three records of two captions; records 0 and 2 share a caption, record 1 is drawn twice in a batch of four."""
    ids = np.array([10, 11, 12, 11], np.int32)
    captions = np.array([[1, 2], [3, 4], [5, 1], [3, 6]], np.int32)
    return {"id": ids, "caption_id": captions, "text": np.zeros((4, 2, 8), np.uint16)}


def test_equal_records_and_captions_are_positives():
    batch = jax.tree.map(jnp.asarray, contrast_batch())
    expected = np.zeros((4, 8), bool)
    for i in range(4):
        for j in range(4):
            for c in range(2):
                same_record = batch["id"][i] == batch["id"][j]
                expected[i, 2 * j + c] = same_record or batch["caption_id"][j, c] in batch["caption_id"][i]
    np.testing.assert_array_equal(positives(batch, "image", "text"), expected)
    assert expected[0, 5] and expected[1, 6] and not expected[0, 4]
    np.testing.assert_array_equal(positives(batch, "text", "image"), expected.T)
    records = np.asarray(batch["id"])
    np.testing.assert_array_equal(positives(batch, "image", "audio"), records[:, None] == records)
    pictures = jnp.array([7, 8, 9, 7])  # records 10 and the second 11 show one picture
    with_pictures = positives(batch | {"picture_id": pictures}, "image", "text")
    expected[[0, 0, 3, 3], [6, 7, 0, 1]] = True
    np.testing.assert_array_equal(with_pictures, expected)
    np.testing.assert_array_equal(
        positives(batch | {"picture_id": pictures}, "text", "audio"), positives(batch, "text", "audio")
    )


def test_a_repeated_pair_is_not_pushed_apart():
    """Two records with one picture and one caption: their crosswise pairs are pulled as their own are."""
    scores = jnp.array([[0.6, 0.6, 0.1], [0.6, 0.6, 0.1], [0.2, 0.2, 0.7]])
    repeated = jnp.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], bool)

    def pull(positive, loss):
        return -jax.grad(lambda s: loss(s, positive))(scores)

    losses = (
        lambda s, p: infonce_loss(s, p, jnp.float32(5.0)),
        lambda s, p: sigmoid_loss(s, p, jnp.float32(5.0), jnp.float32(-2.5)),
    )
    for loss in losses:
        known, unknown = pull(repeated, loss), pull(jnp.eye(3, dtype=bool), loss)
        assert float(known[0, 1]) == pytest.approx(float(known[0, 0])) and float(known[0, 1]) > 0
        assert float(unknown[0, 1]) < 0  # without knowing, a false negative


@pytest.mark.parametrize(
    "chosen",
    [{}, {"loss": "sigmoid"}, {"loss": "ranking", "margin": 0.2}, {"chunk": 1}, {"margin": 0.3, "variable": True}],
)
def test_a_repeated_record_changes_no_loss(make_config, tiny_params, tiny_batch, chosen):
    """Each record counts once however often the batch has it; without ids the loss would be another."""
    batch = jax.tree.map(lambda x: jnp.asarray(x[:4]), tiny_batch["image_text"])
    again = jax.tree.map(lambda x: x[jnp.array([0, 1, 1, 2, 3, 3, 3, 1])], batch)
    config = make_config({"objectives": {"contrast": options("contrast", **chosen)}})

    @jax.jit
    def loss(batch):
        passes = Passes(make_model(config).bind({"params": tiny_params}), batch)
        return make(config)["contrast"].loss(passes, jax.random.key(0))[0]

    assert float(loss(again)) == pytest.approx(float(loss(batch)), rel=1e-5)
    strangers = again | {
        "id": jnp.arange(8, dtype=jnp.int32),
        "caption_id": jnp.arange(16, dtype=jnp.int32).reshape(8, 2),
    }
    strangers.pop("picture_id", None)
    assert abs(float(loss(strangers)) - float(loss(batch))) > 1e-2


def test_false_negatives_are_counted(make_config, tiny_params, tiny_batch):
    images = tiny_batch["image_text"]["image"][:4]
    text = np.zeros((4, 2, tiny_batch["image_text"]["text"].shape[-1]), np.uint16)
    batch = jax.tree.map(jnp.asarray, {**contrast_batch(), "image": images, "text": text})
    for chosen in ({}, {"loss": "sigmoid"}, {"loss": "ranking", "margin": 0.2}, {"chunk": 2}):
        config = make_config({"objectives": {"contrast": options("contrast", **chosen)}})
        passes = Passes(make_model(config).bind({"params": tiny_params}), batch)
        _, metrics = make(config)["contrast"].loss(passes, jax.random.key(0))
        # Pictures 0 and 2 have one caption each that the other has too; records 1 and 3 are one: 6 of 4 x 6 pairs.
        assert float(metrics["false_negatives"]) == pytest.approx(6 / 24)


def test_every_objective_is_a_kind_of_task():
    known = {name: o for name, o in OBJECTIVES.items.items() if o.__module__.startswith("xmjax.")}
    assert {o.task for o in known.values()} == set(TASKS)
    assert all(name in EVALUATORS for names in TASKS.values() for name in names)


def test_sequence_nats_equals_a_loop():
    rng = np.random.default_rng(3)
    logits = rng.standard_normal((2, 3, 4, vocab.SIZE)).astype(np.float32)
    sequence = rng.integers(0, 262, (2, 3, 5)).astype(np.uint16)
    written = rng.random((2, 3, 4)) < 0.6
    nats, count = np.zeros((2, 3)), np.zeros((2, 3))
    for i, j, t in np.argwhere(written):
        row = logits[i, j, t].astype(np.float64)
        nats[i, j] += np.log(np.exp(row).sum()) - row[sequence[i, j, t + 1]]
        count[i, j] += 1
    found = sequence_nats(*map(jnp.asarray, (logits, sequence, written)))
    np.testing.assert_allclose(found[0], nats, rtol=1e-5)
    np.testing.assert_array_equal(found[1], count)
    assert float(bits_per_byte(*found)) == pytest.approx(nats.sum() / count.sum() / np.log(2), rel=1e-5)


def test_only_the_text_and_its_end_are_written():
    ids = prompted(Caption("ab", "en", "x"), 6, 4)
    text = [vocab.BOS, *b"en x", vocab.SEP, *b"ab", vocab.EOS]
    assert ids[: len(text)].tolist() == text
    written = np.asarray(written_after_prompt(jnp.asarray(ids)))
    assert [int(ids[i + 1]) for i in np.flatnonzero(written)] == [*b"ab", vocab.EOS]


class Recorder:
    """A model that keeps what its decoder is shown, and knows nothing."""

    def __init__(self):
        self.inputs = None

    def encode(self, modality, data):
        rows = data.shape[0]
        return Tokens(jnp.zeros((rows, 1, 4)), jnp.ones((rows, 1), bool), jnp.zeros((rows, 1, 2)))

    def alone(self, modality, tokens):
        return tokens

    def decode(self, inputs, memory, valid):
        self.inputs = np.asarray(inputs)
        return jnp.zeros((*inputs.shape, vocab.SIZE))


def caption_objective(make_config, **changes):
    return make(make_config({"objectives": {"caption": options("caption", **changes)}}))["caption"]


def show(objective, texts: list[str]) -> tuple[np.ndarray, np.ndarray, float, dict]:
    """What the decoder is shown of captions, the sequences, the loss and the metrics."""
    sequences = np.stack([[prompted(Caption(t, "en"), 4, 12)] for t in texts])
    model = Recorder()
    batch = {"image": jnp.zeros((len(texts), 2)), "caption": jnp.asarray(sequences)}
    loss, metrics = objective.loss(Passes(model, batch), jax.random.key(0))
    return model.inputs, sequences, float(loss), metrics


def test_parallel_prediction_never_shows_the_bytes(make_config):
    texts = ["red hat", "눈배", "a", "big cats!"]
    inputs, sequences, loss, metrics = show(caption_objective(make_config, parallel=1.0), texts)
    for shown, sequence, text in zip(inputs[:, 0], sequences[:, 0], texts, strict=True):
        start = sequence.tolist().index(vocab.SEP) + 1
        length = len(text.encode())
        assert shown[:start].tolist() == sequence[:start].tolist()  # the prompt is shown
        assert shown[start : start + length].tolist() == [vocab.MASK] * length
        assert set(shown[start + length :].tolist()) <= {vocab.EOS, vocab.PAD}
    assert loss == pytest.approx(np.log(vocab.SIZE), rel=1e-6)
    assert float(metrics["bits_per_byte"]) == 0  # none is serial
    serial = show(caption_objective(make_config, parallel=0.0), texts)
    np.testing.assert_array_equal(serial[0], sequences[..., :-1])
    assert float(serial[3]["bits_per_byte"]) == pytest.approx(np.log2(vocab.SIZE), rel=1e-6)
    some = show(caption_objective(make_config, parallel=0.5), texts * 20)[0]
    assert 20 < sum((row == vocab.MASK).any() for row in some) < 60


def one_word(word: str) -> Record:
    """A picture of something, and a caption in which one word may be masked."""
    end = 6 + len(word.encode())
    caption = Caption(f"a red {word} here", "en", words=(Word(6, end),))
    return Record("x", (caption, caption), image=np.full((32, 32, 3), 90, np.uint8))


def test_a_sentinel_hides_the_word(make_config, apply_model, tiny_params, tiny_config):
    class Same:
        name = "same"

        def __len__(self):
            return 1

        def __init__(self, word):
            self.record = one_word(word)

        def read(self, indices):
            return [self.record for _ in indices]

    def forward(model, batch, sequences):
        other, ids = Passes(model, batch).repeated("image", 2), batch["masked"].reshape(4, -1)
        text, absent = model.encode("text", ids), jnp.zeros(4, bool)
        memory, valid = masked_memory(model, {"image": other}, ids, text, {"image": absent})
        return memory, valid, model.decode(sequences[..., :-1], memory, valid)

    run = apply_model(tiny_config, forward)
    made = features(make(tiny_config))["image_text"]
    found, batches = [], []
    for word in ("pear", "boat", "눈"):
        batch = Stream(tiny_config, "image_text", Same(word), made).batch([0, 1])
        assert word.encode() in bytes(batch["text"][0, 0][batch["text"][0, 0] < 256].tolist())
        batches.append(batch)
        sequences = batches[0]["spans"].reshape(4, *batches[0]["spans"].shape[2:])
        found.append(jax.tree.map(np.asarray, run(tiny_params, batch, sequences)))
    for batch, outputs in zip(batches[1:], found[1:], strict=True):
        np.testing.assert_array_equal(batch["masked"], batches[0]["masked"])
        assert (batch["spans"] != batches[0]["spans"]).any()
        for a, b in zip(outputs, found[0], strict=True):
            np.testing.assert_array_equal(a, b)
    # What is not masked is seen.
    other = batches[0] | {"masked": np.where(batches[0]["masked"] == ord("h"), ord("t"), batches[0]["masked"])}
    assert (np.asarray(run(tiny_params, other, sequences)[2]) != found[0][2]).any()


def test_the_schedule_bends_the_weight():
    o = OBJECTIVES["fill"].Options(weight=2.0, schedule=((0.0, 0.0), (0.5, 1.0), (1.0, 0.25)))
    found = [float(weight(o, jnp.int32(step), 100)) for step in (0, 25, 50, 75, 100, 120)]
    np.testing.assert_allclose(found, [0, 1, 2, 1.25, 0.5, 0.5], rtol=1e-6)
    assert float(weight(OBJECTIVES["fill"].Options(weight=0.3), jnp.int32(7), 100)) == pytest.approx(0.3)


def test_objectives_are_trained_in_turn(make_config):
    o = OBJECTIVES["fill"].Options(weight=2.0, schedule=((0.0, 1.0), (1.0, 0.0)), turn=(1, 3))
    found = [float(weight(o, jnp.int32(step), 10)) for step in range(6)]
    np.testing.assert_allclose(found, [0, 1.8, 0, 0, 1.2, 0], rtol=1e-6)
    for turn in ((3, 3), (1,), (-1, 2)):
        with pytest.raises(UserError, match=r"objectives\.fill\.turn"):
            make_config({"objectives": {"fill": options("fill", turn=turn)}})


def test_an_unknown_objective_is_an_error(make_config):
    with pytest.raises(UserError, match="did you mean 'contrast'"):
        make_config({"objectives": {"contrst": {}}})


@OBJECTIVES.register("brightness")
class Brightness(Objective):
    """How bright a picture is, read off the first component of its vector."""

    def loss(self, passes, rng):
        bright = jnp.mean(passes.batch["image"].astype(jnp.float32), (1, 2, 3)) / 255
        error = jnp.mean((passes.tower("image")[:, 0] - bright) ** 2)
        return error, {"root": jnp.sqrt(error)}


def test_a_new_objective_is_one_registered_class(make_config, batch_at, tiny_state):
    config = make_config(
        {"objectives": {"brightness": options("brightness", weight=2.0)}, "optimizer.learning_rate": 5e-3}
    )
    objectives = make(config)
    step = jax.jit(lambda state, batch: update(config, objectives, state, batch))
    state, found = tiny_state, []
    for i in range(15):
        state, metrics = step(state, batch_at(config, i % 2))
        found.append(metrics)
    losses = [float(m["brightness/loss"]) for m in found]
    assert losses[-1] < losses[0] / 4, losses
    assert float(found[0]["loss"]) == pytest.approx(2 * losses[0], rel=1e-6)
    assert float(found[0]["brightness/root"]) == pytest.approx(losses[0] ** 0.5, rel=1e-5)


@pytest.mark.slow
def test_microbatches_give_the_loss_and_gradient_of_the_whole_batch(make_config, batch_at, tiny_state):
    changes = {
        "objectives": {
            "fill": options("fill", drop=0.0),
            "contrast": options("contrast", chunk=2),
            "caption": options("caption", captions=1),
        },
        "optimizer.clip": 1e9,  # does nothing
    }
    found = {}
    for parts in (1, 4):
        config = make_config(changes | {"optimizer.accumulate": parts})
        objectives = make(config)
        batch = batch_at(config)
        spans = (batch["image_text"]["spans"][..., 0] != vocab.PAD).sum((1, 2))
        assert len(set(spans.tolist())) > 1  # rows of different weight, were spans counted alike
        state, metrics = jax.jit(lambda s, b, c=config, o=objectives: update(c, o, s, b))(tiny_state, batch)
        # After one step AdamW's first moment is the gradient, times 1 - b1.
        found[parts] = metrics["loss"], state.opt_state[1][0].mu
    np.testing.assert_allclose(found[4][0], found[1][0], rtol=1e-6)
    for part, whole in zip(jax.tree.leaves(found[4][1]), jax.tree.leaves(found[1][1]), strict=True):
        np.testing.assert_allclose(part, whole, atol=1e-5 * np.abs(whole).max(), rtol=0)
    assert max(np.abs(g).max() for g in jax.tree.leaves(found[1][1])) > 1e-3
