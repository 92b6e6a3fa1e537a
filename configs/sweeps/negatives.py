"""Which mismatches `match` learns from: any in the batch, half of them such as the towers take for matches, or pairs of
which both the picture and the text are exchanged.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/negatives.py     one CPU core, half an hour (9 runs)

The table is docs/results/negatives.md.
"""

from ml_collections import ConfigDict

from configs.sweeps import BEGUN_FINE


def get_config() -> ConfigDict:
    """Random ones, half of them hard, and beside those half of the wrong pictures with another wrong text."""
    return ConfigDict(
        {
            "name": "negatives",
            "base": "configs/objects.py",
            "arms": {
                "random": BEGUN_FINE | {"objectives.match.hard": 0.0},
                "half hard": BEGUN_FINE,
                "half hard, both": BEGUN_FINE | {"objectives.match.both": 0.5},
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
