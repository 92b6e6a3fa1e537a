"""Alarms: an objective that learns nothing, or a run that leaves much out, says so, once, with what to do."""

import dataclasses
from collections import deque
from collections.abc import Mapping

import jax

from xmjax.objectives import Objective
from xmjax.objectives.base import weight

PATIENCE = 10
"""Logged steps in a row after which something is taken to be wrong."""

SKIPPED = 0.05
"""Share of steps that may go unapplied between as many logged steps."""


def _trained(objective: Objective, step: int) -> bool:
    """Whether an objective has a weight by now; in turn or not, for its loss is computed in every step."""
    options = dataclasses.replace(objective.options, turn=())
    with jax.transfer_guard("allow"):
        return float(weight(options, step, objective.config.steps)) > 0


class Alarms:
    """Watches the metrics of a run for its objectives (see `Objective.alarm`) and for steps that are not applied."""

    def __init__(self, objectives: Mapping[str, Objective]):
        self._objectives = objectives
        self._in_a_row = dict.fromkeys(objectives, 0)
        self._skipped: deque[tuple[int, float]] = deque(maxlen=PATIENCE + 1)
        self._told = False

    def __call__(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        """What has just become wrong, one text for each objective and one for the run."""
        texts = []
        for name, objective in self._objectives.items():
            text = objective.alarm(metrics) if _trained(objective, step) else ""
            self._in_a_row[name] = self._in_a_row[name] + 1 if text else 0
            if self._in_a_row[name] == PATIENCE:
                texts.append(text)
        self._skipped.append((step, metrics.get("guard/skipped", 0.0)))
        first, before = self._skipped[0]
        steps, skipped = step - first, int(self._skipped[-1][1] - before)
        if not self._told and len(self._skipped) > PATIENCE and skipped > SKIPPED * steps:
            self._told = True
            texts.append(
                f"{skipped} of the last {steps} steps were not applied, for their losses were outliers. Where a rare "
                "mistake weighs much, that is what is to be learned: --config.guard.sigma=0 applies all finite ones"
            )
        return texts
