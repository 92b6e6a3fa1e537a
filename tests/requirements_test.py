"""Tests of the table of requirements."""

import json
import re
from pathlib import Path

import pytest

from xmjax import requirements
from xmjax.errors import UserError
from xmjax.requirements import DOCS, Requirement, figure, judge

METRIC = "playroom/fill/image"


def run(seed: int, value: float | None = 0.96, arm: str = "base", **more) -> dict:
    scores = {METRIC: value, f"{METRIC}/oracle": 1.0, "playroom/fill/chance": 0.118, "playroom/fill/no_image": 0.13}
    return {"name": "base", "arm": arm, "seed": seed, "scores": scores, "command": "python x.py"} | more


def row(**fields) -> Requirement:
    return Requirement(**({"id": "S1", "source": "a", "text": "b", "result": "base", "metric": METRIC} | fields))


def test_table_is_up_to_date():
    text = (DOCS / "requirements.md").read_text(encoding="utf-8")
    assert text == requirements.generate(), "run python -m xmjax.requirements"


def test_every_requirement_is_listed_once():
    _, listed = requirements.load(DOCS / "requirements.toml")
    assert [r.id for r in listed] == [f"S{number}" for number in range(1, 69)]
    text = (DOCS / "requirements.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (S\d+) \|", text, re.MULTILINE) == [r.id for r in listed]


def test_rows_without_a_committed_figure_are_open():
    _, listed = requirements.load(DOCS / "requirements.toml")
    results = requirements.read_results(DOCS / "results")
    for r in listed:
        shown = any(r.metric in run["scores"] for run in results.get(r.result, ()))
        if not shown and not (r.test and not r.metric):
            assert judge(r, results).status == "open", r.id
        by_test = "partly" if r.remaining else "tested"
        assert judge(r, {}).status == (by_test if r.test and not r.metric else "open"), r.id


@pytest.mark.parametrize(
    ("fields", "runs", "status"),
    [
        ({"target": 0.95}, [run(0, 0.94), run(1, 0.97)], "met"),
        ({"target": 0.96}, [run(0, 0.94), run(1, 0.97)], "below target"),
        ({"target": 0.95, "also": (f"{METRIC}/oracle",)}, [run(0)], "met"),
        ({"target": 0.95, "also": ("playroom/fill/no_image",)}, [run(0)], "below target"),
        ({"target": 0.95, "also": ("playroom/other",)}, [run(0)], "below target"),
        ({"target": 0.95, "better": "lower"}, [run(0, 0.97)], "below target"),
        ({"target": 0.95, "better": "lower"}, [run(0, 0.9)], "met"),
        ({"target": 0.95}, [run(0, 0.99), run(1, None)], "below target"),
        ({"target": 0.95}, [run(0, float("nan"))], "below target"),
        ({}, [run(0)], "measured"),
        ({"target": 0.9, "remaining": "the rest."}, [run(0, 0.95)], "partly"),
        ({"target": 0.9, "controls": ("playroom/fill/no_image",), "chance": "playroom/fill/chance"}, [run(0)], "met"),
        ({"target": 0.9, "controls": (METRIC,), "chance": "playroom/fill/chance"}, [run(0)], "below target"),
        ({"target": 0.9, "remaining": "the rest."}, [run(0, 0.8)], "below target"),
        ({"target": 0.95}, [], "open"),
        ({"target": 0.95, "test": "tests/a_test.py"}, [], "open"),
        ({"target": 0.95, "metric": "playroom/other"}, [run(0)], "open"),
        ({"target": 0.95, "arm": "small"}, [run(0)], "open"),
        ({"target": 0.95, "arm": "small"}, [run(0, 0.99), run(0, 0.5, "small")], "below target"),
        ({"metric": "", "result": ""}, [run(0)], "open"),
        ({"metric": "", "result": "", "test": "tests/a_test.py"}, [run(0)], "tested"),
    ],
)
def test_status(fields, runs, status):
    assert judge(row(**fields), {"base": runs}).status == status


def test_runs_that_cannot_be_averaged():
    with pytest.raises(UserError, match="arms base, small"):
        judge(row(), {"base": [run(0), run(1, arm="small")]})
    with pytest.raises(UserError, match="seed twice"):
        judge(row(), {"base": [run(0), run(0)]})


def test_figures():
    runs = [run(0, 0.94), run(1, 0.96), run(2, 0.98)]
    assert figure(runs, METRIC) == "96.0 ± 2.0%"
    assert figure(runs[:1], METRIC) == "94.0%"
    assert figure(runs, f"{METRIC}/oracle") == "100.0 ± 0.0%"
    assert figure(runs, "playroom/other") == ""
    assert figure([*runs, run(3, None)], METRIC) == "not finite in 1 of 4 runs"
    ranks = [run(0) | {"scores": {"a/retrieval/MedR": 3.0, "a/retrieval/MedR/random": 50.5, "a/bits_per_byte": 0.5}}]
    assert figure(ranks, "a/retrieval/MedR") == "3.0"
    assert figure(ranks, "a/retrieval/MedR/random") == "50.5"
    assert figure(ranks, "a/bits_per_byte") == "0.500"


TOML = """
[sources]
a = "A document"

[[requirement]]
id = "S1"
source = "a"
text = "Fills in a|b."
issue = 1
result = "base"
metric = "playroom/fill/image"
target = 0.95
oracle = "playroom/fill/image/oracle"
baselines = ["playroom/fill/no_image", "playroom/fill/chance"]

[[requirement]]
id = "S2"
source = "a"
text = "Is structure."
test = "tests/a_test.py"
"""


@pytest.fixture
def docs(tmp_path) -> Path:
    """A small folder of documents."""
    folder = tmp_path / "docs"
    (folder / "results").mkdir(parents=True)
    (folder / "requirements.toml").write_text(TOML)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "a_test.py").touch()
    lines = [json.dumps(run(seed, value)) + "\n" for seed, value in enumerate((0.94, 0.96, 0.98))]
    (folder / "results" / "base.jsonl").write_text("".join(lines))
    return folder


def test_page(docs):
    text = requirements.generate(docs)
    assert "2 rows: 1 met, 1 tested." in text and "## A document" in text
    (first, second) = [line for line in text.splitlines() if line.startswith("| S")]
    assert first == (
        "| S1 | Fills in a\\|b. | #1 | met | `playroom/fill/image` 96.0 ± 2.0% (3 seeds) | ≥ 95.0% | 100.0 ± 0.0% | "
        "no image 13.0 ± 0.0%, chance 11.8 ± 0.0% | `python x.py` |  |"
    )
    assert second == "| S2 | Is structure. |  | tested |  |  |  |  |  | `tests/a_test.py` |"


def test_command_line(docs, capsys):
    options = ["--docs", str(docs)]
    assert requirements.main([*options, "--check"]) == 1
    assert "out of date" in capsys.readouterr().err
    assert requirements.main(options) == 0
    assert (docs / "requirements.md").read_text(encoding="utf-8") == requirements.generate(docs)
    assert requirements.main([*options, "--check"]) == 0
    (docs / "results" / "base.jsonl").write_text(json.dumps(run(0, 0.5)) + "\n")
    assert requirements.main([*options, "--check"]) == 1
    (docs / "requirements.toml").unlink()
    capsys.readouterr()
    assert requirements.main(options) == 2
    assert capsys.readouterr().err.startswith("requirements: ")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('id = "S2"', 'id = "S1"', ["S1", "twice"]),
        ("target =", "targt =", ["S1", "'targt'", "did you mean 'target'"]),
        ("target = 0.95", 'target = "high"', ["S1", "target", "type"]),
        ("issue = 1", "issue = true", ["S1", "issue", "type"]),
        ("issue = 1", 'better = "more"', ["S1", "'more'", "lower"]),
        ('source = "a"\ntext = "Is', 'source = "b"\ntext = "Is', ["S2", "source 'b'"]),
        ('text = "Is structure."', "", ["S2", "text is missing"]),
        ('metric = "playroom/fill/image"', "", ["S1", "result without metric"]),
        ("tests/a_test.py", "tests/b_test.py", ["S2", "no test tests/b_test.py"]),
        ("[sources]", "[sources", ["requirements.toml"]),
    ],
)
def test_mistakes_in_the_list_are_named(docs, old, new, words):
    assert old in TOML
    (docs / "requirements.toml").write_text(TOML.replace(old, new))
    with pytest.raises(UserError) as caught:
        requirements.generate(docs)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("line", ["{", "[1]", '{"seed": 1}', '{"scores": {}}'])
def test_mistakes_in_results_are_named(docs, line):
    with open(docs / "results" / "base.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"base\.jsonl, line 4"):
        requirements.generate(docs)
