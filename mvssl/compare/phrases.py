"""How numbers, metrics and lists are written in a report."""

from collections.abc import Sequence

from mvssl.compare.comparison import Comparison
from mvssl.compare.summary import Estimate
from mvssl.evaluation import Difference
from mvssl.evaluation.tasks import Metric


def percent(fraction: float) -> str:
    """A fraction as text: ``5 %``."""
    return f"{100 * fraction:.3g}\u00a0%"


def number(value: float) -> str:
    """A metric with three decimals; a dash where it is undefined."""
    text = f"{value:.3f}".replace("-", "−")
    return "–" if value != value else text.removeprefix("−") if value > -0.0005 else text


def interval(estimate: Estimate) -> str:
    """The 95 % interval of an estimate: ``[0.412, 0.470]``."""
    return f"[{number(estimate.low)},\u00a0{number(estimate.high)}]"


def signed(value: float) -> str:
    """A difference with its sign: ``+0.021``, ``−0.004``; a dash where it is undefined."""
    text = f"{abs(value):.3f}"
    if value != value:
        return "–"
    return text if float(text) == 0 else f"{'+' if value > 0 else '−'}{text}"


def signed_interval(difference: Difference) -> str:
    """The 95 % interval of a difference."""
    return f"[{signed(difference.low)},\u00a0{signed(difference.high)}]"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def capital(sentence: str) -> str:
    """The same with a capital letter in front, unless it begins with a word such as mAP."""
    return sentence if sentence[1:2].isupper() else sentence[:1].upper() + sentence[1:]


def many(count: int, noun: str) -> str:
    """A number of things: ``1 tag``, ``12 classes``."""
    ending = "" if count == 1 else "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{ending}"


def meaning(metric: Metric, comparison: Comparison) -> str:
    """What a metric is, as the end of a sentence."""
    return metric.meaning.format(columns=many(len(comparison.vocabulary), comparison.kind.columns))


def of_column(metric: Metric) -> str:
    """What a metric is called when it judges a single tag, class or number."""
    single = {"ap": "average precision", "accuracy": "recall", "key_score": "recall", "top3": "top-3 recall"}
    return single.get(metric.name, metric.title.removeprefix("macro "))


def ignorance(comparison: Comparison) -> tuple[str, str]:
    """Who gets what is called chance, and the verb that goes with it."""
    return ("predicting the mean", "gets") if comparison.kind.loss == "squares" else ("random scores", "get")
