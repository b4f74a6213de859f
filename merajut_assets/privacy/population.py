"""How many people are unique in a population of which a table is a sample.

Belongs here: published estimators that know no more of the population than its size. Each takes the
histogram of the table's class sizes. Does not belong here: risks that are counted (`risk`).

An estimator that has no solution says so with None: an estimate that is missing is no estimate of zero.

Sources: Zayatz (1991), Estimation of the number of unique population elements using a sample; Pitman
(1996), Random discrete distributions invariant under size-biased permutation, as used by Hoshino (2001),
Applying Pitman's sampling formula to microdata disclosure risk assessment; Chen and Keller-McNulty
(1998), Estimation of identification disclosure risk in microdata (slide negative binomial), with the
number of classes after Haas and Stokes (1998), Estimating the number of classes in a finite population;
Dankar et al. (2012), Estimating the re-identification risk of clinical data sets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

_ITERATIONS = 200
_CONVERGED = 1e-10  # relative change of both parameters in one step
_SMALL_SAMPLE = 0.1  # sampling fraction up to which Dankar's rule takes Pitman's model


@dataclass(frozen=True)
class Sample:
    """A table's classes as a histogram, and what it is a sample of.

    `sizes` (s,): the different class sizes, ascending; `classes` (s,): how many classes have each;
    `population`: people, at least as many as the table's rows.
    """

    sizes: Numbers
    classes: Numbers
    population: int

    @classmethod
    def of(cls, class_sizes: npt.NDArray[np.int64], population: int) -> Sample:
        """From the size of every class (c,). Raises ValueError when the population is smaller than the sample."""
        sizes, classes = np.unique(class_sizes, return_counts=True)
        if population < int(class_sizes.sum()):
            raise ValueError("the population is smaller than the table; it must hold everybody in it")
        return cls(sizes.astype(np.float64), classes.astype(np.float64), population)

    @property
    def rows(self) -> float:
        return float((self.sizes * self.classes).sum())

    @property
    def fraction(self) -> float:
        return self.rows / self.population

    def classes_of(self, size: int) -> float:
        return float(self.classes[self.sizes == size].sum())


def zayatz(sample: Sample) -> float:
    """Share of the population that is unique, by Zayatz: the classes of the population are taken to have
    the sizes that those of the sample have, and Bayes' rule tells how many that show up once are alone.

    The chance that a class of i people shows up once is hypergeometric:
    i n / N * product over j < i - 1 of (N - n - j) / (N - 1 - j).
    """
    total, rows = float(sample.population), sample.rows
    if not sample.classes_of(1):
        return 0.0
    others = np.arange(int(sample.sizes.max()) - 1)
    with np.errstate(divide="ignore"):
        factors = np.log(np.maximum(total - rows - others, 0.0) / (total - 1 - others))
    logarithm = np.concatenate([[0.0], np.cumsum(factors)])[sample.sizes.astype(np.int64) - 1]
    once = sample.sizes * np.exp(logarithm) * sample.classes
    alone = once[sample.sizes == 1].sum() / once.sum()
    return float(sample.classes_of(1) * alone / rows)


def pitman(sample: Sample) -> float | None:
    """Share of the population that is unique, by Pitman's model: Gamma(θ + 1) / Gamma(θ + α) * N^α / N.

    θ and α maximise the likelihood of the sample's classes: Newton's method on the two derivatives of
    the logarithm, from Hoshino's moment estimate, each step halved until it stays in 0 < α < 1, θ > -α;
    converged when no parameter changes by more than 1e-10 of itself. None without convergence.
    """
    if not sample.classes_of(1):
        return 0.0
    start = _hoshino(sample)
    if start is None:
        return None
    theta, alpha = start
    number = np.arange(1.0, sample.classes.sum())
    drawn = np.arange(1.0, sample.rows)
    larger = np.arange(1.0, sample.sizes.max())
    index = sample.sizes.astype(np.int64) - 1
    for _ in range(_ITERATIONS):
        grown = 1 / (theta + number * alpha)
        taken = 1 / (theta + drawn)
        joined = 1 / (larger - alpha)
        sums = np.concatenate([[0.0], np.cumsum(joined)])[index], np.concatenate([[0.0], np.cumsum(joined**2)])[index]
        slope = np.array(
            [grown.sum() - taken.sum(), (number * grown).sum() - (sample.classes * sums[0]).sum()],
        )
        mixed = -(number * grown**2).sum()
        curvature = np.array(
            [
                [(taken**2).sum() - (grown**2).sum(), mixed],
                [mixed, -((number * grown) ** 2).sum() - (sample.classes * sums[1]).sum()],
            ]
        )
        try:
            step = np.linalg.solve(curvature, slope)
        except np.linalg.LinAlgError:
            return None
        while not (0 < alpha - step[1] < 1 and theta - step[0] > -(alpha - step[1])):
            step /= 2
            if not np.isfinite(step).all() or np.abs(step).max() < 1e-300:
                return None
        theta, alpha = theta - step[0], alpha - step[1]
        if abs(step[0]) <= _CONVERGED * abs(theta) and abs(step[1]) <= _CONVERGED * alpha:
            logarithm = math.lgamma(theta + 1) - math.lgamma(theta + alpha) + (alpha - 1) * math.log(sample.population)
            return min(math.exp(logarithm), 1.0)
    return None


def _hoshino(sample: Sample) -> tuple[float, float] | None:
    """Estimate of θ and α from the numbers of rows, of classes, and of classes of one and of two."""
    rows, classes = sample.rows, float(sample.classes.sum())
    ones, twos = sample.classes_of(1), sample.classes_of(2) or 1.0
    ratio = ones * (ones - 1) / twos
    below = 2 * ones * classes + ones * ratio - rows * ratio
    if below == 0:
        return None
    theta = (rows * classes * ratio - ones * (rows - 1) * (2 * classes + ratio)) / below
    alpha = (theta * (ones - rows) + (rows - 1) * ones) / (rows * classes)
    # A moment estimate may lie outside of the model, whose inside holds the maximum.
    alpha = min(max(alpha, 1e-3), 1 - 1e-3)
    return max(theta, 1e-3 - alpha), alpha


def classes_in_population(sample: Sample) -> float:
    """Number of classes in the population: Haas and Stokes' modification of Shlosser's estimator."""
    return _shlosser(sample, (1 - sample.fraction) ** sample.sizes * sample.classes)


def classes_in_population_arx(sample: Sample) -> float:
    """The same as ARX 3.9.2 computes it, for comparison: what the formula subtracts once per class is
    subtracted once per class size, and unweighted, so that the number is far too small for small samples."""
    return _shlosser(sample, np.ones_like(sample.sizes))


def _shlosser(sample: Sample, subtracted: Numbers) -> float:
    """With q the sampling fraction and f_i the number of classes of i rows,

    Σ f_i + f_1 * (Σ i q² (1-q²)^(i-1) f_i / Σ [(1-q²)^i f_i - subtracted_i]) * (Σ (1-q)^i f_i / Σ i q (1-q)^(i-1) f_i)²

    where `subtracted` (s,) is (1-q)^i f_i as published.
    """
    q, i, f = sample.fraction, sample.sizes, sample.classes
    if q >= 1 or not sample.classes_of(1):
        return float(f.sum())
    first = (i * q**2 * (1 - q**2) ** (i - 1) * f).sum() / ((1 - q**2) ** i * f - subtracted).sum()
    second = ((1 - q) ** i * f).sum() / (i * q * (1 - q) ** (i - 1) * f).sum()
    return float(f.sum() + sample.classes_of(1) * first * second**2)


def slide_negative_binomial(sample: Sample, classes: float | None = None) -> float | None:
    """Share of the population that is unique, by the slide negative binomial model: K β^α / N.

    A class of the population has 1 + a negative binomial number of people (α, β), and each is drawn with
    the sampling fraction f. α > 0 and 0 < β < 1 are those under which as many classes of one and of two are
    expected as there are, K being `classes` (default: `classes_in_population`). With q = 1 - β, d = (1 - f) q,
    x = 1 - d the expectations are

        E f_1 = K f (β/x)^α (1 + α d/x)      E f_2 = K f²/2 α q β^α / x^(α+2) (2 - (1 - α) d)

    Their ratio is a quadratic in α with one positive root for each β; what is left, one equation in β, is
    bracketed on a grid of 4,000 steps of its logit and halved to the last digit. Of several solutions the one with
    most uniques counts. None without a solution.
    """
    ones, twos = sample.classes_of(1), sample.classes_of(2)
    if not ones:
        return 0.0
    f = sample.fraction
    if f >= 1:
        return ones / sample.rows
    if not twos:
        return None
    k = classes_in_population(sample) if classes is None else classes
    if not k >= sample.classes.sum():
        return None  # fewer classes than were seen: no model of anything

    def alpha(beta: Numbers) -> Numbers:
        q = 1 - beta
        d = (1 - f) * q
        x = 1 - d
        scale = f * q / (2 * x**2)
        ratio = twos / ones
        linear = scale * (2 - d) - ratio * d / x
        # The form without cancellation: the constant term is negative, so that the roots have two signs.
        root = np.sqrt(linear**2 + 4 * scale * d * ratio)
        positive = (root - linear) / (2 * scale * d)
        return np.where(linear > 0, 2 * ratio / (linear + root), positive)

    def missing(beta: Numbers) -> Numbers:
        a = alpha(beta)
        d = (1 - f) * (1 - beta)
        return np.asarray(math.log(k * f / ones) + a * np.log(beta / (1 - d)) + np.log1p(a * d / (1 - d)))

    def beta_of(logit: Numbers) -> Numbers:
        return np.asarray(1 / (1 + np.exp(-logit)))

    logits = np.linspace(-32.0, 32.0, 4001)
    signs = np.sign(missing(beta_of(logits)))
    places = np.flatnonzero(signs[:-1] * signs[1:] < 0)
    low, high = logits[places], logits[places + 1]
    for _ in range(60):
        middle = (low + high) / 2
        same = np.sign(missing(beta_of(middle))) == signs[places]
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    beta = beta_of(low)
    shares = k * beta ** alpha(beta) / sample.population
    possible = shares[np.isfinite(shares) & (shares <= 1)]
    return float(possible.max()) if len(possible) else None


def dankar(sample: Sample) -> tuple[float, str]:
    """Share of the population that is unique by the model that Dankar et al. advise, and that model's name.

    Up to a sampling fraction of 0.1 Pitman's; above, the smaller of slide negative binomial and Zayatz.
    Zayatz's where the other has no solution.
    """
    by_zayatz = zayatz(sample)
    if sample.fraction <= _SMALL_SAMPLE:
        by_pitman = pitman(sample)
        return (by_zayatz, "zayatz") if by_pitman is None else (by_pitman, "pitman")
    by_snb = slide_negative_binomial(sample)
    return (by_zayatz, "zayatz") if by_snb is None or by_zayatz < by_snb else (by_snb, "snb")
