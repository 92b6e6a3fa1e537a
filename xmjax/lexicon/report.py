"""What a dictionary contributes to a data set: how many words it has, and how many senses are kept."""

import dataclasses
from collections.abc import Sequence

from xmjax.lexicon.choice import Query, Scorer, decide, scored


@dataclasses.dataclass(frozen=True, slots=True)
class Coverage:
    """Words of one language.

    Attributes:
      language: its tag.
      words: number of words asked for.
      found: number that the dictionary has.
      ambiguous: number that have more than one sense.
      senses: senses of the found words, all together.
    """

    language: str
    words: int
    found: int
    ambiguous: int
    senses: int


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What one threshold keeps.

    Attributes:
      threshold: the least score that is kept.
      kept: number of words for which a sense is kept.
      right: number of those that are right; None where the truth is not known.
      first_right: number of those whose first sense in the dictionary is right, which is what needs no context.
    """

    threshold: float
    kept: int
    right: int | None = None
    first_right: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """Coverage by language, and what each threshold keeps of all words that are found.

    Attributes:
      coverage: one entry a language, in alphabetical order.
      kept: one entry a threshold, in the order given.
    """

    coverage: tuple[Coverage, ...]
    kept: tuple[Kept, ...]

    def markdown(self) -> str:
        """Two tables."""
        lines = [
            "| language | words | found | share | ambiguous | senses of a found word |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for row in self.coverage:
            lines.append(
                f"| {row.language or '(none)'} | {row.words} | {row.found} | {_percent(row.found, row.words)} "
                f"| {row.ambiguous} | {row.senses / row.found if row.found else 0:.2f} |"
            )
        found = sum(row.found for row in self.coverage)
        truth = any(row.right is not None for row in self.kept)
        lines += [
            "",
            "| threshold | kept | of found |" + (" right | first sense right |" if truth else ""),
            "|---:|---:|---:|" + ("---:|---:|" if truth else ""),
        ]
        for row in self.kept:
            line = f"| {row.threshold:g} | {row.kept} | {_percent(row.kept, found)} |"
            if row.right is not None and row.first_right is not None:
                line += f" {_percent(row.right, row.kept)} | {_percent(row.first_right, row.kept)} |"
            lines.append(line)
        return "\n".join(lines) + "\n"


def make_report(
    queries: Sequence[Query],
    scorer: Scorer,
    thresholds: Sequence[float],
    truth: Sequence[str] | None = None,
) -> Report:
    """Counts.

    Args:
      queries: all words of a data set, or a sample of them, those without senses too.
      scorer: measures the senses; called once.
      thresholds: thresholds to count at.
      truth: the id of the right sense of each query, where it is known.
    """
    if truth is not None and len(truth) != len(queries):
        raise ValueError(f"truth has {len(truth)} entries for {len(queries)} queries")
    coverage = []
    for language in sorted({query.language for query in queries}):
        counts = [len(query.senses) for query in queries if query.language == language]
        found = sum(count > 0 for count in counts)
        coverage.append(Coverage(language, len(counts), found, sum(count > 1 for count in counts), sum(counts)))
    scores = scored(queries, scorer)
    kept = []
    for threshold in thresholds:
        choices = [decide(query, row, threshold) for query, row in zip(queries, scores, strict=True)]
        chosen = [(i, choice.sense) for i, choice in enumerate(choices) if choice.sense is not None]
        right = first = None
        if truth is not None:
            right = sum(sense.id == truth[i] for i, sense in chosen)
            first = sum(queries[i].senses[0].id == truth[i] for i, _ in chosen)
        kept.append(Kept(threshold, len(chosen), right, first))
    return Report(tuple(coverage), tuple(kept))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"
