"""Tests of the alarm that steps are not applied; those of objectives stand beside their objectives' tests."""

import pytest

from xmjax.training.alarms import PATIENCE, Alarms


@pytest.mark.parametrize(("every", "told"), [(10, True), (40, False), (0, False)])
def test_many_steps_that_are_not_applied_are_told_once(every, told):
    """One of `every` steps is skipped; every twentieth is logged."""
    alarms, texts = Alarms({}), []
    for step in range(20, 2000, 20):
        texts += alarms(step, {"guard/skipped": step // every if every else 0})
    assert len(texts) == told
    if told:
        assert "20 of the last 200 steps were not applied" in texts[0] and "config.guard.sigma=0" in texts[0]


def test_a_few_skipped_at_first_are_no_alarm():
    alarms = Alarms({})
    assert not any(alarms(step, {"guard/skipped": 3}) for step in range(1, 3 * PATIENCE))
