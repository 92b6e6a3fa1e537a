"""Writing bytes with the decoder: greedy, sampled and beam decoding with a key-value cache, none of which leaves UTF-8.

All three are one loop, `_write`, with another rule for what to take at every step. Only ids that keep the bytes
well-formed can be taken, and a character is begun only where the room left can hold it, so that what is written is
always valid UTF-8.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jaxtyping import Array, Bool, Float, Int, Key

from xmjax import vocab

Choose = Callable[[Array, Array, Array], tuple[Array, Array | None]]
"""What to take next: a function of logits [R, V] (-inf for what may not follow), of the log-probability of every row's
text with every id after it [R, V], and of the number of ids it then has [R]. It returns the ids taken [R], and the row
that each one goes on from [R], None where every row goes on from itself."""


class Written(NamedTuple):
    """K texts for each of B memories.

    Attributes:
      ids: the bytes written, EOS, and PAD.
      log_probability: natural logarithm of the model's probability of bytes and EOS together; -inf for rows of
        `beam` that could not be filled.
    """

    ids: Int[Array, "B K L"]
    log_probability: Float[Array, "B K"]


def greedy(
    model: Any,
    memory: Float[Array, "B M D"],
    valid: Bool[Array, "B M"],
    prompt: Int[Array, "B P"],
    length: int,
) -> Int[Array, "B L"]:
    """The likeliest byte after byte, until EOS.

    Args:
      model: a `Crossmodal` bound to its parameters.
      memory: what to write about.
      valid: which of its tokens.
      prompt: ids before the text, then PAD: BOS, the prompt's bytes and SEP, or a sentinel. Rows may differ in length.
      length: most bytes to write, EOS not counted.

    Returns:
      The bytes written, EOS, and PAD.
    """
    start = jnp.zeros(prompt.shape[0], jnp.float32)
    return _write(model, memory, valid, prompt, length, start, lambda logits, *_: (_best(logits), None)).ids[:, 0]


def sampled(
    model: Any,
    memory: Float[Array, "B M D"],
    valid: Bool[Array, "B M"],
    prompt: Int[Array, "B P"],
    length: int,
    key: Key[Array, " B"],
    *,
    count: int = 1,
    temperature: Float[Array, "..."] | float = 1.0,
    top_p: Float[Array, "..."] | float = 1.0,
    top_k: Int[Array, "..."] | int = vocab.SIZE,
) -> Written:
    """Texts drawn byte by byte from the model's distribution; other arguments as of `greedy`.

    Args:
      key: one a memory. The same key draws the same texts, whatever other rows there are.
      count: texts of each memory, K.
      temperature: divides the logits; 0 takes the likeliest id. Like what follows, a number or one a memory [B].
      top_p: ids are drawn from the fewest likeliest ones whose probabilities sum to at least this.
      top_k: ids are drawn from this many likeliest ones.
    """
    rows = prompt.shape[0]

    def spread(x: Any, dtype: Any) -> Array:
        return jnp.repeat(jnp.broadcast_to(jnp.asarray(x, dtype), (rows,)), count)

    keys = rearrange(jax.vmap(lambda k: jax.random.split(k, count))(key), "b k -> (b k)")
    heat = spread(temperature, jnp.float32)
    p, k = spread(top_p, jnp.float32), spread(top_k, jnp.int32)

    def choose(logits, scores, count):
        warm = logits / jnp.where(heat > 0, heat, 1)[:, None]
        warm = jnp.where(_nucleus(warm, p, k), warm, -jnp.inf)
        # Keys go by what is written, not by the position in the row, which depends on the prompt's length.
        drawn = jax.vmap(jax.random.categorical)(jax.vmap(jax.random.fold_in)(keys, count), warm)
        return jnp.where(heat > 0, drawn, _best(logits)).astype(jnp.int32), None

    return _write(model, memory, valid, prompt, length, jnp.zeros(rows * count, jnp.float32), choose)


def beam(
    model: Any,
    memory: Float[Array, "B M D"],
    valid: Bool[Array, "B M"],
    prompt: Int[Array, "B P"],
    length: int,
    *,
    width: int = 4,
    normalisation: float = 0.0,
) -> Written:
    """The best texts that a search of ``width`` rows finds, all different, best first; other arguments as of `greedy`.

    The greedy text is always one of those found: the best is never worse than it, and width 1 is greedy decoding.

    Args:
      width: rows kept, K.
      normalisation: texts are ranked by their log-probability over the number of their ids (EOS included) to this
        power: 0 favours short texts, 1 compares means.
    """

    def rank(scores: Array, count: Array) -> Array:
        return scores / jnp.maximum(1, count).astype(jnp.float32) ** normalisation

    def choose(logits, scores, count):
        ranks = rearrange(rank(scores, count[:, None]), "(b k) v -> b (k v)", k=width)
        first = _best(logits)[::width]  # row 0 of every beam is the greedy text: nothing may push it out
        ranks = ranks.at[jnp.arange(len(first)), first].set(jnp.inf)
        taken = jax.lax.top_k(ranks, width)[1].reshape(-1)
        return taken % vocab.SIZE, row // width * width + taken // vocab.SIZE

    row = jnp.arange(prompt.shape[0] * width)
    start = jnp.where(row % width == 0, 0.0, -jnp.inf)  # the rows of a beam begin as one
    ids, score = _write(model, memory, valid, prompt, length, start, choose)
    order = jnp.argsort(-rank(score, jnp.sum(ids != vocab.PAD, -1)), -1)
    ids, score = jnp.take_along_axis(ids, order[..., None], 1), jnp.take_along_axis(score, order, 1)
    empty = jnp.where(jnp.arange(length + 1) == 0, vocab.EOS, vocab.PAD)
    return Written(jnp.where(jnp.isneginf(score)[..., None], empty, ids), score)


def _best(logits: Float[Array, "R V"]) -> Int[Array, " R"]:
    return jnp.argmax(logits, -1).astype(jnp.int32)


def _nucleus(logits: Float[Array, "R V"], top_p: Float[Array, " R"], top_k: Int[Array, " R"]) -> Bool[Array, "R V"]:
    """Which ids are among the likeliest; the likeliest always is."""
    falling = -jnp.sort(-logits, -1)
    share = jax.nn.softmax(falling, -1)
    kept = (jnp.cumsum(share, -1) - share < top_p[:, None]) & (jnp.arange(vocab.SIZE) < top_k[:, None])
    least = jnp.min(jnp.where(kept.at[:, 0].set(True), falling, jnp.inf), -1)
    return logits >= least[:, None]


def _write(
    model: Any,
    memory: Float[Array, "B M D"],
    valid: Bool[Array, "B M"],
    prompt: Int[Array, "B P"],
    length: int,
    score: Float[Array, " R"],
    choose: Choose,
) -> Written:
    """Steps through prompt and text in R rows, those of one memory next to each other.

    Args:
      score: log-probability that every row begins with; -inf for rows that wait until `choose` fills them.
      choose: what to take next.
    """
    allowed, following = (jnp.asarray(table) for table in vocab.utf8_automaton())
    remaining = jnp.asarray(vocab.UTF8_REMAINING)
    rows, room = score.shape[0], prompt.shape[1]
    prompt = repeat(prompt, "b p -> (b k) p", k=rows // prompt.shape[0])
    prompt_length = jnp.sum(prompt != vocab.PAD, -1)
    total = room + length + 1
    ids, own = jnp.arange(vocab.SIZE), jnp.arange(rows)

    def unfinished(carry: Any) -> Bool[Array, ""]:
        index, _, _, _, _, done, score = carry
        return (index < total - 1) & ~jnp.all(done | jnp.isneginf(score))

    def body(carry: Any) -> Any:
        index, token, cache, written, state, done, score = carry
        logits, cache = model.decoder.step(token, cache, index, valid)
        at = index - prompt_length + 1  # which id of the text is chosen now; negative inside the prompt
        left = length - at  # bytes that may still be written, this one included
        fits = allowed[state] & ((remaining[following[state]] < left[:, None]) | (ids == vocab.EOS))
        fits = jnp.where(done[:, None], ids == vocab.PAD, fits)  # what is finished goes on with PAD, at no cost
        gain = jnp.where(done[:, None], 0, jax.nn.log_softmax(logits, -1))
        scores = jnp.where(fits, score[:, None] + gain, -jnp.inf)
        inside = at < 0
        count = jnp.sum(written != vocab.PAD, -1) + ~done
        choice, origin = choose(jnp.where(fits, logits, -jnp.inf), scores, count)
        choice = jnp.where(inside, prompt[:, jnp.minimum(index + 1, room - 1)], choice)
        if origin is not None:
            origin = jnp.where(inside, own, origin)
            moved = {name: cache[name][:, origin] for name in ("key", "value")}
            cache, written, state, done = {**cache, **moved}, written[origin], state[origin], done[origin]
        score = jnp.where(inside, score, scores[own if origin is None else origin, choice])
        state = jnp.where(inside, 0, following[state, choice])
        # A row that was finished early may lie beyond its end.
        text = jnp.where(inside, vocab.PAD, choice)
        written = written.at[own, jnp.maximum(at, 0)].set(text, mode="drop")
        return index + 1, choice, cache, written, state, done | (text == vocab.EOS), score

    cache = model.decoder.start(memory, rows // memory.shape[0], total)
    written = jnp.full((rows, length + 1), vocab.PAD, jnp.int32)
    state, done = jnp.zeros(rows, jnp.int32), jnp.zeros(rows, bool)
    start = (jnp.int32(0), prompt[:, 0], cache, written, state, done, score)
    *_, written, _, _, score = jax.lax.while_loop(unfinished, body, start)
    b = memory.shape[0]
    return Written(rearrange(written, "(b k) l -> b k l", b=b), rearrange(score, "(b k) -> b k", b=b))
