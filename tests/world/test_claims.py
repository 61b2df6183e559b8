"""Claims: what is meant is read as it is meant, and nothing else is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heist.settings import shipped
from heist.world.claims import Claim, claims
from heist.world.documents import Bank
from heist.world.facts import Fact, Value
from heist.world.game import draw
from heist.world.scenario import names, read

pytestmark = pytest.mark.mission("B2")

SCENARIOS = {name: read(shipped("config"), name) for name in names(shipped("config"))}
FACTS = SCENARIOS["first_national_bank"].facts
STATED = [
    (name, fact, label, value)
    for name, fact in FACTS.items()
    for label in fact.names
    if label
    for value in (*fact.draw, *fact.wrongs(fact.value))
]
GENERAL = (
    "the {label} is {value}",
    "{label}: {value}",
    "{label} = {value}",
    "{value} is the {label}",
    "{value} for the {label}",
    "a {label} of {value}",
    "we take the {label} at {value}",
    "the {label} stays at {value}",
    "put the {label} at {value}",
    "I have {value} as the {label}",
    "The {label} is not {value}x but {value}",
    "the {label}\nis {value}",
    "**{label}**: {value}",
    "{label} | {value} | as noted",
)
PLAIN = st.text(alphabet="abcdefghijklmnopqrstuvwxyz .,!()\n", max_size=60)
stated = st.sampled_from(STATED)


def shown(fact: Fact, value: Value, bare: bool) -> str:
    return str(value) if bare else fact.shown(value)


@given(one=stated, wording=st.sampled_from(GENERAL), bare=st.booleans(), upper=st.booleans())
def test_every_general_wording_is_always_read_as_exactly_its_claim(
    one: tuple[str, Fact, str, Value], wording: str, bare: bool, upper: bool
) -> None:
    name, fact, label, value = one
    text = wording.replace("{value}x", "soon").format(
        label=label.upper() if upper else label, value=shown(fact, value, bare)
    )
    [claim] = claims(FACTS, f"{text}.")
    assert claim == Claim(name, value, claim.quote)
    assert claim.quote in text


@given(
    one=st.sampled_from([(name, fact, w) for name, fact in FACTS.items() for w in fact.wordings]), pick=st.integers(0)
)
def test_every_wording_of_a_fact_is_always_read_as_its_claim(one: tuple[str, Fact, str], pick: int) -> None:
    name, fact, wording = one
    value = fact.draw[pick % len(fact.draw)]
    text = f"I read it: {wording.format(value=value)}."
    assert claims(FACTS, text) == [Claim(name, value, wording.format(value=value))]


@given(one=stated, before=PLAIN, after=PLAIN)
def test_what_stands_around_a_sentence_never_changes_its_claim(
    one: tuple[str, Fact, str, Value], before: str, after: str
) -> None:
    name, fact, label, value = one
    sentence = f"The {label} is {fact.shown(value)}."
    alone = claims(FACTS, sentence)
    assert claims(FACTS, f"{before}.\n\n{sentence}\n\n{after}") == alone == [Claim(name, value, sentence[4:-1])]


@given(text=st.text(max_size=400))
def test_a_text_without_labels_or_wordings_never_claims_and_every_quote_is_verbatim(text: str) -> None:
    for claim in claims(FACTS, text):
        assert claim.quote in text


@given(
    text=st.lists(
        st.sampled_from([*GENERAL, "12", "02:10", "not", "?", "is", "the", *FACTS["rest_from"].names]), max_size=12
    )
)
def test_the_quote_of_a_claim_always_stands_in_the_text_and_claims_the_same_alone(text: list[str]) -> None:
    whole = " ".join(text)
    for claim in claims(FACTS, whole):
        assert claim.quote in whole
        assert Claim(claim.fact, claim.value, claim.quote) in claims(FACTS, claim.quote)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Number 12, come in.",
        "The start of the night rest matters.",
        "Is the start of the night rest 02:10?",
        "The start of the night rest is 02:10, is it not?",
        "The start of the night rest is not 02:10.",
        "The start of the night rest isn't 02:10.",
        "I don't think the start of the night rest is 02:10.",
        "It is not true that the start of the night rest is 02:10.",
        "If the start of the night rest is 02:10, we wait.",
        "not 02:10 for the start of the night rest",
        "The restart of the night rest is 02:10.",
        "The start of the night rests is 02:10.",
        "The start of the night rest is 25:10.",
        "The start of the night rest is 02:10:30.",
        "The length of the night rest is 2 hours.",
        "The length of the night rest is 80-90 minutes.",
        "The thickness of the vault door is 12.5 inches.",
        "The thickness of the vault door is 12345.",
        "The alarm line of the vault is bluebell.",
        "The alarm line of the vault is unknown.",
        "I start the vault door night rest 02:10.",
    ],
)
def test_what_claims_nothing_gives_nothing(text: str) -> None:
    assert claims(FACTS, text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The start of the night rest is 02:10, not 02:40.", [("rest_from", "02:10")]),
        ("The start of the night rest is not 02:10 but 02:40.", [("rest_from", "02:40")]),
        ("I keep 2.10 as the beginning of the night rest.", [("rest_from", "02:10")]),
        ("Is that so? The start of the night rest is 02:10.", [("rest_from", "02:10")]),
        ("door thickness: 10; drilling time: about 3 min", [("door_inches", 10), ("inch_minutes", 3)]),
        ("The number of boxes worth opening is 5, a box takes 2 minutes.", [("box_count", 5), ("box_minutes", 2)]),
        ("The way in without a camera is the Coal Chute.", [("unwatched_way", "coal chute")]),
        ("The length of the night rest is 1 minute.", [("rest_minutes", 1)]),
    ],
)
def test_what_is_meant_is_claimed_in_its_order(text: str, expected: list[tuple[str, Value]]) -> None:
    assert [(claim.fact, claim.value) for claim in claims(FACTS, text)] == expected


@pytest.mark.parametrize("name", SCENARIOS)
@given(seed=st.integers(0, 2**31))
def test_every_source_is_always_read_as_the_facts_that_it_states(name: str, seed: int) -> None:
    game = draw(SCENARIOS[name], seed)
    bank = Bank(game)
    for part, sheets in (("documents", bank.papers), ("observations", bank.views), ("routes", bank.routes)):
        for sheet in sheets.values():
            outdated = getattr(game.scenario, part)[sheet.name].outdated
            for claim in claims(game.scenario.facts, sheet.text):
                true = game.outdated(claim.fact) if claim.fact in outdated else game.values[claim.fact]
                assert claim.value == true


HOSTILE = [
    "the start of the night rest is ",
    "start ",
    "02:10 is ",
    "12 ",
    "a",
    " ",
    "\n",
    "? ",
    "*_`",
    "the guards sit down at ",
    "12 inches of ",
    "way in without a camera ",
    "start of the night rest" + " " * 60,
    "01:12 for the start of the night rest ",
    "not 1 is not 1, but ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_twice_the_hostile_text_takes_about_twice_the_time(piece: str) -> None:
    def took(length: int) -> float:
        text = (piece * (length // len(piece) + 1))[:length]
        best = 1e9
        for _ in range(3):
            began = time.process_time()
            claims(FACTS, text)
            best = min(best, time.process_time() - began)
        return best

    assert took(100_000) < 8 * took(25_000) + 0.02
    assert took(100_000) < 0.5  # 10 to 50 ms on a quiet machine
