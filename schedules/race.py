"""Several rates from step 0, each on its own full schedule; the best go on, and of these the best alone."""

import math
from collections.abc import Generator, Sequence

import numpy as np

from schedules.candidates import RATIO, based, inside, interval, ranked
from schedules.check import COUNT, FACTOR, FRACTION, SHARE, Interval, number, one_of, truth, whole
from schedules.combine import product, rising, scale, shift
from schedules.compare import score
from schedules.guarded import guarded as guard
from schedules.plan import Fact, Plan, Planned, Spending, fact, least_probe_steps, longest
from schedules.range_test import HIGH, LOW, SWEEPS, cost_of, default_sweep_steps, sweeping
from schedules.types import Keep, Probe, Schedule, Segment, Trace, TunerError

CENTRES = ("lr", "range_test")
_HALF = Interval(0, 0.5, "(]")
_WARMUP = Interval(0, 0.25)
_SEVERAL = Interval(2, 64)
_BLOWN_UP = 0.5  # of the loss: noise of a healthy run at a constant rate stays well below
_SHORTEST = 40  # steps: two probes of the least length


def race(
    horizon: int,
    budget: int,
    k: int = 6,
    ratio: float = 2.0,
    base: str = "wsd(cooldown_fraction=0.4)",
    warmup_fraction: float = 0.05,
    rank_fraction: float = 0.1,
    finalists: int = 2,
    final_fraction: float = 0.3,
    centre: str = "lr",
    low: float = 0.0,
    high: float = FACTOR.high,
    probe_share: float = 1.0,
) -> Planned:
    """Train k rates side by side from step 0; after a tenth of the run two go on, after three tenths one.

    Each candidate has its own warm-up and follows the base schedule to 0 over the full horizon, on the
    batches of all others; they are ranked by validation loss at `rank_fraction` of the horizon, never before
    twice the warm-up, and the `finalists` among them again at `final_fraction`. Nothing is run twice: what
    the winner was probed for is the beginning of its training. Rates are `ratio` apart around the config's,
    inside [low, high], or around the steepest point of a range test; take a ratio of 3 where the config's
    rate is a guess. Nobody is dropped earlier: at the end of warm-up those that are too high lead.

    A budget of 1.7 horizons keeps the whole horizon; with less there are no finalists (1.5 horizons), and
    with less still the run is shorter and still ends at 0.

    Measured against a tuned cosine in steps of wall time: level for a convnet, 0.049 lower for a small
    transformer.

    >>> probe = race(horizon=1000, budget=1700).ask()
    >>> len(probe.segments), probe.segments[0].steps, probe.segments[5].lr([49]).round(2).tolist()
    (6, 100, [5.66])

    Raises:
        ValueError: a value that is not legal, or a budget too small for two candidates.
    """
    horizon = whole("horizon", horizon, COUNT)
    k = whole("k", k, _SEVERAL)
    ratio = number("ratio", ratio, RATIO)
    rank_fraction = number("rank_fraction", rank_fraction, _HALF)
    finalists = whole("finalists", finalists, Interval(1, 64))
    final_fraction = number("final_fraction", final_fraction, FRACTION)
    bounds = interval(low, high)
    share = number("probe_share", probe_share, SHARE)
    is_swept = one_of("centre", centre, CENTRES) == "range_test"
    spending, facts = Spending(budget), list[Fact]()
    number("warmup_fraction", warmup_fraction, _WARMUP)
    swept_steps = default_sweep_steps(horizon)
    paid = cost_of(swept_steps, SWEEPS) if is_swept else 0

    def rank_steps(length: int) -> int:
        _, warm = based(base, warmup_fraction, length)
        return max(math.ceil(rank_fraction * length - 1e-9), 2 * warm, least_probe_steps(length))

    def affordable(candidates: int) -> int | None:
        # Counted from where the race begins, whatever has been spent on the way.
        def fits(length: int) -> bool:
            return (candidates - 1) * rank_steps(length) + length <= spending.left - paid

        return longest(_SHORTEST, horizon, fits)

    def probed_steps(candidates: int, length: int) -> int:
        return spending.probed + paid + (candidates - 1) * rank_steps(length)

    def kept_steps(candidates: int) -> int | None:
        length = affordable(candidates)
        return length if length and probed_steps(candidates, length) <= share * budget else None

    if is_swept and (bounds[0] >= HIGH or bounds[1] <= LOW):
        raise ValueError(
            f"a range test sweeps from {LOW:g} to {HIGH:g}: low={low} and high={high} leave none"
        )
    if horizon < _SHORTEST:
        raise ValueError(
            f"horizon={horizon} is too short to race: at least {_SHORTEST} steps, with the probes "
            f"{paid + rank_steps(_SHORTEST) + _SHORTEST}"
        )
    if 2 * rank_steps(horizon) > horizon:
        raise ValueError(
            f"ranking at {rank_steps(horizon)} of {horizon} steps (twice the warm-up, at least 20) leaves "
            f"less than half of them to the winner: lower warmup_fraction or rank_fraction"
        )
    while k > 2 and kept_steps(k) is None:
        k -= 1
    if kept_steps(k) is None:
        length = affordable(k)
        least = paid + rank_steps(_SHORTEST) + _SHORTEST
        raise _too_little(budget, least, share, probed_steps(k, length) if length else None)
    spread = [ratio ** (place - (k - 1) / 2) for place in range(k)]

    def plan() -> Plan:
        nonlocal paid
        middle = 1.0
        if is_swept:
            ends = max(LOW, bounds[0]), min(HIGH, bounds[1])
            middle = (yield from sweeping(swept_steps, SWEEPS, *ends, facts)).steepest
            paid = 0
        length = 0

        def candidates(factors: list[float]) -> tuple[Segment, ...] | None:
            nonlocal length
            length = kept_steps(len(factors)) or 0
            if not length:
                return None
            schedule, _ = based(base, warmup_fraction, length)
            return tuple(Segment(scale(schedule, factor), rank_steps(length), evals=1) for factor in factors)

        factors = inside([middle * factor for factor in spread], *bounds)
        order, probed = yield from ranked(factors, bounds[0], candidates, spending, facts)
        at, (best, factor) = probed[0].steps, order[0]
        schedule, _ = based(base, warmup_fraction, length)
        last = order[:finalists]
        more = math.ceil(final_fraction * length - 1e-9) - at
        further = (len(last) - 1) * more
        # Only where it costs the run no step.
        is_paid = (
            further <= spending.left - (length - at) and spending.probed - at + further <= share * budget
        )
        if further > 0 and is_paid:
            best, factor = yield from _final(last, schedule, at, more, spending, facts)
            at += more
        yield Keep(Segment(shift(scale(schedule, factor), at), length - at), adopt=best)

    return Planned(plan(), spending, facts)


def _too_little(budget: int, least: int, share: float, probed: int | None) -> ValueError:
    """What to raise, and to what; `probed` is what two candidates probe, None if no run can be paid."""
    if probed is None:
        return ValueError(
            f"budget={budget} is too small for two candidates and a run of {_SHORTEST}: at least {least}"
        )
    wanted = math.ceil(1000 * probed / budget) / 1000
    return ValueError(
        f"probe_share={share:g} of budget={budget} leaves no steps for two candidates: at least {wanted:g}"
    )


def _final(
    finalists: list[tuple[int, float]],
    schedule: Schedule,
    at: int,
    steps: int,
    spending: Spending,
    facts: list[Fact],
) -> Generator[Keep | Probe, Sequence[Trace], tuple[int, float]]:
    """Run the finalists on, each from its own end `at` so many steps; the number of the best, and its factor.

    Raises:
        TunerError: all of them diverge.
    """
    first = spending.candidates
    shapes = [shift(scale(schedule, factor), at) for _, factor in finalists]
    traces = yield Probe(
        tuple(Segment(shape, steps, evals=1) for shape in shapes), tuple(number for number, _ in finalists)
    )
    scores = [score(trace) for trace in traces]
    stage = 1 + max(int(row["stage"]) for row in facts)
    rows = [fact(stage, factor, steps, value) for (_, factor), value in zip(finalists, scores, strict=True)]
    facts += rows
    best = int(np.argmin(scores))
    if not math.isfinite(scores[best]):
        rates = ", ".join(f"{factor:.3g}" for _, factor in finalists)
        raise TunerError(
            f"what was best after {at} steps ({rates} times lr) diverged in the next {steps}: lower lr"
        )
    rows[best]["chosen"] = True
    return first + best, finalists[best][1]


def lean(
    horizon: int,
    budget: int,
    k: int = 4,
    ratio: float = 3.0,
    base: str = "wsd(cooldown_fraction=0.2)",
    warmup_fraction: float = 0.05,
    probe_fraction: float = 0.05,
    start_factor: float = 1 / 16,
    ramp_fraction: float = 0.25,
    low: float = 0.0,
    high: float = FACTOR.high,
    probe_share: float = 1.0,
    guarded: bool = True,
) -> Planned:
    """Warm up at a low rate, try 1, 3, 9 and 27 times it once, and go on with the best from where it is.

    The form for whoever counts every step: with a budget of one horizon it keeps 87 % of it. The start is to
    be low: 8 times too low does no harm, 4 times too high damages the weights during warm-up beyond repair.
    The first `ramp_fraction` of a probe rises to its rate: a jump costs what it would gain.
    So of rates that the validation examples cannot tell apart the lowest is taken; and what ends half as bad
    again as the best before is run at half the rate, unless `guarded` is false. Of a base schedule only what
    follows the warm-up is probed. Factors are relative to the config's learning rate and stay inside
    [low, high].

    Measured against a tuned cosine of as many steps, all probes counted, from starts 8 and 16 times below its
    rate: -0.015 and +0.003 for a small transformer, -0.005 and -0.001 for a convnet.

    >>> tuner = lean(horizon=1000, budget=1000, guarded=False)
    >>> tuner.ask().segment.steps, float(tuner.ask().segment.lr(42))
    (43, 0.0625)

    Raises:
        ValueError: a value that is not legal, or a budget too small for two candidates.
    """
    horizon = whole("horizon", horizon, COUNT)
    if based(base, warmup_fraction, horizon)[1] > _WARMUP.high * horizon:
        raise ValueError(f"base={base!r} must not warm up for more than a quarter of the horizon")
    k = whole("k", k, _SEVERAL)
    ratio = number("ratio", ratio, RATIO)
    fraction = number("probe_fraction", probe_fraction, _HALF)
    number("warmup_fraction", warmup_fraction, _WARMUP)
    start = number("start_factor", start_factor, Interval(0, FACTOR.high, "(]"))
    ramp = number("ramp_fraction", ramp_fraction, Interval(0, 1))
    bounds = interval(low, high)
    share = number("probe_share", probe_share, SHARE)
    spending, facts = Spending(budget), list[Fact]()

    def probe_steps(length: int) -> int:
        return max(math.ceil(fraction * length - 1e-9), least_probe_steps(length))

    def affordable(candidates: int) -> int | None:
        def fits(length: int) -> bool:
            steps = probe_steps(length)
            return candidates * steps + max(1, length - spending.kept - steps) <= spending.left

        length = longest(_SHORTEST, horizon, fits)
        return length if length and length - spending.kept > probe_steps(length) else None

    def probed_steps(candidates: int, length: int) -> int:
        return spending.probed + (candidates - 1) * probe_steps(length)

    def kept_steps(candidates: int) -> int | None:
        length = affordable(candidates)
        return length if length and probed_steps(candidates, length) <= share * budget else None

    if horizon < _SHORTEST or 2 * probe_steps(horizon) > horizon:
        least = max(_SHORTEST, 2 * probe_steps(horizon))
        raise ValueError(
            f"horizon={horizon} is too short for probes of {probe_steps(horizon)} steps: at least {least}, "
            f"with the probes {least + probe_steps(least)}; or lower probe_fraction"
        )
    while k > 2 and kept_steps(k) is None:
        k -= 1
    first = kept_steps(k)
    if first is None:
        length = affordable(k)
        least = probe_steps(_SHORTEST) + _SHORTEST
        raise _too_little(budget, least, share, probed_steps(k, length) if length else None)

    def plan() -> Plan:
        length = first
        begin = inside([start], *bounds)[0]
        schedule, warm = based(base, warmup_fraction, length)
        if warm:
            yield Keep(Segment(scale(schedule, begin), warm))

        def candidates(factors: list[float]) -> tuple[Segment, ...] | None:
            nonlocal length
            length = kept_steps(len(factors)) or 0
            if not length:
                return None
            shape, steps = shift(based(base, warmup_fraction, length)[0], warm), probe_steps(length)
            risen = (product(shape, rising(min(begin, one), one, round(ramp * steps))) for one in factors)
            return tuple(Segment(one, steps, evals=1) for one in risen)

        factors = inside([begin * ratio**place for place in range(k)], *bounds)
        order, probed = yield from ranked(factors, bounds[0], candidates, spending, facts, prefers_low=True)
        steps, (best, factor) = probed[0].steps, order[0]
        shape = shift(scale(based(base, warmup_fraction, length)[0], factor), warm + steps)
        yield Keep(Segment(shape, length - warm - steps), adopt=best)

    tuner = Planned(plan(), spending, facts)
    return guard(tuner, tolerance=_BLOWN_UP, since_best=True) if truth("guarded", guarded) else tuner
