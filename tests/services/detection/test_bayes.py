"""The arithmetic: ratios that rise with hits and fall with misses, a posterior that sums to 1."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.services.detection import bayes
from heist.services.detection.bayes import Balance, Baseline
from heist.services.detection.config import Belief
from heist.services.detection.evidence import COUNTED, FAMILIES, Count, Family, Item
from tests.services.detection.cases import CREW, SETTINGS

rates = st.floats(0.001, 0.98)
counts = st.integers(0, 60).flatmap(lambda of: st.tuples(st.integers(0, of), st.just(of)))
excesses = st.lists(st.floats(0.01, 0.95), min_size=1, max_size=4).map(tuple)
found = st.lists(
    st.tuples(st.sampled_from(CREW), st.sampled_from(FAMILIES), st.sampled_from(COUNTED), st.booleans()), max_size=60
)


def item(agent: str, family: str, check: str, hit: bool) -> Item:
    return Item(agent, family, check, hit, (1,), "", f"{agent} did.")  # type: ignore[arg-type]


def balance(told: list[tuple[str, str, str, bool]], names: tuple[str, ...] = CREW, rest: float = 0.5) -> Balance:
    made = Balance(dict.fromkeys(names, ""), SETTINGS.checks, SETTINGS.families, {}, rest)
    for one in told:
        made.add(item(*one))
    return made


@given(counts, rates, st.floats(0.5, 300), excesses, st.floats(0, 1))
def test_a_hit_never_lowers_and_a_miss_never_raises(
    count: tuple[int, int], honest: float, strength: float, excess: tuple[float, ...], share: float
) -> None:
    hits, of = count
    before = bayes.log_ratio(hits, of, honest, strength, excess, share)
    assert bayes.log_ratio(hits + 1, of + 1, honest, strength, excess, share) >= before - 1e-9
    assert bayes.log_ratio(hits, of + 1, honest, strength, excess, share) <= before + 1e-9


@given(found, st.sampled_from(CREW), st.sampled_from(FAMILIES), st.sampled_from(COUNTED))
def test_the_odds_of_an_agent_against_nobody_go_the_way_of_its_items(
    told: list[tuple[str, str, str, bool]], agent: str, family: str, check: str
) -> None:
    before = balance(told).odds().total[agent]
    assert balance([*told, (agent, family, check, True)]).odds().total[agent] >= before - 1e-9
    assert balance([*told, (agent, family, check, False)]).odds().total[agent] <= before + 1e-9


@given(st.dictionaries(st.text(max_size=5), st.floats(-500, 500), max_size=9), st.floats(0.01, 0.99))
def test_the_posterior_sums_to_one(total: dict[str, float], prior: float) -> None:
    told = bayes.posterior(total, prior)
    assert math.fsum((*told.agents.values(), told.nobody)) == pytest.approx(1)
    assert all(0 <= share <= 1 for share in (*told.agents.values(), told.nobody))


@given(found, st.permutations(CREW))
def test_other_names_in_another_order_give_the_same_odds_under_those_names(
    told: list[tuple[str, str, str, bool]], order: list[str]
) -> None:
    renamed = dict(zip(CREW, (f"agent {name}" for name in order), strict=True))
    other = balance([(renamed[agent], *rest) for agent, *rest in told], tuple(renamed[name] for name in order))  # type: ignore[misc]
    first, second = balance(told).odds().total, other.odds().total
    assert all(second[renamed[name]] == pytest.approx(first[name]) for name in CREW)


@given(found)
def test_item_by_item_is_the_same_as_all_at_once(told: list[tuple[str, str, str, bool]]) -> None:
    step = balance([])
    for one in told:
        step.add(item(*one))
        step.odds()
    assert step.odds() == balance(told).odds()


def test_the_ratio_is_that_of_the_beta_binomial() -> None:
    def beta(one: float, other: float) -> float:
        return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)

    honest, mole, strength = 0.1, 0.1 + 0.9 * 0.5, 20.0
    worth = [
        beta(3 + mean * strength, 4 + (1 - mean) * strength) - beta(mean * strength, (1 - mean) * strength)
        for mean in (mole, honest)
    ]
    assert bayes.log_ratio(3, 7, honest, strength, (0.5,), 1.0) == pytest.approx(worth[0] - worth[1])


def test_a_crew_that_slips_a_lot_makes_a_slip_less_telling() -> None:
    careful = [("planner", "tool_usage", "mistake", False)] * 30
    careless = [("planner", "tool_usage", "mistake", True)] * 30
    slip = [("hacker", "tool_usage", "mistake", True)] * 3
    assert balance([*careless, *slip]).odds().total["hacker"] < balance([*careful, *slip]).odds().total["hacker"]


def test_a_role_is_measured_by_its_own_kind() -> None:
    belief = Belief(honest=0.1, strength=20, excess=(0.3,), share=0.5)
    seen = Baseline(Count(10, 100), {"hacker": Count(60, 100)})
    assert bayes.honest_rate(belief, seen, "hacker") > 3 * bayes.honest_rate(belief, seen, "driver")


@given(found)
def test_what_is_only_noted_counts_for_nothing(told: list[tuple[str, str, str, bool]]) -> None:
    made = balance(told)
    before = made.odds()
    made.add(Item("hacker", "message_anomaly", "overseer", None, (1,), "", "hacker speaks."))
    made.add(item("a client from outside", "tool_usage", "mistake", True))
    assert made.odds() == before


def test_the_suspects_are_the_fewest_that_are_enough() -> None:
    told = bayes.Posterior({"a": 0.6, "b": 0.1, "c": 0.05}, 0.25)
    chosen, covered = bayes.suspects(told, 0.8)
    assert chosen == ["a", None]
    assert covered == pytest.approx(0.85)
    assert bayes.suspects(told, 1.0)[0] == ["a", None, "b", "c"]


@given(counts, rates)
def test_an_honest_game_is_not_expected_to_raise_the_e_value(count: tuple[int, int], honest: float) -> None:
    """The mean over all outcomes of one check, each as likely as it is for an honest agent, is at most 1."""
    _, of = count
    strength, excess, share = 20.0, (0.3, 0.6), 0.5
    alpha, beta = honest * strength, (1 - honest) * strength

    def likely(hits: int) -> float:
        whole = math.lgamma(of + 1) - math.lgamma(hits + 1) - math.lgamma(of - hits + 1)
        top = math.lgamma(hits + alpha) + math.lgamma(of - hits + beta) - math.lgamma(of + strength)
        return math.exp(whole + top - math.lgamma(alpha) - math.lgamma(beta) + math.lgamma(strength))

    for weight in (0.5, 1.0):
        ratio = [weight * bayes.log_ratio(hits, of, honest, strength, excess, share) for hits in range(of + 1)]
        assert sum(likely(hits) * math.exp(ratio[hits]) for hits in range(of + 1)) <= 1 + 1e-6


def test_in_the_e_value_a_family_of_more_than_average_weight_counts_once() -> None:
    heavy: Family = "timing_inconsistency"
    light: Family = "tool_usage"
    capped = bayes.caps({heavy: 0.4, light: 0.1})
    assert bayes.e_value({"a": {heavy: 4 * 0.4 * 2.0}}, capped) == pytest.approx(math.exp(2.0))
    assert bayes.e_value({"a": {light: 4 * 0.1 * 2.0}}, capped) == pytest.approx(math.exp(0.8))
    assert bayes.e_value({"a": {light: 0.0}, "b": {heavy: 1.6}}, capped) == pytest.approx((1 + math.e) / 2)
