"""A crew is a YAML file; a wrong one is refused in one sentence."""

from pathlib import Path

import pytest

from heist.agents import crew as crews
from heist.errors import ConfigError, NotFound
from heist.services.auth import AGENT_SCOPES
from heist.settings import Settings

pytestmark = pytest.mark.mission("S16", "S21")
GOOD = """\
name: Two
scenario: first_national_bank
rounds: 2
agents:
  - {name: ann, role: planner, scopes: ["files:read"], persona: You plan.}
  - {name: bob, role: driver, scopes: [], persona: You drive.}
"""


def test_the_crew_that_comes_with_the_program_has_its_six() -> None:
    crew = crews.read(Settings().config, "crew")
    names = [member.name for member in crew.agents]
    assert names == ["planner", "hacker", "safecracker", "intel", "driver", "lookout"]
    assert (crew.rounds, crew.context, crew.order) == (5, 5, "round_robin")


def test_another_file_alone_is_another_crew(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(GOOD)
    (tmp_path / "notes.yaml").write_text("hello: there\n")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "latin.yaml").write_bytes(b"\xe9\xff")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nowhere.yaml")
    assert crews.crews(tmp_path) == ["two"]
    assert [member.name for member in crews.read(tmp_path, "two").agents] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("name: bob", "name: Ann", "line 4: agents: the name 'ann' stands 2 times; each agent needs its own"),
        ("files:read", "files:write", "line 5: agents.0.scopes: unknown scope 'files:write'; expected some of: calc"),
        ("files:read", "session:control", "line 5: agents.0.scopes: unknown scope 'session:control'"),
        ("rounds: 2", "round: 2", "line 3: round: there is no such key"),
        ("rounds: 2", "rounds: 0", "line 3: rounds: input should be greater than or equal to 1"),
        ("rounds: 2", "order: backwards", "line 3: order: input should be 'round_robin' or 'random'"),
        ("role: driver", "rolle: driver", "line 6: agents.1.rolle: there is no such key"),
        ("name: ann", "name: a nn", "line 5: agents.0.name: a name is a letter and up to 31 more letters"),
        ("name: ann", "name: <b>", "line 5: agents.0.name: a name is a letter and up to 31 more letters"),
        ("persona: You plan.", "persona: ''", "line 5: agents.0.persona: string should have at least 1 character"),
        ("scenario: first_national_bank", "scenario: ../x", "line 2: scenario: string should match pattern"),
    ],
)
def test_a_wrong_crew_is_refused_with_line_key_and_expectation(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    (tmp_path / "two.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError) as refused:
        crews.read(tmp_path, "two")
    assert f"two.yaml, {sentence}" in str(refused.value)


def test_a_crew_of_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("\n".join(GOOD.splitlines()[:-1]))
    with pytest.raises(ConfigError, match="agents: the list should have at least 2 items"):
        crews.read(tmp_path, "one")


@pytest.mark.parametrize("name", ["nobody", "../crew", "scenarios/first_national_bank", "", "/etc/passwd", "crew.yaml"])
def test_a_name_that_is_no_crew_says_which_there_are(name: str) -> None:
    with pytest.raises(NotFound, match=r"there is no crew .* there are: crew"):
        crews.read(Settings().config, name)


@pytest.mark.mission("B10")
def test_a_crew_may_have_the_scopes_that_it_is_read_with_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(GOOD.replace("files:read", "weather:read"))
    with pytest.raises(ConfigError, match="unknown scope 'weather:read'; expected some of: calculator:use"):
        crews.read(tmp_path, "two")
    crew = crews.read(tmp_path, "two", AGENT_SCOPES | {"weather:read"})
    assert crew.agents[0].scopes == ("weather:read",)
    assert crew.agents[0].seat.scopes == ("weather:read",)
    with pytest.raises(ConfigError, match="unknown scope 'weather:read'"):
        crews.read(tmp_path, "two", AGENT_SCOPES)


@pytest.mark.parametrize("scope", ["tools:admin", "session:read", "tokens:introspect", "", "files:read "])
def test_a_crew_file_gives_nobody_a_right_of_the_operators(tmp_path: Path, scope: str) -> None:
    (tmp_path / "two.yaml").write_text(GOOD.replace("files:read", scope))
    with pytest.raises(ConfigError, match=r"line 5: agents\.0\.scopes: unknown scope"):
        crews.read(tmp_path, "two")


VARIANTS = (
    GOOD
    + """\
variants:
  plain: {share: 3}
  cool:
    rounds: 4
    model: {temperature: 0.2}
    memory: {threshold: 400}
    agents:
      bob: {persona: You drive slowly., model: {max_tokens: 50}}
"""
)


def varied(folder: Path, text: str = VARIANTS) -> crews.Crew:
    (folder / "two.yaml").write_text(text)
    return crews.read(folder, "two")


def test_a_variant_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    crew = varied(tmp_path)
    plain, cool = crews.varied(crew, "plain", 1), crews.varied(crew, "cool", 1)
    assert plain == (crew, "plain")
    assert cool[1] == "cool"
    assert (cool[0].rounds, cool[0].model.temperature, cool[0].memory.threshold) == (4, 0.2, 400)
    assert (cool[0].model.max_tokens, cool[0].memory.block, cool[0].order) == (300, 200, "round_robin")
    ann, bob = cool[0].agents
    assert ann == crew.agents[0]
    assert (bob.persona, bob.role, bob.model.max_tokens) == ("You drive slowly.", "driver", 50)


def test_the_seed_deals_variants_by_their_shares_and_the_same_seed_the_same(tmp_path: Path) -> None:
    crew = varied(tmp_path)
    dealt = [crews.varied(crew, None, seed)[1] for seed in range(2000)]
    assert dealt == [crews.varied(crew, None, seed)[1] for seed in range(2000)]
    assert 0.7 < dealt.count("plain") / 2000 < 0.8
    assert crews.varied(varied(tmp_path, VARIANTS.replace("share: 3", "share: 0")), None, 1)[1] == "cool"


def test_a_crew_without_variants_has_none(tmp_path: Path) -> None:
    crew = varied(tmp_path, GOOD)
    assert crews.varied(crew, None, 1) == (crew, None)
    with pytest.raises(NotFound, match="there is no variant 'cool' of this crew; there are: none"):
        crews.varied(crew, "cool", 1)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("bob: {pers", "eve: {pers", "line 14: variants.cool.agents.eve: there is no such agent; there are: ann, bob"),
        ("rounds: 4", "round: 4", "line 10: variants.cool.round: there is no such key"),
        ("threshold: 400", "threshold: 4", "line 12: variants.cool.memory.threshold: input should be greater"),
        ("{share: 3}", "{share: -1}", "line 8: variants.plain.share: input should be greater than or equal to 0"),
        ("persona: You drive slowly.", "scopes: [x]", "line 14: variants.cool.agents.bob.scopes: unknown scope 'x'"),
        ("  plain:", "  pl ain:", "line 8: variants.pl ain"),
    ],
)
def test_a_wrong_variant_is_refused_with_line_key_and_expectation(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        varied(tmp_path, VARIANTS.replace(old, new))
    assert str(refused.value).startswith(f"{tmp_path / 'two.yaml'}, {sentence}")


def test_variants_that_nobody_is_dealt_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 7: variants: at least one variant must have a share"):
        varied(tmp_path, GOOD + "variants:\n  one: {share: 0}\n")


def test_an_address_with_a_password_does_not_get_into_a_crew(tmp_path: Path) -> None:
    text = GOOD + "model: {llm: 'http://clerk:geheim@127.0.0.1:1/v1'}\n"
    with pytest.raises(
        ConfigError, match=r"line 7: model\.llm: a name and password would stand in every log"
    ) as refused:
        varied(tmp_path, text)
    assert "geheim" not in str(refused.value)
