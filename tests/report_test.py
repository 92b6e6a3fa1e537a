"""Tests of the report of a run."""

import base64
import html.parser
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from xmjax import report, scores
from xmjax.errors import UserError

SCORES = {
    "playroom/fill/image": 0.962,
    "playroom/fill/no_image": 0.131,
    "playroom/fill/shuffled_image": 0.082,
    "playroom/fill/chance": 0.118,
    "playroom/fill/most_frequent": 0.174,
    "playroom/fill/image/oracle": 1.0,
    "playroom/fill/no_image/oracle": 0.118,
    "playroom/fill/n": 487,
    "playroom/fill/by_class/color": 0.973,
    "playroom/caption/exact": 0.9,
    "playroom/caption/exact/oracle": 0.995,
    "playroom/caption/exact/most_frequent": 0.013,
    "playroom/caption/bits_per_byte": 0.387,
    "playroom/caption/n": 500,
    "playroom/retrieval/text_to_image/R@1": 0.81,
    "playroom/retrieval/text_to_image/MedR": 1.0,
    "playroom/retrieval/text_to_image/MedR/random": 50.5,
    "playroom/retrieval/text_to_image/R@1/random": 0.01,
    "playroom/retrieval/text_to_image/n": 500,
}
EVIL = '<script>alert("x")</script> & 배'


class Page(html.parser.HTMLParser):
    """Collects what a test asks about a page."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += re.sub(r"\s+", " ", data)

    def images(self, kind: str) -> list[bytes]:
        """Data of the embedded images of one kind."""
        start = f"data:image/{kind};base64,"
        sources = [attributes["src"] for tag, attributes in self.tags if tag == "img"]
        return [base64.b64decode(source[len(start) :]) for source in sources if source.startswith(start)]


def png() -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def example(right: bool, **more) -> dict:
    return {
        "image_png": png(),
        "captions": ["a red boat"],
        "masked": "a ▁▁▁ boat",
        "answer": "red",
        "right": right,
        "candidates": [["red", 0.75], ["blue", 0.25]] if right else [["blue", 0.75], ["white", 0.25]],
        "prompt": "en pair",
        "caption": "a red boat",
        "exact": True,
        "references": ["a red boat"],
        "nearest": [["a red boat", 0.91], ["a pear", 0.3]],
        "unmasked": "a boat in red",
        "unmasked certain_first": "a red red boat",
    } | more


@pytest.fixture
def workdir(tmp_path) -> Path:
    """A workdir with all parts."""
    root = tmp_path / "base"
    (root / "eval").mkdir(parents=True)
    config = {"name": "small", "steps": 300, "batch_size": 64, "xmjax_version": "0.1.0", "command": "python x.py"}
    (root / "config.json").write_text(json.dumps(config))
    with open(root / "metrics.jsonl", "w") as file:
        for step in range(1, 201):
            line = {"step": step, "loss": 9 / step, "fill/loss": 3 / step if step != 3 else None, "learning_rate": 1e-3,
                    "perf/examples_per_second": 800.0, "perf/step_seconds": 0.08, "goodput/step_seconds": 0.75 * step,
                    "goodput/evaluation_seconds": 0.25 * step, "goodput/total_seconds": step}  # fmt: skip
            file.write(json.dumps(line) + "\n")
        file.write('{"step": 201, "lo')
    for step, factor in ((100, 0.5), (200, 1.0)):
        values = SCORES | {"playroom/fill/image": factor * SCORES["playroom/fill/image"]}
        (root / "eval" / f"step_{step}.json").write_text(json.dumps(values))
    examples = {f"val/{i}": example(i % 2 == 0) for i in range(30)} | {"val/99": {"caption": "only a caption"}}
    (root / "eval" / "step_200.examples.json").write_text(json.dumps(examples))
    return root


def test_whole_report(workdir):
    page = Page(report.write(workdir))
    assert not page.open
    for text in ("base", "small", "200 of 300", "12,800", "3.3 min", "python x.py", "Scores at step 200"):
        assert text in page.text, text
    for text in ("96.2%", "100.0%", "11.8%", "17.4%", "13.1%", "8.2%", "487", "0.387", "50.5", "800.0", "80.0 ms"):
        assert text in page.text, text
    assert re.search(r"step *2\.5 min *75\.0%", page.text)
    assert "What is missing" not in page.text
    # 6 groups of scores (fill, by class, retrieval % and rank, caption % and bits), and 4 keys of the training.
    assert len(page.images("svg+xml")) == 6 + 4
    assert all(image.startswith(b"<?xml") for image in page.images("svg+xml"))
    pictures = page.images("png")
    assert len(pictures) == 20 and Image.open(io.BytesIO(pictures[0])).size == (8, 8)
    assert page.text.count("the answer, not among these") == 10
    assert "details" in {tag for tag, _ in page.tags}
    for way, text in (("chosen", "a boat in red"), ("certain first", "a red red boat")):
        assert re.search(rf"{text}\W*{way}", page.text), way


def test_nothing_from_elsewhere(workdir):
    page = Page(report.write(workdir))
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    for _, attributes in page.tags:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in page.source and "@import" not in page.source


def test_text_is_escaped(workdir):
    evil = example(False, masked=EVIL, answer=EVIL, candidates=[[EVIL, 1.0]], prompt=EVIL, caption=EVIL, exact=False,
                   references=[EVIL], nearest=[[EVIL, 0.5]], captions=[EVIL], image_png='"><b>')  # fmt: skip
    (workdir / "eval" / "step_200.examples.json").write_text(json.dumps({EVIL: evil}))
    (workdir / "config.json").write_text(json.dumps({"name": EVIL, "command": EVIL}))
    (workdir / "eval" / "step_300.json").write_text(json.dumps({f"{EVIL}/fill/image": 0.5}))
    (workdir / "eval" / "step_300.examples.json").write_text(json.dumps({EVIL: evil}))
    page = Page(report.write(workdir))
    assert "<script" not in page.source and '"><b>' not in page.source
    assert page.text.count(EVIL) >= 9


@pytest.mark.parametrize(
    ("gone", "said", "kept"),
    [
        ("eval/*", "nothing has been evaluated yet", "Training"),
        ("eval/*.examples.json", "eval/step_200.examples.json is not there", "Scores at step 200"),
        ("metrics.jsonl", "no step has been logged yet", "Scores at step 200"),
        ("config.json", "config.json is not there", "Scores at step 200"),
        ("**/*", "nothing has been evaluated yet", "base"),
    ],
)
def test_missing_parts_are_named(workdir, gone, said, kept):
    for path in list(workdir.glob(gone)):
        if path.is_file():
            path.unlink()
    page = Page(report.write(workdir))
    assert "What is missing" in page.text and said in page.text and kept in page.text


def test_damaged_and_odd_parts(workdir):
    (workdir / "config.json").write_text("[1]")
    (workdir / "eval" / "step_200.json").write_text("{")
    odd = {"a": {"right": True, "masked": "\ud83d"}, "b": 3}
    (workdir / "eval" / "step_100.examples.json").write_text(json.dumps(odd))
    page = Page(report.write(workdir))
    for text in (
        "config.json holds no JSON object",
        "step_200.json cannot be read",
        "Scores at step 100",
        "no picture",
    ):
        assert text in page.text, text
    assert "evaluated once" in page.text
    (workdir / "eval" / "step_100.examples.json").write_text(json.dumps({"a": {"caption": "b"}}))
    assert "None was judged" in Page(report.write(workdir)).text


def test_scores_that_are_not_finite(workdir):
    (workdir / "eval" / "step_200.json").write_text(json.dumps(SCORES | {"playroom/fill/image": float("nan")}))
    assert "not finite" in Page(report.write(workdir)).text


def test_command_line(workdir, tmp_path, capsys):
    assert report.main([str(workdir)]) == 0
    assert Path(capsys.readouterr().out.strip()) == workdir / "report.html"
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="pass the workdir"):
            report.write(path)
    done = subprocess.run(
        [sys.executable, "-m", "xmjax.report", str(tmp_path / "none")],
        cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("report: there is no run in")
    assert "Traceback" not in done.stderr


def test_rows_stand_beside_their_references():
    rows = {row.key.removeprefix("playroom/"): row for row in scores.rows(SCORES | {"playroom/fill/odd": None})}
    assert list(rows) == [
        "fill/image",
        "fill/no_image",
        "fill/shuffled_image",
        "fill/by_class/color",
        "caption/exact",
        "caption/bits_per_byte",
        "retrieval/text_to_image/R@1",
        "retrieval/text_to_image/MedR",
    ]
    fill = rows["fill/image"]
    assert (fill.oracle, fill.n, fill.baselines) == (1.0, 487, {"chance": 0.118, "most_frequent": 0.174})
    assert rows["fill/shuffled_image"].oracle is None
    assert rows["fill/by_class/color"].baselines == {} and rows["fill/by_class/color"].n is None
    assert rows["caption/exact"].baselines == {"most_frequent": 0.013}
    assert rows["caption/bits_per_byte"].baselines == {} and rows["caption/bits_per_byte"].n == 500
    assert rows["retrieval/text_to_image/R@1"].baselines == {"random": 0.01}
    assert [rows[k].unit for k in ("fill/image", "caption/bits_per_byte", "retrieval/text_to_image/MedR")] == [
        "%",
        "bits per byte",
        "rank",
    ]


def test_summary_is_aligned():
    lines = report.summary(SCORES, "base").splitlines()
    assert lines[0].split() == ["base", "score", "oracle", "chance", "random", "most", "frequent", "n"]
    assert len({len(line) for line in lines if not line.startswith("playroom")}) == 1
    (line,) = [line for line in lines if "with its own image" in line]
    assert line.split()[-6:] == ["96.2%", "100.0%", "11.8%", "-", "17.4%", "487"]
    (line,) = [line for line in lines if "text to image: MedR" in line]
    assert line.split()[-6:] == ["1.0", "-", "-", "50.5", "-", "500"]
    assert report.summary({}, "base") == "base: no scores"
    assert "not finite" in report.summary({"a/caption/bits_per_byte": float("nan")}, "base")
