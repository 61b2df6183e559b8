"""The verdict: whole, in the words of the first of its kind, with reasons that hang together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.services.detection.case import Case
from heist.services.detection.verdict import Verdict, answer
from tests.services.detection.cases import CREW, SETTINGS, judged, talk
from tests.services.detection.test_artefacts import NIGHT


def test_the_original_keys_are_there() -> None:
    told = judged(NIGHT).model_dump()
    assert {"suggested_mole", "confidence", "suspicion_scores", "score_breakdown", "analysis_weights"} <= told.keys()
    assert told["analysis_weights"] == dict(SETTINGS.families)
    assert told["suspicion_scores"].keys() == set(CREW)


def test_posterior_and_nobody_sum_to_one_and_the_suspects_cover_what_they_say() -> None:
    told = judged(NIGHT)
    assert told.nobody is not None
    assert sum(told.posterior.values()) + told.nobody == pytest.approx(1)
    shares = [told.nobody if one is None else told.posterior[one] for one in told.suspects]
    assert told.coverage == pytest.approx(sum(shares))


def test_every_reason_that_is_named_is_among_the_evidence() -> None:
    told = judged(NIGHT)
    by_id = {item.id: item for item in told.evidence}
    assert len(by_id) == len(told.evidence)
    for account in told.explanation:
        assert all(by_id[name].agent == account.agent and by_id[name].hit for name in account.more)
        assert all(by_id[name].agent == account.agent and by_id[name].hit is False for name in account.less)
        assert account.change.endswith(".")
    first = told.explanation[0]
    assert first.agent == "lookout"
    assert by_id[first.more[0]].reason.startswith("lookout says 02:40 for the start of the night rest, but has read")
    assert by_id[first.more[0]].link == "/s/s1#m3"


def test_the_weights_of_the_items_add_up_to_the_breakdown() -> None:
    told = judged(NIGHT)
    for agent in CREW:
        spoken = sum(item.weight for item in told.evidence if item.agent == agent)
        assert spoken == pytest.approx(sum(told.score_breakdown[agent].values()), abs=0.02)


def test_a_case_without_a_scenario_gets_no_number() -> None:
    told = judged(Case("s", talk("Hello.").members, talk("Hello.").deeds))
    assert told.abstained
    assert (told.posterior, told.nobody, told.confidence, told.suggested_mole) == ({}, None, None, None)


def test_a_verdict_survives_json() -> None:
    told = judged(NIGHT)
    assert Verdict.model_validate_json(told.model_dump_json()) == told


@given(st.dictionaries(st.text(min_size=1), st.floats(0, 1), min_size=1), st.floats(0, 1))
def test_nobody_is_named_who_is_not_likelier_than_everybody_else(shares: dict[str, float], nobody: float) -> None:
    name, sure = answer(shares, nobody)
    if name is None:
        assert sure == nobody
    else:
        assert shares[name] > nobody
        assert all(shares[name] > share for other, share in shares.items() if other != name)
