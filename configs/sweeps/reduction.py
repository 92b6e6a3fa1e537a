"""Reducing a picture of 64 tokens to 16: every method, trained and tested, against all tokens and the controls.

    python launch/pretrain.py --config=configs/fine.py
    python launch/sweep.py --config=configs/sweeps/reduction.py     two CPU cores, within an hour by estimate (21 runs)

Not run to its end yet; the table will be docs/results/reduction.md; its seconds tell what a budget of tokens saves.
"""

from ml_collections import ConfigDict

from configs.sweeps import FINE
from xmjax.models.objects import METHODS


def get_config() -> ConfigDict:
    """All tokens, and a quarter of them by each method."""
    methods = {method: FINE | {"model.image.reduce": method, "model.image.keep": 16} for method in METHODS}
    return ConfigDict(
        {
            "name": "reduction",
            "base": "configs/fill.py",
            "arms": {"all 64": FINE} | methods,
            "seeds": (0, 1, 2),
            "metrics": ("playroom/fill/image", "playroom/fill/no_image", "playroom/pointing/model"),
            "control": "all 64",
            "budget_seconds": 180.0,
        },
        convert_dict=False,  # fields of the run's config have dots in their names
    )
