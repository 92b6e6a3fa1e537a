"""Comparisons as configs, and what several of them share: settings that lead between easy and hard in few minutes."""

from configs.fine import MODEL

SINGLE = {"data.grade": "single", "data.first_grade": "", "data.first_share": 0.0}
"""One toy a picture, from the first step to the last."""

SMALL = {"model.width": 64, "batch_size": 32}
"""Half of the base run's batch: a step takes two thirds of the time, and early on steps count more than pictures."""

BEGUN = {**SMALL, "begin_from": "runs/base", "data.first_grade": "", "data.first_share": 0.0, "steps": 400}
"""Whole scenes, and a finished base run to begin with: two minutes then lead between easy and hard (docs/log.md)."""

FINE = {**BEGUN, **MODEL, "begin_from": "runs/fine"}
"""The same, begun with configs/fine.py."""

BEGUN_FINE = {"begin_from": "runs/fine"}
"""Nothing else, for configs that are set up for it."""

SUBSETS = tuple(
    f"playroom/subsets/{name}"
    for name in (
        "image+depth+thermal", "image+depth", "image+thermal", "depth+thermal", "image", "depth", "thermal",
        "ensemble", "text_alone", "missing_30", "chance", "most_frequent",
    )
)  # fmt: skip
"""Scores of a run that reads picture, depth and warmth."""
