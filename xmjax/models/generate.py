"""Writing bytes with the decoder: greedy decoding with a key-value cache that cannot leave UTF-8."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from xmjax import vocab


def greedy(
    model: Any,
    memory: Float[Array, "B M D"],
    valid: Bool[Array, "B M"],
    prompt: Int[Array, "B P"],
    length: int,
) -> Int[Array, "B L"]:
    """The likeliest byte after byte, until EOS.

    Only ids that keep the bytes well-formed are taken, and a character is begun only where the room left can hold it,
    so that the result is always valid UTF-8.

    Args:
      model: a `Crossmodal` bound to its parameters.
      memory: what to write about.
      valid: which of its tokens.
      prompt: ids before the text: BOS, the prompt's bytes, SEP, then PAD. Rows may differ in length.
      length: most bytes to write, EOS not counted.

    Returns:
      The bytes written, EOS, and PAD.
    """
    allowed, following = (jnp.asarray(table) for table in vocab.utf8_automaton())
    remaining = jnp.asarray(vocab.UTF8_REMAINING)
    rows, room = prompt.shape
    prompt_length = jnp.sum(prompt != vocab.PAD, -1)
    total = room + length + 1
    cache = model.decoder.start(memory, 1, total)
    written = jnp.full((rows, length + 1), vocab.PAD, jnp.int32)

    def unfinished(carry: Any) -> Bool[Array, ""]:
        index, _, _, _, _, done = carry
        return (index < total - 1) & ~jnp.all(done)

    def body(carry: Any) -> Any:
        index, token, cache, written, state, done = carry
        logits, cache = model.decoder.step(token, cache, index, valid)
        at = index - prompt_length + 1  # which byte of the text is chosen now; negative inside the prompt
        left = length - at  # bytes that may still be written, this one included
        fits = allowed[state] & ((remaining[following[state]] < left[:, None]) | (jnp.arange(vocab.SIZE) == vocab.EOS))
        choice = jnp.argmax(jnp.where(fits, logits, -jnp.inf), -1).astype(jnp.int32)
        inside = at < 0
        done_now = done | (at > length)
        choice = jnp.where(done_now, vocab.PAD, choice)
        place = jnp.clip(at, 0, length)
        old = jnp.take_along_axis(written, place[:, None], 1)[:, 0]
        written = written.at[jnp.arange(rows), place].set(jnp.where(inside | done_now, old, choice))
        state = jnp.where(inside | done_now, state, following[state, choice])
        token = jnp.where(inside, prompt[:, jnp.minimum(index + 1, room - 1)], choice)
        return index + 1, token, cache, written, state, done_now | (~inside & (choice == vocab.EOS))

    start = (jnp.int32(0), prompt[:, 0], cache, written, jnp.zeros(rows, jnp.int32), jnp.zeros(rows, bool))
    return jax.lax.while_loop(unfinished, body, start)[3]
