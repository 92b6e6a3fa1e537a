"""Which mismatches `match` learns from: any in the batch, those that the towers take for matches, or both.

python launch/sweep.py --config=configs/sweeps/negatives.py --jobs=2     two CPU cores, within an hour (9 runs)
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """From random to hard."""
    return ConfigDict(
        {
            "name": "negatives",
            "base": "configs/objects.py",
            "arms": {
                "random": {"objectives.match.hard": 0.0},
                "half hard": {"objectives.match.hard": 0.5},
                "hard": {"objectives.match.hard": 1.0},
            },
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/match/auroc",
                "playroom/match/text_to_image/R@1",
                "playroom/match/image_to_text/R@1",
                "playroom/rerank/text_to_image/R@1",
                "playroom/rerank/text_to_image/R@1/towers",
            ),
            "control": "random",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
