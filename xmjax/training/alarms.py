"""Alarms: an objective that learns nothing says so, once, with what to do."""

from collections.abc import Mapping

from xmjax.objectives import Objective

PATIENCE = 10
"""Logged steps in a row after which something is taken to be wrong."""


class Alarms:
    """Watches the metrics of a run for its objectives; see `Objective.alarm`."""

    def __init__(self, objectives: Mapping[str, Objective]):
        self._objectives = objectives
        self._in_a_row = dict.fromkeys(objectives, 0)

    def __call__(self, metrics: Mapping[str, float]) -> list[str]:
        """What has just become wrong, one text for each objective."""
        texts = []
        for name, objective in self._objectives.items():
            text = objective.alarm(metrics)
            self._in_a_row[name] = self._in_a_row[name] + 1 if text else 0
            if self._in_a_row[name] == PATIENCE:
                texts.append(text)
        return texts
