"""Tests of the ranking losses of the image-bridged model: against loops, the varying margin, its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xmjax.errors import UserError
from xmjax.models.embedders import Tokens
from xmjax.models.passes import Passes
from xmjax.objectives import OBJECTIVES, make, options, total_loss
from xmjax.objectives.chunks import Side
from xmjax.objectives.contrast import Known, infonce_loss, ranking_loss, squared, variable_margin

N, E = 6, 5


def unit(rng, rows: int) -> np.ndarray:
    x = rng.standard_normal((rows, E))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def towers():
    """Unit vectors of images and of what belongs to them."""
    rng = np.random.default_rng(0)
    x = unit(rng, N)
    y = x + 0.8 * unit(rng, N)
    return x, (y / np.linalg.norm(y, axis=1, keepdims=True)).astype(np.float32)


def sigmoid(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def simple(x, y, a: float, positive=None) -> float:
    """L_xy of the paper, its sum over anchors divided by their number."""
    total = 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            if j != i and not (positive is not None and positive[i, j]):
                total += max(0.0, float(x[i] @ y[j] - x[i] @ y[i]) + a)
    return total / len(x)


def varied(x, y, a: float, positive=None) -> float:
    """L^V_xy of the paper, likewise."""
    total = 0.0
    for i in range(len(x)):
        for j in range(len(x)):
            if j != i and not (positive is not None and positive[i, j]):
                total += max(0.0, float(x[i] @ y[j] - x[i] @ y[i]) + sigmoid(-float(x[i] @ x[j])) * a)
    return total / len(x)


def test_the_simple_loss_equals_a_double_loop(towers):
    x, y = towers
    found = ranking_loss(jnp.asarray(x @ y.T), jnp.eye(N, dtype=bool), 0.2, 0.2)
    assert float(found) == pytest.approx(simple(x, y, 0.2) + simple(y, x, 0.2), abs=1e-6)
    positive = np.eye(N, dtype=bool)
    positive[0, 3] = positive[3, 0] = positive[1, 2] = True
    found = ranking_loss(jnp.asarray(x @ y.T), jnp.asarray(positive), 0.2, 0.2)
    assert float(found) == pytest.approx(simple(x, y, 0.2, positive) + simple(y, x, 0.2, positive.T), abs=1e-6)


def test_the_margin_varies_for_images_alone_and_has_no_gradient(towers):
    x, y = towers
    margin = variable_margin(jnp.asarray(x), 0.4)
    assert float(margin.min()) >= 0.4 * 0.2689 and float(margin.max()) <= 0.4 * 0.7311

    def loss(x):
        return ranking_loss(x @ y.T, jnp.eye(N, dtype=bool), variable_margin(x, 0.4), 0.4)

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(x))
    assert float(value) == pytest.approx(varied(x, y, 0.4) + simple(y, x, 0.4), abs=1e-6)
    # By finite differences of the loss with the margins held, and not of the loss with margins that move.
    rng = np.random.default_rng(1)
    direction = rng.standard_normal(x.shape)
    along = float(np.sum(np.asarray(gradient, np.float64) * direction))
    held = np.asarray(margin, np.float64)

    def by_hand(moved, margins):
        scores = moved @ y.T.astype(np.float64)
        total = 0.0
        for i in range(N):
            for j in range(N):
                if i != j:
                    total += max(0.0, scores[i, j] - scores[i, i] + margins[i, j])
                    total += max(0.0, scores[j, i] - scores[i, i] + 0.4)
        return total / N

    step = 1e-5
    ends = [x + sign * step * direction for sign in (1, -1)]
    fixed = (by_hand(ends[0], held) - by_hand(ends[1], held)) / (2 * step)
    moving = [by_hand(end, 0.4 / (1 + np.exp(end @ end.T))) for end in ends]
    assert along == pytest.approx(fixed, rel=1e-3)
    assert abs((moving[0] - moving[1]) / (2 * step) - fixed) > 5e-3


def test_a_margin_within_infonce_equals_a_loop(towers):
    x, y = towers
    scale, margins = 5.0, 0.3 / (1 + np.exp(x @ x.T))
    expected = 0.0
    for i in range(N):
        for scores, margin in ((x[i] @ y.T, margins[i]), (y[i] @ x.T, np.full(N, 0.3))):
            logits = [
                float(s + (0 if j == i else m)) * scale for j, (s, m) in enumerate(zip(scores, margin, strict=True))
            ]
            expected += (np.log(np.sum(np.exp(logits))) - logits[i]) / (2 * N)
    found = infonce_loss(
        jnp.asarray(x @ y.T), jnp.eye(N, dtype=bool), jnp.float32(scale), variable_margin(jnp.asarray(x), 0.3), 0.3
    )
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_an_image_with_several_captions_is_an_anchor_of_each():
    rng = np.random.default_rng(2)
    images, texts = unit(rng, 3), unit(rng, 6)
    positive = np.repeat(np.eye(3, dtype=bool), 2, 1)
    none = jnp.zeros((0, 1), int)
    sides = [Side(jnp.asarray(x), Known(none, none, jnp.arange(1.0, len(x) + 1))) for x in (images, texts)]
    first, second, square, *shares = squared(*sides, jnp.asarray(positive))
    np.testing.assert_array_equal(first, np.repeat(images, 2, 0))
    np.testing.assert_array_equal(second, texts)
    assert square.shape == (6, 6) and bool(jnp.diagonal(square).all()) and int(square.sum()) == 12
    np.testing.assert_array_equal(shares, [[1, 1, 2, 2, 3, 3], [1, 2, 3, 4, 5, 6]])
    back = squared(*sides[::-1], jnp.asarray(positive.T))
    np.testing.assert_array_equal(back[1], np.repeat(images, 2, 0))


@pytest.mark.parametrize("devices", [1, 8])
def test_losses_are_those_of_the_whole_batch_on_any_number_of_devices(devices):
    rng = np.random.default_rng(3)
    x, y = unit(rng, 16), unit(rng, 16)
    mesh = jax.make_mesh(
        (devices,), ("data",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    rows = jax.NamedSharding(mesh, jax.P("data"))

    @jax.jit
    def loss(x, y):
        return ranking_loss(x @ y.T, jnp.eye(16, dtype=bool), variable_margin(x, 0.2), 0.2)

    found = loss(jax.device_put(x, rows), jax.device_put(y, rows))
    assert float(found) == pytest.approx(varied(x, y, 0.2) + simple(y, x, 0.2), abs=1e-5)


@pytest.mark.parametrize(("loss", "captions"), [("infonce", 1), ("ranking", 1), ("ranking", 2)])
def test_pictures_learn_from_texts_and_from_sounds_in_one_step(make_sound_config, batch_at, loss, captions):
    """The total of the ranking losses is the paper's four terms, with the weights of the two streams."""
    chosen = {"loss": loss, "margin": 0.2, "variable": True}
    both = {"contrast": options("contrast", **chosen), "sound": options("sound", **chosen)}
    both["sound"]["weight"] = 0.5
    config = make_sound_config({"objectives": both, "batch_size": 4, "data.captions": captions})
    batch = batch_at(config)
    assert set(batch["frame_audio"]) == {"id", "image", "picture_id", "audio"}  # no text ever comes with a sound
    assert batch["frame_audio"]["audio"].shape == (4, 8000) and batch["frame_audio"]["audio"].dtype == np.uint8

    class Towers:
        """A model whose towers are a fixed projection of each modality's bytes."""

        bias, reduce = jnp.float32(0), ()

        def encode(self, modality, data, records=None):
            x = data.reshape(len(data), 1, -1).astype(jnp.float32)
            return Tokens(x, jnp.ones(x.shape[:2], bool), jnp.zeros((*x.shape[:2], 2)))

        def alone(self, modality, tokens):
            return tokens

        def tower(self, modality, tokens):
            key, x = jax.random.key(len(modality)), tokens.vectors[:, 0]
            x = x @ jax.random.normal(key, (x.shape[1], E))
            return x / jnp.linalg.norm(x, axis=1, keepdims=True)

        def scale(self):
            return jnp.float32(5)

    arrays = jax.tree.map(jnp.asarray, batch)
    total, metrics = total_loss(make(config), Towers(), arrays, jnp.int32(0), jax.random.key(0))
    assert all(np.isfinite(float(value)) for value in metrics.values()) and total > 0
    if loss != "ranking":
        return
    passes = {stream: Passes(Towers(), rows) for stream, rows in arrays.items()}
    sounds, frames = (np.asarray(passes["frame_audio"].tower(m)) for m in ("audio", "image"))
    texts, images = (np.asarray(passes["image_text"].tower(m)) for m in ("text", "image"))
    own = np.repeat(np.repeat(np.eye(4, dtype=bool), captions, 0), captions, 1)
    images = np.repeat(images, captions, 0)  # an anchor of each of its captions
    heard = varied(frames, sounds, 0.2) + simple(sounds, frames, 0.2)
    told = varied(images, texts, 0.2, own) + simple(texts, images, 0.2, own)
    assert float(metrics["sound/loss"]) == pytest.approx(heard, abs=1e-5)
    assert float(metrics["contrast/loss"]) == pytest.approx(told, abs=1e-5)
    assert float(total) == pytest.approx(told + 0.5 * heard, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "triplet"}, "choose one of infonce, sigmoid, ranking"),
        ({"loss": "ranking"}, "give a positive one for a ranking loss"),
        ({"loss": "sigmoid", "margin": 0.2}, "the sigmoid loss has none"),
        ({"variable": True}, "needs a margin, and images on one side"),
        ({"loss": "ranking", "margin": 0.2, "variable": True, "first": "audio"}, "images on one side"),
    ],
)
def test_options_that_cannot_work_are_refused(make_config, changes, message):
    config = make_config({"objectives": {"contrast": options("contrast")}})
    with pytest.raises(UserError, match=message):
        OBJECTIVES["contrast"](OBJECTIVES["contrast"].Options(**changes), config)
