"""Tests of hits that are ranked again: by match, with boxes of their metadata, and by objects that a text expects."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from xmjax import predict
from xmjax.data.arrays import text_ids
from xmjax.data.playroom import Playroom
from xmjax.data.regions import boxes_array, label_ids
from xmjax.data.source import Region
from xmjax.errors import UserError
from xmjax.evaluation.items import query
from xmjax.evaluation.labels import expected
from xmjax.model_api import Model
from xmjax.objectives import options
from xmjax.training.step import init, make_model


def test_hits_are_ranked_again_by_match(make_config, tmp_path):
    config = make_config({"model.matching": True, "objectives": {n: options(n) for n in ("contrast", "match")}})
    loaded, records = Model(config, jax.jit(lambda: init(config))().params), Playroom("val").read(range(4))
    for i, record in enumerate(records):
        Image.fromarray(record.image).save(tmp_path / f"{i}.png")
    (tmp_path / "texts.txt").write_text("\n".join(r.captions[0].text for r in records), encoding="utf-8")
    index = loaded.make_index(tmp_path)
    text = records[0].captions[0].text
    for asked, of in (({"text": text}, "image"), ({"image": records[0].image}, "text")):
        nearest = loaded.retrieve(asked, index, 4, of)
        again = loaded.retrieve(asked, index, 4, of, rerank=3)
        assert {hit.name for hit in again[:3]} == {hit.name for hit in nearest[:3]} and again[3] == nearest[3]
        other = [str(tmp_path / h.name) if of == "image" else h.name for h in again[:3]]
        matched = loaded.match(text, other) if of == "image" else loaded.match(other, records[0].image)
        assert [hit.score for hit in again[:3]] == pytest.approx(matched, abs=1e-5)
        assert matched == sorted(matched, reverse=True)
        assert len(loaded.retrieve(asked, index, 2, of, rerank=3)) == 2
    for asked, of in (({"text": text}, ""), ([(1, "text", text), (1, "image", records[0].image)], "image")):
        with pytest.raises(UserError, match="ranked again by how a text and a picture match"):
            loaded.retrieve(asked, index, 4, of, rerank=3)
    for wrong in ({"top": 0, "rerank": 3}, {"rerank": -1}, {"boxes": [(0, 0, 1, 1)]}, {"by": "objects"}):
        with pytest.raises(UserError, match=r"ask for at least one|boxes and by are read where"):
            loaded.retrieve({"text": text}, index, of="image", **wrong)


def test_pictures_are_ranked_again_by_boxes_of_their_metadata(make_config, tmp_path):
    objectives = {name: options(name) for name in ("contrast", "match")}
    config = make_config({"model.matching": True, "model.regions.count": 2, "objectives": objectives})
    loaded, records = Model(config, jax.jit(lambda: init(config))().params), Playroom("val").read(range(4))
    for i, record in enumerate(records):
        Image.fromarray(record.image).save(tmp_path / f"{i}.png")
    text = records[0].captions[0].text
    with pytest.raises(UserError, match="a column 'boxes' of metadata"):
        loaded.retrieve({"text": text}, loaded.make_index(tmp_path), of="image", rerank=3)
    given = {"1.png": [(0, 0, 16, 16), (8, 8, 8, 24), (0, 0, 4, 4)], "2.png": [(4, 0, 28, 8)]}  # x, y, width, height
    lines = [
        {"file_name": name, "width": 32, "height": 32, "boxes": [{"bbox": box, "category": "toy"} for box in boxes]}
        for name, boxes in (given | {"0.png": []}).items()
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    loaded.make_index(tmp_path).save(tmp_path / "index")
    index = loaded.index(tmp_path / "index")
    # The two largest of three, as in training; 0.png has none, 3.png is not in the metadata.
    boxes = {"1.png": [(0, 0, 0.5, 0.5), (0.25, 0.25, 1, 0.5)], "2.png": [(0, 0.125, 0.25, 1)]}
    assert index.regions == {n: tuple(Region(box, "toy") for box in those) for n, those in boxes.items()}
    again = loaded.retrieve({"text": text}, index, 4, "image", rerank=4)
    assert {hit.name for hit in again[:2]} == set(given)
    for hit in again[:2]:
        assert hit.score == loaded.match(text, str(tmp_path / hit.name), boxes[hit.name])
    assert again[2:] == [h for h in loaded.retrieve({"text": text}, index, 4, "image") if h.name not in given]
    with pytest.raises(UserError, match="those of pictures that are found are in the index"):
        loaded.retrieve({"text": text}, index, 4, "image", rerank=3, boxes=[(0, 0, 1, 1)])


def test_pictures_are_ranked_again_by_the_objects_that_a_text_makes_expect(make_config, tmp_path):
    objectives = {"contrast": options("contrast"), "regions": options("regions", seen=1.0)}
    config = make_config({"model.regions.count": 4, "objectives": objectives})
    params = jax.jit(lambda: init(config))().params
    model = make_model(config).bind({"params": params})
    loaded, records = Model(config, params), Playroom("val").read(range(6))
    lines = []
    for i, record in enumerate(records[:5]):  # the last is not in the metadata
        regions = [{"bbox": [32 * x for x in (b[1], b[0], b[3] - b[1], b[2] - b[0])], "category": label}
                   for b, label in ((r.box, r.label) for r in record.regions)]  # fmt: skip
        lines.append({"file_name": f"{i}.png", "width": 32, "height": 32, "boxes": regions})
    for i, record in enumerate(records):
        Image.fromarray(record.image).save(tmp_path / f"{i}.png")
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    loaded.make_index(tmp_path).save(tmp_path / "index")
    text = query(records[0], 0).text
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text(text, encoding="utf-8")
    texts = loaded.make_index(tmp_path / "texts")
    found = predict.retrieve(loaded, str(tmp_path / "index"), text, of="image", top=6, rerank=6, by="objects")
    names, scores = [item["name"] for item in found.values["items"]], [i["score"] for i in found.values["items"]]
    assert sorted(names[:5]) == [f"{i}.png" for i in range(5)] and names[5] == "5.png"
    assert scores[:5] == sorted(scores[:5], reverse=True) and len(set(scores)) == 6
    labels = [[region.label for region in record.regions] for record in records[:5]]
    assert scores[:5] == pytest.approx(sorted(loaded.expects(text, labels), reverse=True), abs=1e-5)
    # As the evaluator scores pictures.
    boxes = np.stack([boxes_array(record.regions, 4) for record in records[:5]])
    ids = jnp.stack([label_ids(r.regions, b[:, 2] > 0, 15) for r, b in zip(records, boxes, strict=False)])
    told = jnp.asarray(np.repeat(text_ids(text, config.model.text.max_bytes)[None], 5, 0))
    asked, unasked = (expected(model, (jnp.asarray(boxes), ids), known) for known in (told, None))
    assert loaded.expects(text, labels) == pytest.approx((unasked - asked).tolist(), abs=1e-4)
    for wrong, message in (({"by": "colour"}, "match or objects"), ({"of": "text"}, "by='objects' for one text")):
        with pytest.raises(UserError, match=message):
            loaded.retrieve({"image": records[0].image}, texts, **{"by": "objects", "rerank": 2} | wrong)
    for wrong in ([], ["toy"] * 5, "toy"):
        with pytest.raises(UserError, match="is no list of labels of a picture's objects: this run reads 1 to 4"):
            loaded.expects(text, [["toy"], wrong])
