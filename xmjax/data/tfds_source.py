"""Data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from xmjax.data import images
from xmjax.data.image_files import check_image_options, read_parallel
from xmjax.data.source import Caption, Record, Unreadable
from xmjax.data.words import words
from xmjax.errors import UserError

_SPLIT_FIELDS = "--config.data.train_split or --config.data.validation_split"


class Tfds:
    """One split of a data set of images with texts or class labels, prepared in the ArrayRecord format.

    Reading takes no TensorFlow. Preparing most data sets does: ``tfds build NAME --file_format=array_record``.

    Args:
      dataset: its name, with config and version where they matter: "NAME/CONFIG:VERSION".
      root: where it is prepared. Empty: the ``TFDS_DATA_DIR`` of the environment, else ``~/tensorflow_datasets``.
      split: a split in tfds' notation, such as "train" or "train[:90%]".
      image_feature: name of the image feature.
      text_feature: path of a text or class label, or of a sequence of them: "label", "captions/text".
      id_feature: name of the feature with the record's id. Empty: the split and the position in it.
      language: language tag of the texts, "" where unknown.
      image_size: side of the decoded images in pixels.
      fit: how images become square, see `images.decode`.
      keep_file_bytes: whether records also have the undecoded file.
      name: what to call this source. Empty: the data set's name.

    Raises:
      UserError: the data set, split or a feature is missing, the data is not in a format with random access, or an
        option is not valid.
    """

    def __init__(
        self,
        dataset: str,
        *,
        root: str = "",
        split: str = "train",
        image_feature: str = "image",
        text_feature: str = "captions/text",
        id_feature: str = "",
        language: str = "",
        image_size: int = 64,
        fit: str = "crop",
        keep_file_bytes: bool = False,
        name: str = "",
    ):
        check_image_options(image_size, fit)
        builder = _builder(dataset, root)
        features = builder.info.features
        _check_image(dataset, features, image_feature)
        label = _text_feature(dataset, features, text_feature)
        if id_feature and id_feature not in features:
            raise _missing(dataset, id_feature, "id_feature", features)  # An argument only, no field of a config.
        try:
            info = builder.info.splits[split]
            if not info.num_examples:
                raise UserError(f"split {split!r} of tfds data set {dataset} is empty: set {_SPLIT_FIELDS}.")
            files = [instruction.filename for instruction in info.file_instructions]
            self._data = builder.as_data_source(split, decoders={image_feature: tfds.decode.SkipDecoding()})
        except UserError:
            raise
        except Exception as error:  # tfds raises ValueError, KeyError, AssertionError and others of its own.
            raise UserError(
                f"split {split!r} of tfds data set {dataset} cannot be read: {first_line(error)} "
                f"Set {_SPLIT_FIELDS}, or prepare the data with --file_format=array_record."
            ) from error
        self.name = name or builder.info.name
        self._split = split
        self._names = label.names if isinstance(label, tfds.features.ClassLabel) else None
        self._image_feature, self._text_path, self._id_feature = image_feature, text_feature.split("/"), id_feature
        self._language = language
        self._image_size, self._fit, self._keep_file_bytes = image_size, fit, keep_file_bytes
        self._settings = {
            "source": "tfds",
            "dataset": builder.info.full_name,
            "split": split,
            "features": [image_feature, text_feature, id_feature],
            "language": language,
            "image_size": image_size,
            "fit": fit,
            "keep_file_bytes": keep_file_bytes,
            "records": len(self._data),
            "files": files_hash(files),
        }

    def __len__(self) -> int:
        return len(self._data)

    def read(self, indices: Sequence[int]) -> list[Record | Unreadable]:
        """Records at ``indices``, in order, with images uint8 [image_size, image_size, 3]; see `Source.read`."""
        positions = [int(index) for index in indices]
        return read_parallel(self._record, list(zip(positions, read_examples(self._data, positions), strict=True)))

    def manifest(self) -> dict[str, Any]:
        """The options that matter and a hash of the shards' names and sizes in bytes."""
        return dict(self._settings)

    def _record(self, item: tuple[int, dict[str, Any] | Exception]) -> Record | Unreadable:
        position, example = item
        record_id = f"{self._split}/{position}"
        if isinstance(example, Exception):
            return Unreadable(record_id, f"the record cannot be read: {first_line(example)}")
        if self._id_feature:
            record_id = _text(example[self._id_feature])
        try:
            data = example[self._image_feature]
            image = images.decode(data, self._image_size, self._fit)
            texts = list(self._texts(example))
        except UnicodeDecodeError:
            return Unreadable(record_id, "a caption is not UTF-8")
        except ValueError as error:
            return Unreadable(record_id, f"the image cannot be decoded: {error}")
        if not texts:
            return Unreadable(record_id, "it has no caption")
        captions = tuple(Caption(text, self._language, words=words(text)) for text in texts)
        file = data if self._keep_file_bytes else None
        return Record(record_id, captions, image, file, labels=tuple(texts) if self._names is not None else ())

    def _texts(self, example: dict[str, Any]) -> Iterator[str]:
        value: Any = example
        for part in self._text_path:
            value = value[part]
        for leaf in _leaves(value):
            text = self._names[int(leaf)] if self._names is not None else _text(leaf)
            if text.strip():
                yield text.strip()


def _builder(dataset: str, root: str) -> Any:
    if not dataset:
        raise UserError("no tfds data set is named: pass --config.data.builder=NAME.")
    directory = os.path.expanduser(root) if root else None
    if directory and not os.path.isdir(directory):
        raise UserError(f"--config.data.root={root} does not exist: pass the folder where it is prepared.")
    remedy = (
        f"Prepare it with `tfds build {dataset} --file_format=array_record`, or pass the folder where it is with "
        "--config.data.root=DIR."
    )
    where = root or "the default tfds folder"
    try:
        builder = tfds.builder(dataset, data_dir=directory)
        prepared = bool(builder.info.splits)
    except Exception as error:  # Builders that need TensorFlow raise ImportError, unknown ones a ValueError, ...
        raise UserError(f"tfds data set {dataset} is not in {where}: {first_line(error)} {remedy}") from error
    if not prepared:
        raise UserError(f"tfds data set {dataset} is not prepared in {where}. {remedy}")
    return builder


def _check_image(dataset: str, features: Any, name: str) -> None:
    if name not in features:
        raise _missing(dataset, name, "--config.data.image_feature", features)
    if not isinstance(features[name], tfds.features.Image):
        raise UserError(
            f"feature {name!r} of tfds data set {dataset} is {type(features[name]).__name__}, not Image: "
            "choose with --config.data.image_feature=NAME."
        )


def _text_feature(dataset: str, features: Any, path: str) -> Any:
    """The Text or ClassLabel at the end of a path; sequences on the way are passed through."""
    feature = features
    for part in path.split("/"):
        if not isinstance(feature, tfds.features.FeaturesDict) or part not in feature:
            raise _missing(dataset, path, "--config.data.text_feature", features)
        feature = feature[part]
        while isinstance(feature, tfds.features.Sequence):
            feature = feature.feature
    if not isinstance(feature, tfds.features.Text | tfds.features.ClassLabel):
        raise UserError(
            f"feature {path!r} of tfds data set {dataset} is {type(feature).__name__}, not Text or ClassLabel: "
            "choose with --config.data.text_feature=PATH."
        )
    return feature


def _missing(dataset: str, name: str, option: str, features: Any) -> UserError:
    there = ", ".join(sorted(_paths(features)))
    return UserError(f"tfds data set {dataset} has no feature {name!r}; it has {there}: choose with {option}=NAME.")


def _paths(feature: Any, prefix: str = "") -> Iterator[str]:
    while isinstance(feature, tfds.features.Sequence):
        feature = feature.feature
    if not isinstance(feature, tfds.features.FeaturesDict):
        yield prefix
        return
    for name, inner in feature.items():
        yield from _paths(inner, f"{prefix}/{name}" if prefix else name)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def read_examples(data: Any, positions: Sequence[int]) -> list[dict[str, Any] | Exception]:
    """Examples of a data source of tfds, with the error in the place of each that cannot be read."""
    try:
        return data.__getitems__(positions)
    except Exception:  # One damaged record fails the whole batch: find out which.
        return [_example(data, position) for position in positions]


def _example(data: Any, position: int) -> dict[str, Any] | Exception:
    try:
        return data[position]
    except Exception as error:
        return error


def files_hash(paths: Sequence[str]) -> str:
    """A hash of the names and sizes in bytes of files."""
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        digest.update(f"{os.path.basename(path)}\0{os.path.getsize(path)}\n".encode())
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """The first line of an error's message, which in tfds goes on with lists and advice."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".") + "."
