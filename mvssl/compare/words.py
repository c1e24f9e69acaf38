"""The answer of a comparison in words, generated from its numbers.

A method *beats* another only where the whole 95 % interval of their paired difference is above 0 and, with
three seeds or more, that over seeds as well.
"""

from itertools import groupby

from mvssl.compare.comparison import BASELINES, Comparison, base, frozen, is_baseline
from mvssl.compare.pairs import MIN_SEEDS, Gain, ranking
from mvssl.compare.phrases import (
    capital,
    ignorance,
    interval,
    listed,
    many,
    meaning,
    number,
    percent,
    signed,
    signed_interval,
)
from mvssl.compare.sampling import MACRO
from mvssl.compare.summary import Estimate, Summary
from mvssl.evaluation import Difference

_BASELINES = {
    "random": "the random encoder",
    "mel_statistics": "mel statistics",
    "supervised": "supervised training",
}
_FEW_GROUPS = 20


def _name(comparison: Comparison, method: str) -> str:
    """A method within a sentence."""
    return _BASELINES.get(method) or comparison.title(method)


def headline(comparison: Comparison, summary: Summary) -> str:
    """One or two sentences: where pretexts beat the best baseline, and where they do not."""
    unfinished = f"Not finished: {_lacking(comparison)}. " if comparison.missing else ""
    if not _has_both(comparison):
        lacks = "no baseline" if comparison.judged(comparison.pretexts) else "no pretext"
        return (
            f"{unfinished}Nothing to compare: this run holds {lacks}{' with all seeds' * bool(unfinished)}."
        )
    verdicts = [(*_verdict(comparison, summary, fraction), fraction) for fraction in comparison.fractions]
    clauses = []
    for verdict, run in groupby(sorted(verdicts, key=_by_kind), key=lambda verdict: verdict[:3]):
        kind, pretext, baseline = verdict
        clause = _CLAUSES[kind].format(
            pretext=_name(comparison, pretext), baseline=_name(comparison, baseline)
        )
        clauses.append(f"{clause} with {listed([percent(entry[3]) for entry in run])} of the labels")
    return unfinished + capital("; ".join(clauses) + ".")


def _lacking(comparison: Comparison) -> str:
    """``3 of 12 cells are missing``; a cell is a method with a seed."""
    lacking = len(comparison.missing)
    verb = "is" if lacking == 1 else "are"
    return f"{lacking} of {lacking + len(comparison.scores)} cells (a method with a seed) {verb} missing"


def _has_both(comparison: Comparison) -> bool:
    """Whether there are a pretext and a baseline of which something can be said."""
    return bool(comparison.judged(comparison.pretexts) and comparison.judged(comparison.baselines))


_CLAUSES = {
    "above": "{pretext} beats the best baseline, {baseline},",
    "level": "{pretext}, the best pretext, is not distinguishable from the best baseline, {baseline},",
    "below": "{baseline} beats the best pretext, {pretext},",
}


def _by_kind(verdict: tuple[str, str, str, float]) -> tuple[int, str, str]:
    return list(_CLAUSES).index(verdict[0]), verdict[1], verdict[2]


def _verdict(comparison: Comparison, summary: Summary, fraction: float) -> tuple[str, str, str]:
    """How the leading pretext stands to the best baseline, which pretext that is, and which baseline.

    A pretext that beats the baseline leads one that does not, whichever has the higher mean.
    """
    gains = {name: _gain(summary.at(name, fraction)) for name in comparison.judged(comparison.pretexts)}
    winners = tuple(name for name, gain in gains.items() if gain.above)
    leader = summary.best(winners or tuple(gains), fraction)
    assert leader is not None
    kind = "above" if winners else "below" if gains[leader].below else "level"
    return kind, leader, summary.at(leader, fraction).baseline or ""


def _gain(estimate: Estimate) -> Gain:
    assert estimate.gain is not None  # a pretext is never its own best baseline
    return estimate.gain


def legend(comparison: Comparison, summary: Summary) -> str:
    """What the numbers of the findings are."""
    lead = comparison.kind.lead
    seeds = (
        ", and so does the interval over seeds where both have three or more" if _seeded(comparison) else ""
    )
    return (
        f"{capital(lead.title)} is {meaning(lead, comparison)}; {' '.join(ignorance(comparison))} "
        f"{number(summary.chance[MACRO])}. "
        "Brackets hold 95 % intervals over test tracks; a method beats another where the interval of their "
        f"difference lies above 0{seeds}."
    )


def _seeded(comparison: Comparison) -> bool:
    """Whether two methods may have an interval over seeds."""
    return any(len(comparison.seeds(method)) >= MIN_SEEDS for method in comparison.methods)


def findings(comparison: Comparison, summary: Summary) -> list[tuple[str, str]]:
    """(beginning, rest) of one sentence per label fraction, and of what else follows from the numbers."""
    if not _has_both(comparison):
        return []
    found = [_at_fraction(comparison, summary, fraction) for fraction in comparison.fractions]
    if tuned := _fine_tuned(comparison, summary):
        found.append(("Frozen, fine-tuned or from scratch:", tuned))
    if len(comparison.fractions) > 1:
        found.append(("Saving of labels:", _saving(comparison, summary)))
    found.append(("All against all:", _wins(comparison, summary)))
    if unlearned := _not_above_random(comparison, summary):
        found.append(("No sign of learning:", unlearned))
    return found


def _at_fraction(comparison: Comparison, summary: Summary, fraction: float) -> tuple[str, str]:
    kind, pretext, baseline = _verdict(comparison, summary, fraction)
    estimate = summary.at(pretext, fraction)
    gain = _gain(estimate)
    name, other = _name(comparison, pretext), _name(comparison, baseline)
    level = f"{comparison.kind.lead.title} {number(estimate.mean)} {interval(estimate)}"
    base = number(summary.at(baseline, fraction).mean)
    size = f"{_size(gain)}{_over_seeds(gain)}"
    if kind == "above":
        text = f"{name} scores {level}, {size} over the best baseline, {other} ({base})."
    elif kind == "below":
        text = f"{other} wins with {base}; the best pretext, {name}, scores {level}, a difference of {size}."
    else:
        text = (
            f"the best pretext, {name}, scores {level} and is not distinguishable from the best baseline, "
            f"{other} ({base}), a difference of {size}."
        )
    if kind != "level" and summary.contests[fraction][pretext, baseline].outcome == "undecided":
        text += " Corrected for the number of all pairs of methods, this difference is not certain."
    best = summary.best(comparison.judged(comparison.methods), fraction)
    tied = [_name(comparison, m) for m in comparison.methods if summary.at(m, fraction).tied]
    if best and tied:
        text += f" Not distinguishable from {_name(comparison, best)}, the highest mean: {listed(tied)}."
    return f"{percent(fraction)} of the labels ({comparison.labelled(fraction)} tracks):", capital(text)


def _size(difference: Difference) -> str:
    return f"{signed(difference.value)} {signed_interval(difference)}"


def _over_seeds(gain: Gain) -> str:
    return f" (over seeds {signed_interval(gain.over_seeds)})" if gain.over_seeds else ""


def _fine_tuned(comparison: Comparison, summary: Summary) -> str:
    """The best fine-tuned encoder beside the same frozen, and beside training from scratch."""
    clauses = []
    for fraction in comparison.shown_fractions:
        tuned = summary.best(comparison.judged(comparison.fine_tuned), fraction)
        if tuned is None:
            return ""
        clause = (
            f"with {percent(fraction)} of the labels {_name(comparison, tuned)}, scores "
            f"{number(summary.at(tuned, fraction).mean)}"
        )
        rivals = {frozen(tuned): "frozen", "supervised": "from scratch"}
        clauses.append(
            ", ".join([clause, *(
                f"{name} {number(summary.at(rival, fraction).mean)} (fine-tuned minus that: "
                f"{_size(summary.contests[fraction][tuned, rival].gain)})"
                for rival, name in rivals.items()
                if rival in comparison.judged(comparison.methods)
            )])
        )  # fmt: skip
    return capital("; ".join(clauses) + ".")


def _saving(comparison: Comparison, summary: Summary) -> str:
    saving = summary.saving
    if saving is None:
        return "No pretext does with fewer labels what the best baseline does with more."
    few, more = (
        summary.at(saving.method, saving.fraction),
        summary.at(saving.baseline, saving.baseline_fraction),
    )
    return (
        f"{comparison.title(saving.method)} with {percent(saving.fraction)} of the labels "
        f"({comparison.labelled(saving.fraction)} tracks) reaches what the best baseline, "
        f"{_name(comparison, saving.baseline)}, needs {percent(saving.baseline_fraction)} "
        f"({comparison.labelled(saving.baseline_fraction)} tracks) for: {number(few.mean)} against "
        f"{number(more.mean)}, a difference of {_size(saving.difference)}."
    )


def _wins(comparison: Comparison, summary: Summary) -> str:
    """How many of all pairs are decided, and who has the best balance."""
    clauses = []
    for fraction in comparison.shown_fractions:
        table = summary.contests[fraction]
        decided = sum(contest.outcome == "win" for contest in table.values())
        clause = (
            f"with {percent(fraction)} of the labels {decided} of {many(len(table) // 2, 'pair')} are decided"
        )
        leader, (won, lost) = next(iter(ranking(table, comparison.judged(comparison.methods)).items()))
        if decided:
            clause += f", and {_name(comparison, leader)} wins {won} and loses {lost}, the best balance"
        clauses.append(clause)
    return capital("; ".join(clauses) + ".")


def _not_above_random(comparison: Comparison, summary: Summary) -> str:
    """Pretexts that at some fractions do not beat the untrained encoder."""
    by_place: dict[str, list[str]] = {}
    for pretext in comparison.judged(comparison.pretexts):
        flat = []
        for fraction in comparison.fractions:
            untrained = "random" + pretext.removeprefix(base(pretext))  # on the same audio
            versus = summary.at(pretext, fraction).versus.get(untrained)
            if versus is not None and not versus.above:
                flat.append(percent(fraction))
        if flat:
            where = "any fraction" if len(flat) == len(comparison.fractions) else listed(flat)
            by_place.setdefault(where, []).append(comparison.title(pretext))
    return " ".join(
        f"{listed(names)} {'does' if len(names) == 1 else 'do'} not beat the random encoder at {where}."
        for where, names in by_place.items()
    )


def cautions(comparison: Comparison) -> list[str]:
    """What a reader has to bear in mind: the notes of the run, and what it cannot know."""
    notes = [*_unfinished(comparison), *comparison.notes]
    single = list(
        dict.fromkeys(
            comparison.titles.get(base(method)) or comparison.title(method)
            for method in comparison.judged(comparison.pretexts)
            if len(comparison.seeds(method)) == 1
        )
    )
    if single:
        notes.append(
            f"{listed(single)} {'rests' if len(single) == 1 else 'rest'} on one seed only: how much another "
            "would change the numbers is not known, and no interval here covers it."
        )
    if comparison.groups is not None and comparison.units < _FEW_GROUPS:
        notes.append(
            f"The test tracks come from {comparison.units} groups only: intervals are rough."
            if comparison.units > 1
            else "All test tracks are of one group: there are no intervals, and no difference is certain."
        )
    return notes


def _unfinished(comparison: Comparison) -> list[str]:
    """Which cells are missing, and what that means for all that is said."""
    if not comparison.missing:
        return []
    cells = "; ".join(f"{method} with seed {seed} ({why})" for method, seed, why in comparison.missing)
    notes = [
        f"This comparison is not finished, {_lacking(comparison)}: {cells}. Methods with a missing seed are "
        "shown in the tables with the number of seeds they have, take no part in what is said here and in "
        "all against all, and are never the best baseline."
    ]
    lacking = dict.fromkeys(method for method, _, _ in comparison.missing if is_baseline(method))
    if lacking:
        names = listed([BASELINES.get(method) or comparison.titles[method] for method in lacking])
        notes.append(
            f"The best baseline is the best of those that are there: {names} "
            f"{'is' if len(lacking) == 1 else 'are'} not, or not with all seeds."
        )
    return notes
