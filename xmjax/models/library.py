"""What a library of standard texts and crops tells of objects and of texts (EP 3 889 830, paragraphs 84 to 97).

Both are looked up inside the step, in what the model itself is given: an erased object or a masked word finds nothing,
and crops of a record's own picture, whatever record they were cut from, are passed over.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, Integer, UInt8, UInt16, UInt32

from xmjax import vocab
from xmjax.config import Config, ModelConfig
from xmjax.data.arrays import text_ids
from xmjax.data.source import stable_id
from xmjax.errors import UserError
from xmjax.lexicon import library as libraries
from xmjax.models.embedders import Tokens
from xmjax.models.layers import linear
from xmjax.models.word_hash import hash_word, is_letter, lower, run_hashes


class Tables(NamedTuple):
    """A library as the model reads it.

    Attributes:
      digest: what identifies the library.
      seen: how pictures were seen by which it knows them.
      texts: the standard texts.
      mean: of the pixels of crops.
      components: from pixels to features, which have a mean square of one over the library.
      features: of crops.
      text_of: index of each crop's text.
      origins: `stable_id` and `picture_id` of each crop's record.
      by_origin: crops in the order of each of the two.
      most: largest number of crops of a record, and of a picture.
      total: sum of the features of each text's crops.
      count: number of them.
      hashes: of texts in small letters, sorted.
      by_hash: index of the text of each of them.
      lengths: bytes of each text.
    """

    digest: str
    seen: str
    texts: tuple[str, ...]
    mean: Float32[np.ndarray, " P"]
    components: Float32[np.ndarray, "P F"]
    features: Float32[np.ndarray, "N F"]
    text_of: Int32[np.ndarray, " N"]
    origins: Int32[np.ndarray, "N two"]
    by_origin: Int32[np.ndarray, "N two"]
    most: tuple[int, int]
    total: Float32[np.ndarray, "T F"]
    count: Float32[np.ndarray, " T"]
    hashes: UInt32[np.ndarray, " T"]
    by_hash: Int32[np.ndarray, " T"]
    lengths: Int32[np.ndarray, " T"]


def opened(path: str) -> Tables:
    """The library of ``config.model.library.path``, read once as long as the file stays as it is.

    Raises:
      UserError: it cannot be read, or it has no crops.
    """
    file = Path(path).expanduser()
    return _opened(file, file.stat().st_mtime_ns if file.is_file() else 0)


def manifest(config: Config) -> dict[str, str]:
    """What identifies the library that a model looks things up in; nothing without one.

    Raises:
      UserError: the library knows pictures by another size, so that a row's own would not be passed over.
    """
    if not (path := config.model.library.path):
        return {}
    library = opened(path)
    if library.seen not in ("", seen_as(config)):
        raise UserError(
            f"config.model.library.path={path} knows pictures as {library.seen}, and this run reads them as "
            f"{seen_as(config)}: make it with launch/prepare.py library from a run that reads them so too, a smoke run "
            "for one (crops may be of any size, with --pictures)"
        )
    return {"library": library.digest}


def seen_as(config: Config) -> str:
    """How a run sees pictures, by the pixels of which they are known."""
    return f"{config.model.image.size} px, {config.data.fit}"


@functools.lru_cache(4)
def _opened(path: Path, changed: int) -> Tables:
    library = libraries.load(path)
    if not len(library.crops):
        raise UserError(f"config.model.library.path={path} has no crops: make one with launch/prepare.py library")
    return tables(library)


def tables(library: libraries.Library) -> Tables:
    """What the model reads of a library."""
    origins = np.stack([[stable_id(record) for record in library.records], library.pictures], 1).astype(np.int32)
    of_record, of_picture = (int(np.unique(column, return_counts=True)[1].max()) for column in origins.T)
    mean, components = library.components
    features = library.features(library.crops)
    scale = 1 / max(1e-6, float(np.sqrt(np.mean(np.square(features)))))
    # As many as there can be, so that the model's parameters do not depend on the library.
    wide = ((0, 0), (0, libraries.FEATURES - features.shape[1]))
    features, components = (np.pad(scale * x, wide).astype(np.float32) for x in (features, components))
    text_of = library.text_of.astype(np.int32)
    total = np.zeros((len(library.texts), libraries.FEATURES), np.float32)
    np.add.at(total, text_of, features)
    count = np.bincount(text_of, minlength=len(library.texts)).astype(np.float32)
    data = [vocab.utf8(text).lower() for text in library.texts]
    hashes = np.array([hash_word(one) for one in data], np.uint32)
    by_hash = np.argsort(hashes, kind="stable").astype(np.int32)
    return Tables(
        library.digest(), library.seen, library.texts, mean, components, features, text_of,
        origins, np.argsort(origins, 0, kind="stable").astype(np.int32), (of_record, of_picture), total, count,
        hashes[by_hash], by_hash, np.array([len(x) for x in data], np.int32),
    )  # fmt: skip


class Library(nn.Module):
    """Fuses standard texts into objects and standard images into texts, through gates that begin closed.

    Attributes:
      config: of the model.
    """

    config: ModelConfig

    def setup(self):
        width, normal, zeros = self.config.width, nn.initializers.normal, nn.initializers.zeros
        if self.config.library.objects:
            self.object_kernel = self.param("object_kernel", normal(width**-0.5), (width, width))
            self.object_gate = self.param("object_gate", zeros, (width,))
        if self.config.library.texts:
            features = libraries.FEATURES
            self.text_kernel = self.param("text_kernel", normal(features**-0.5), (features, width))
            self.text_gate = self.param("text_gate", zeros, (width,))

    def standard_texts(
        self,
        image: UInt8[Array, "B Y X 3"],
        boxes: Float[Array, "B K 4"],
        masked: Bool[Array, "B K"] | None,
        origins: Int[Array, "B O"] | None,
    ) -> tuple[UInt16[Array, "B K L"], Bool[Array, "B K"]]:
        """The standard text of each object, that of the crop most like it, and where there is one.

        Args:
          image: without what is masked in it.
          boxes: of the objects; those without area find nothing.
          masked: objects that find nothing.
          origins: of the rows; see `Passes.origins`. Crops that share one are passed over.
        """
        library = opened(self.config.library.path)
        crop, found = nearest(library, image, boxes, origins)
        found &= jnp.all(boxes[..., 2:] > boxes[..., :2], -1)
        ids = np.stack([text_ids(text, self.config.text.max_bytes) for text in library.texts])
        return jnp.asarray(ids)[jnp.asarray(library.text_of)[crop]], found if masked is None else found & ~masked

    def told(self, objects: Tokens, texts: Tokens, found: Bool[Array, "B K"]) -> Tokens:
        """Objects with the characters of their standard texts.

        Args:
          objects: of pictures.
          texts: characters of a standard text, one row an object.
          found: objects that have one.
        """
        there = texts.valid[..., None].astype(texts.vectors.dtype)
        mean = jnp.sum(texts.vectors * there, 1) / jnp.maximum(1, jnp.sum(there, 1))
        mean = rearrange(mean, "(b k) d -> b k d", k=found.shape[1])
        return _added(objects, jnp.where(found[..., None], mean, 0), self.object_kernel, self.object_gate)

    def shown(self, tokens: Tokens, text: Integer[Array, "B L"], origins: Int[Array, "B O"] | None) -> Tokens:
        """Characters of texts with what the crops of the standard texts among them look like.

        Args:
          tokens: of the texts.
          text: their ids.
          origins: of the rows; crops that share one are passed over.
        """
        library = opened(self.config.library.path)
        content, there = standard_images(library, mentioned(library, text.astype(jnp.int32)), origins)
        place = jnp.arange(text.shape[1])
        inside = (tokens.spans[..., :1] <= place) & (place < tokens.spans[..., 1:]) & there[:, None]
        share = inside / jnp.maximum(1, jnp.sum(inside, -1, keepdims=True))
        return _added(tokens, jnp.einsum("btl,blf->btf", share, content), self.text_kernel, self.text_gate)


def _added(tokens: Tokens, content: Array, kernel: Array, gate: Array) -> Tokens:
    vectors = tokens.vectors
    return tokens._replace(vectors=vectors + gate.astype(vectors.dtype) * linear(content.astype(vectors.dtype), kernel))


def nearest(
    library: Tables, image: UInt8[Array, "B Y X 3"], boxes: Float[Array, "B K 4"], origins: Int[Array, "B O"] | None
) -> tuple[Int[Array, "B K"], Bool[Array, "B K"]]:
    """Index of the crop that is most like what lies in each box, and whether there is any of another picture.

    Nearness is that of `lexicon.library.Library.nearest`, as one product with the features of all crops.
    """
    pixels = rearrange(resized(image, boxes, libraries.SIDE), "b k y x c -> b k (y x c)") / 255
    highest = jax.lax.Precision.HIGHEST
    features = jnp.matmul(pixels - library.mean, library.components, precision=highest)
    likeness = jnp.matmul(features, library.features.T, precision=highest)
    likeness = likeness - np.sum(np.square(library.features), -1) / 2
    if origins is not None:
        own = jnp.any(origins[:, None] == library.origins[:, : origins.shape[1]], -1)
        likeness = jnp.where(own[:, None], -jnp.inf, likeness)
    return jnp.argmax(likeness, -1), jnp.max(likeness, -1) > -jnp.inf


def resized(image: UInt8[Array, "B Y X 3"], boxes: Float[Array, "B K 4"], size: int) -> Float[Array, "B K S S 3"]:
    """What lies in boxes as squares, each pixel of which is the mean over its area; zeros in a box without area."""

    def shares(low: Array, high: Array, count: int) -> Float[Array, "B K S N"]:
        # In pixels, whole ones as where crops are cut for the library.
        low, high = (jnp.round(edge[..., None] * count) for edge in (low, high))
        edges = low + (high - low) * jnp.arange(size + 1) / size
        first, last, pixel = edges[..., :-1, None], edges[..., 1:, None], jnp.arange(count)
        covered = jnp.maximum(0, jnp.minimum(last, pixel + 1) - jnp.maximum(first, pixel))
        return covered / jnp.maximum(1e-6, last - first)

    down = shares(boxes[..., 0], boxes[..., 2], image.shape[1])
    across = shares(boxes[..., 1], boxes[..., 3], image.shape[2])
    return jnp.einsum("bksy,byxc,bktx->bkstc", down, image.astype(jnp.float32), across)


def mentioned(library: Tables, text: Int[Array, "B L"]) -> Int[Array, "B L"]:
    """Index of the standard text that each byte of texts belongs to, the longest where they overlap; -1 of none.

    Standard texts are found as whole words, by the hashes of their bytes. Next to a masked byte no word is whole: it
    might go on there. Padding between words, as `mask_predict` has it, parts nothing.
    """
    order = jnp.argsort(text == vocab.PAD, 1, stable=True)
    found = jnp.take_along_axis(_mentioned(library, jnp.take_along_axis(text, order, 1)), jnp.argsort(order, 1), 1)
    return jnp.where(text == vocab.PAD, -1, found)


def _mentioned(library: Tables, text: Int[Array, "B L"]) -> Int[Array, "B L"]:
    length = text.shape[1]
    sizes = np.unique(library.lengths[library.lengths <= length])
    if not len(sizes):
        return jnp.full(text.shape, -1)
    text, place = lower(text), jnp.arange(length)
    goes_on = jnp.pad(is_letter(text) | (text == vocab.MASK), ((0, 0), (1, 1)))
    whole = ~goes_on[:, :-2]
    end = jnp.minimum(place + sizes[:, None], length)  # [sizes, L]
    rows = (len(text), len(sizes) * length)
    start = jnp.broadcast_to(jnp.tile(place, len(sizes)), rows)
    hashes = rearrange(run_hashes(text, start, jnp.broadcast_to(end.reshape(-1), rows)), "b (s l) -> b s l", l=length)
    slot = jnp.minimum(jnp.searchsorted(library.hashes, hashes), len(library.hashes) - 1)
    index = jnp.asarray(library.by_hash)[slot]
    same = (jnp.asarray(library.hashes)[slot] == hashes) & (jnp.asarray(library.lengths)[index] == sizes[:, None])
    fits = (place + sizes[:, None] <= length) & ~goes_on[:, end + 1]
    begins = same & fits & whole[:, None]
    last = jax.lax.cummax(jnp.where(begins, place, -1), axis=2)
    covers = (last >= 0) & (place - last < sizes[:, None])
    of_size = jnp.where(covers, jnp.take_along_axis(index, jnp.maximum(last, 0), 2), -1)
    longest = len(sizes) - 1 - jnp.argmax(covers[:, ::-1], 1)
    return jnp.take_along_axis(of_size, longest[:, None], 1)[:, 0]


def standard_images(
    library: Tables, at: Int[Array, "B L"], origins: Int[Array, "B O"] | None
) -> tuple[Float[Array, "B L F"], Bool[Array, "B L"]]:
    """Mean features of the crops of each byte's standard text, and where there are any.

    Args:
      library: what is looked up.
      at: what `mentioned` returned.
      origins: of the rows; crops that share one do not count.
    """
    total, count = jnp.asarray(library.total)[at], jnp.asarray(library.count)[at]
    if origins is not None:
        crops, theirs = own_crops(library, origins)
        same = theirs[:, None] & (jnp.asarray(library.text_of)[crops][:, None] == at[..., None])
        total = total - jnp.einsum("blm,bmf->blf", same.astype(jnp.float32), jnp.asarray(library.features)[crops])
        count = count - jnp.sum(same, -1)
    there = (at >= 0) & (count > 0)
    return jnp.where(there[..., None], total / jnp.maximum(1, count)[..., None], 0), there


def own_crops(library: Tables, origins: Int[Array, "B O"]) -> tuple[Int[Array, "B M"], Bool[Array, "B M"]]:
    """Crops that may share an origin with each row, and which of them do, each once."""
    crops, theirs = [], []
    for kind, (origin, most) in enumerate(zip(origins.T, library.most, strict=False)):
        order = library.by_origin[:, kind]
        place = jnp.searchsorted(library.origins[order, kind], origin)[:, None] + jnp.arange(most)
        found = jnp.asarray(order)[jnp.minimum(place, len(order) - 1)]
        of = jnp.asarray(library.origins)[found]
        # Beyond the last crop the last one repeats; what shares an origin before this one was counted there.
        again = jnp.any(of[..., :kind] == origins[:, None, :kind], -1)
        crops.append(found)
        theirs.append((of[..., kind] == origin[:, None]) & (place < len(order)) & ~again)
    return jnp.concatenate(crops, 1), jnp.concatenate(theirs, 1)
