"""The answer of a comparison in words, generated from its numbers.

A method *beats* another only where the whole 95 % interval of their paired difference is above 0.
"""

from collections.abc import Sequence
from itertools import groupby

from mvssl.compare.comparison import Comparison
from mvssl.compare.summary import MACRO, Estimate, Summary
from mvssl.evaluation import Difference

_BASELINES = {
    "random": "the random encoder",
    "mel_statistics": "mel statistics",
    "supervised": "supervised training",
}
_FEW_GROUPS = 20


def percent(fraction: float) -> str:
    """A fraction as text: ``5 %``."""
    return f"{100 * fraction:.3g}\u00a0%"


def number(value: float) -> str:
    """A metric with three decimals; a dash where it is undefined."""
    return f"{value:.3f}" if value == value else "–"


def interval(estimate: Estimate) -> str:
    """The 95 % interval of an estimate: ``[0.412, 0.470]``."""
    return f"[{number(estimate.low)},\u00a0{number(estimate.high)}]"


def signed(value: float) -> str:
    """A difference with its sign: ``+0.021``, ``−0.004``."""
    text = f"{abs(value):.3f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def signed_interval(difference: Difference) -> str:
    """The 95 % interval of a difference."""
    return f"[{signed(difference.low)},\u00a0{signed(difference.high)}]"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _name(comparison: Comparison, method: str) -> str:
    """A method within a sentence."""
    return _BASELINES.get(method) or comparison.title(method)


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def headline(comparison: Comparison, summary: Summary) -> str:
    """One or two sentences: where pretexts beat the best baseline, and where they do not."""
    if not comparison.pretexts or not comparison.baselines:
        return "Nothing to compare: this run holds " + (
            "no baseline." if comparison.pretexts else "no pretext."
        )
    verdicts = [(*_verdict(comparison, summary, fraction), fraction) for fraction in comparison.fractions]
    clauses = []
    for verdict, run in groupby(sorted(verdicts, key=_by_kind), key=lambda verdict: verdict[:3]):
        kind, pretext, baseline = verdict
        clause = _CLAUSES[kind].format(
            pretext=_name(comparison, pretext), baseline=_name(comparison, baseline)
        )
        clauses.append(f"{clause} with {listed([percent(entry[3]) for entry in run])} of the labels")
    return _capital("; ".join(clauses) + ".")


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
    gains = {name: _gain(summary.at(name, fraction)) for name in comparison.pretexts}
    winners = tuple(name for name, gain in gains.items() if gain.above)
    leader = summary.best(winners or comparison.pretexts, fraction)
    assert leader is not None
    kind = "above" if winners else "below" if gains[leader].below else "level"
    return kind, leader, summary.at(leader, fraction).baseline or ""


def _gain(estimate: Estimate) -> Difference:
    assert estimate.gain is not None  # a pretext is never its own best baseline
    return estimate.gain


def legend(comparison: Comparison, summary: Summary) -> str:
    """What the numbers of the findings are."""
    return (
        f"mAP is average precision, the mean over {len(comparison.vocabulary)} tags; random scores get "
        f"{number(summary.chance[MACRO])}. Brackets hold 95 % intervals over test tracks; a method beats "
        "another where the interval of their difference lies above 0."
    )


def findings(comparison: Comparison, summary: Summary) -> list[tuple[str, str]]:
    """(beginning, rest) of one sentence per label fraction, and of what else follows from the numbers."""
    if not comparison.pretexts or not comparison.baselines:
        return []
    found = [_at_fraction(comparison, summary, fraction) for fraction in comparison.fractions]
    found.append(("Saving of labels:", _saving(comparison, summary)))
    if unlearned := _not_above_random(comparison, summary):
        found.append(("No sign of learning:", unlearned))
    return found


def _at_fraction(comparison: Comparison, summary: Summary, fraction: float) -> tuple[str, str]:
    kind, pretext, baseline = _verdict(comparison, summary, fraction)
    estimate = summary.at(pretext, fraction)
    gain = _gain(estimate)
    name, other = _name(comparison, pretext), _name(comparison, baseline)
    level = f"mAP {number(estimate.mean)} {interval(estimate)}"
    base = number(summary.at(baseline, fraction).mean)
    size = f"{signed(gain.value)} {signed_interval(gain)}"
    if kind == "above":
        text = f"{name} scores {level}, {size} over the best baseline, {other} ({base})."
    elif kind == "below":
        text = f"{other} wins with {base}; the best pretext, {name}, scores {level}, a difference of {size}."
    else:
        text = (
            f"the best pretext, {name}, scores {level} and is not distinguishable from the best baseline, "
            f"{other} ({base}), a difference of {size}."
        )
    best = summary.best(comparison.methods, fraction)
    tied = [_name(comparison, m) for m in comparison.methods if summary.at(m, fraction).tied]
    if best and tied:
        text += f" Not distinguishable from {_name(comparison, best)}, the highest mean: {listed(tied)}."
    return f"{percent(fraction)} of the labels ({comparison.labelled(fraction)} tracks):", _capital(text)


def _saving(comparison: Comparison, summary: Summary) -> str:
    saving = summary.saving
    if saving is None:
        return "No pretext does with fewer labels what the best baseline does with more."
    few, many = (
        summary.at(saving.method, saving.fraction),
        summary.at(saving.baseline, saving.baseline_fraction),
    )
    difference = f"{signed(saving.difference.value)} {signed_interval(saving.difference)}"
    return (
        f"{comparison.title(saving.method)} with {percent(saving.fraction)} of the labels "
        f"({comparison.labelled(saving.fraction)} tracks) reaches what the best baseline, "
        f"{_name(comparison, saving.baseline)}, needs {percent(saving.baseline_fraction)} "
        f"({comparison.labelled(saving.baseline_fraction)} tracks) for: {number(few.mean)} against "
        f"{number(many.mean)}, a difference of {difference}."
    )


def _not_above_random(comparison: Comparison, summary: Summary) -> str:
    """Pretexts that at some fractions do not beat the untrained encoder."""
    sentences = []
    for pretext in comparison.pretexts:
        flat = []
        for fraction in comparison.fractions:
            versus = summary.at(pretext, fraction).versus.get("random")
            if versus is not None and not versus.above:
                flat.append(percent(fraction))
        if flat:
            where = "any fraction" if len(flat) == len(comparison.fractions) else listed(flat)
            sentences.append(f"{comparison.title(pretext)} does not beat the random encoder at {where}.")
    return " ".join(sentences)


def cautions(comparison: Comparison) -> list[str]:
    """What a reader has to bear in mind: the notes of the run, and what it cannot know."""
    notes = list(comparison.notes)
    single = [comparison.title(m) for m in comparison.pretexts if len(comparison.seeds(m)) == 1]
    if single:
        notes.append(
            f"{listed(single)} {'was' if len(single) == 1 else 'were'} pre-trained with one seed only: how "
            "much another seed would change the numbers is not known, and no interval here covers it."
        )
    if comparison.groups is not None and (count := len(set(comparison.groups.tolist()))) < _FEW_GROUPS:
        notes.append(f"The test tracks come from {count} groups only: intervals are rough.")
    return notes


def protocol(comparison: Comparison, summary: Summary) -> list[tuple[str, str]]:
    """How it was measured, as (keyword, explanation)."""
    draws = max(repeat for _, repeat in comparison.cells) + 1
    units = "tracks" if comparison.groups is None else "groups of tracks, such as those of one artist,"
    seeds = max((len(comparison.seeds(method)) for method in comparison.pretexts), default=0)
    known = f"taken from {seeds} seeds" if seeds > 1 else "not known with a single pre-training seed"
    return [
        ("Splits.", _SPLITS if comparison.groups is None else f"{_SPLITS} {_GROUPED}"),
        ("Pre-training.", _PRETRAINING),
        (
            "Labels.",
            f"Each reduced fraction of the training tracks is drawn {draws} time{'s' * (draws > 1)} from "
            "fixed seeds. Within a draw larger subsets contain the smaller ones, and every method gets the "
            "same tracks. Every tag keeps a positive and a negative track, for which a small subset may be "
            "enlarged: the heads of the tables give the numbers really used.",
        ),
        ("Probe.", _PROBE),
        ("Baselines.", _BASELINES_EXPLAINED),
        (
            "Metrics.",
            "mAP is average precision and ROC-AUC the area under the ROC curve, each the mean over tags. "
            f"Chance is what random scores get: mAP {number(summary.chance[MACRO])}, ROC-AUC 0.5.",
        ),
        (
            "Test-bootstrap intervals.",
            f"The test {units} are resampled {summary.resamples} times, the same for every method, and "
            "metrics are averaged over draws and seeds within each resample. Resampling as such raises "
            "average precision a little; that shift is taken off. The intervals say how numbers would move "
            "with other test tracks, and nothing about another training.",
        ),
        ("Differences.", _DIFFERENCES),
        (
            "Spreads.",
            "Over draws: how a result moves with other labelled tracks. Over seeds: how it moves with "
            f"another pre-training, {known}.",
        ),
    ]


_SPLITS = "Every track is in one of training, validation and test."
_GROUPED = "All tracks of a group, such as an artist, are in the same one."
_PRETRAINING = "Each pretext trains its encoder on the audio of the training tracks without looking at a tag."
_PROBE = (
    "The encoder is frozen. A track's embedding is the mean over its non-overlapping crops; a linear "
    "classifier per tag is trained on the labelled tracks, its regularisation C chosen on the validation "
    "tracks, whose labels are not counted in the fractions."
)
_BASELINES_EXPLAINED = (
    "Random encoder: the same encoder, untrained. Mel statistics: mean, standard deviation and mean absolute "
    "difference over time of the log-mel. Supervised: the same encoder with a linear layer, trained from "
    "scratch on the labelled tracks alone, on augmented crops; it is judged on validation several times "
    "during training and the best moment counts. On a share s of the labels it sees √s times as many crops "
    "as on all."
)
_DIFFERENCES = (
    "They come from the same resamples and are hence paired. The best baseline is the one with the highest "
    "mean at that fraction on these test tracks. Intervals are not corrected for the number of "
    "comparisons: of twenty true zeros one is expected to look like a difference."
)
