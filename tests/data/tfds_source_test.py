"""Tests of tfds data sets: a small one is written by tfds itself, without TensorFlow."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from xmjax.data.source import Record, Unreadable
from xmjax.data.tfds_source import Tfds
from xmjax.errors import UserError

FEATURES = tfds.features.FeaturesDict(
    {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "key": tfds.features.Text(),
        "captions": tfds.features.Sequence({"id": tfds.features.Scalar(np.int64), "text": tfds.features.Text()}),
        "names": tfds.features.Sequence(tfds.features.Text()),
        "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        "count": tfds.features.Scalar(np.int64),
    }
)
SHADES = (0, 50, 100, 150, 200, 250)


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


class SmallPictures(tfds.core.GeneratorBasedBuilder):
    """Six plain pictures, the last one truncated."""

    __module__ = "small_pictures"  # tfds looks for the file of a class in a namespace package with importlib_resources
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=FEATURES)

    def _split_generators(self, _):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number, shade in enumerate(SHADES):
            data = png(shade)
            yield (
                number,
                {
                    "image": io.BytesIO(data if shade != SHADES[-1] else data[:-30]),
                    "key": f"key{shade}",
                    "captions": [{"id": 1, "text": f"shade {shade}"}, {"id": 2, "text": f"명암 {shade}"}],
                    "names": [f"s{shade}"] if shade else [],
                    "label": number % 2,
                    "count": number,
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("tfds")
    SmallPictures(data_dir=path, file_format="array_record").download_and_prepare()
    return str(path)


def test_nested_captions(data_dir):
    source = Tfds("small_pictures", root=data_dir, id_feature="key", image_size=8, keep_file_bytes=True)
    assert len(source) == len(SHADES)
    assert source.name == "small_pictures"
    by_id = {record.id: record for record in source.read(np.arange(len(SHADES)))}
    broken = by_id.pop("key250")
    assert isinstance(broken, Unreadable) and "cannot be decoded" in broken.reason
    assert sorted(by_id) == sorted(f"key{shade}" for shade in SHADES[:-1])
    record = by_id["key100"]
    assert isinstance(record, Record)
    assert [caption.text for caption in record.captions] == ["shade 100", "명암 100"]
    assert [(word.start, word.end) for word in record.captions[1].words] == [(0, 6), (7, 10)]
    assert record.image.shape == (8, 8, 3) and np.all(record.image == (100, 0, 0))
    assert record.file == png(100)


def test_order_and_repetition(data_dir):
    source = Tfds("small_pictures", root=data_dir, id_feature="key", image_size=8)
    ids = [record.id.split(" ")[0] for record in source.read(range(6))]
    assert [record.id for record in source.read([4, 1, 1])] == [ids[4], ids[1], ids[1]]


def test_list_of_texts_and_records_without(data_dir):
    records = Tfds("small_pictures", root=data_dir, text_feature="names", language="en", image_size=8).read(range(6))
    texts = [record.captions[0].text for record in records if isinstance(record, Record)]
    assert sorted(texts) == ["s100", "s150", "s200", "s50"]
    assert all(record.captions[0].language == "en" for record in records if isinstance(record, Record))
    assert "it has no caption" in [record.reason for record in records if isinstance(record, Unreadable)]


def test_class_labels_are_names(data_dir):
    source = Tfds("small_pictures", root=data_dir, text_feature="label", id_feature="count", image_size=8)
    labels = {record.id: record.captions[0].text for record in source.read(range(6)) if isinstance(record, Record)}
    assert labels == {"0": "cat", "1": "dog", "2": "cat", "3": "dog", "4": "cat"}


def test_manifest_tells_splits_apart(data_dir):
    whole = Tfds("small_pictures", root=data_dir)
    part = Tfds("small_pictures", root=data_dir, split="train[:50%]")
    assert len(part) == 3
    assert whole.manifest() == Tfds("small_pictures", root=data_dir).manifest()
    assert whole.manifest() != part.manifest()
    assert part.read([0])[0].id == "train[:50%]/0"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dataset": ""}, ["--config.data.builder"]),
        ({"dataset": "no_such_set"}, ["no_such_set", "tfds build", "--config.data.root"]),
        ({"root": "/no/such/folder"}, ["/no/such/folder", "--config.data.root"]),
        ({"split": "test"}, ["'test'", "train", "--config.data.train_split", "--config.data.validation_split"]),
        ({"split": "train[:1%]"}, ["empty", "--config.data.validation_split"]),
        ({"image_feature": "picture"}, ["'picture'", "image", "--config.data.image_feature"]),
        ({"image_feature": "label"}, ["'label'", "ClassLabel", "--config.data.image_feature"]),
        ({"text_feature": "captions/words"}, ["'captions/words'", "captions/text", "--config.data.text_feature"]),
        ({"text_feature": "count"}, ["'count'", "Scalar", "--config.data.text_feature"]),
        ({"text_feature": "captions"}, ["'captions'", "FeaturesDict", "--config.data.text_feature"]),
        ({"id_feature": "nothing"}, ["'nothing'", "key", "id_feature=NAME"]),
        ({"fit": "squash"}, ["squash", "crop"]),
        ({"image_size": 0}, ["image_size"]),
    ],
)
def test_mistakes_are_named(data_dir, options, words):
    with pytest.raises(UserError) as caught:
        Tfds(**({"dataset": "small_pictures", "root": data_dir} | options))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_reading_imports_no_tensorflow(data_dir):
    code = (
        "import sys\n"
        "from xmjax.data.tfds_source import Tfds\n"
        "source = Tfds('small_pictures', root=sys.argv[1], image_size=8)\n"
        "assert sum(hasattr(record, 'image') for record in source.read(range(6))) == 5\n"
        "assert 'tensorflow' not in sys.modules, 'tensorflow was imported'\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code, data_dir], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
