"""What `size=small` reaches within the hour on two CPU cores.

    python launch/sweep.py --config=configs/sweeps/small.py     two CPU cores, an hour a seed

The table is docs/results/small.md.
"""

from ml_collections import ConfigDict

from configs.sweeps.base import get_config as base_sweep


def get_config() -> ConfigDict:
    """The sweep of the base run for `size=small`."""
    config = base_sweep()
    config.name = config.control = "small"
    config.base, config.arms = "configs/base.py:size=small", {"small": {}}
    config.budget_seconds = 3600.0
    return config
