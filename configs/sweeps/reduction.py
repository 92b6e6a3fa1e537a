"""Reducing a picture of 64 tokens to 16: every method, trained and tested, against all tokens, and other budgets.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/reduction.py     one CPU core, an hour

The table is docs/results/reduction.md; configs/bench/reduction.py measures what a step costs.
"""

from ml_collections import ConfigDict

from configs.sweeps import FINE
from xmjax.models.objects import METHODS


def get_config() -> ConfigDict:
    """All tokens, a quarter of them by each method, and a half and an eighth by relation."""
    kept = {method: (method, 16) for method in METHODS}
    kept |= {f"relation, {keep}": ("relation", keep) for keep in (32, 8)}
    arms = {
        name: FINE | {"steps": 250, "model.image.reduce": method, "model.image.keep": keep}
        for name, (method, keep) in ({"all 64": ("", 16)} | kept).items()
    }
    return ConfigDict(
        {
            "name": "reduction",
            "base": "configs/fill.py",
            "arms": arms,
            "seeds": (0, 1, 2),
            "metrics": (
                "playroom/fill/image",
                "playroom/fill/by_class/kind",
                "playroom/fill/by_class/place",
                "playroom/fill/no_image",
                "playroom/pointing/model",
            ),
            "control": "all 64",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
