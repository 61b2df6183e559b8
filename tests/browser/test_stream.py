"""The link to the server: reloaded, cut, gone, and back."""

import pytest
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from heist import events as e
from heist.settings import Settings
from tests.browser.conftest import NETWORK, Relay, Visit, Watch, linked, log, said, see, see_alike, shown, watching
from tests.conftest import House, serving

pytestmark = pytest.mark.browser
SPEAKING = "() => document.querySelector('.turn.speaking p')?.textContent.length > 10"


def test_a_reload_in_the_middle_shows_the_same_and_goes_on(page: Page, house: House) -> None:
    session_id = watching(page, rounds=5, words_per_second=20, seed=3)
    expect(page.locator("#m2.done")).to_be_visible()
    page.wait_for_function(SPEAKING)
    *before, speaking = shown(page)
    page.reload()
    page.wait_for_function("(turn) => document.getElementById(`m${turn}`)?.querySelector('p')", arg=speaking[0])
    after = shown(page)
    assert after[: len(before)] == before
    assert str(after[len(before)][2]).startswith(str(speaking[2]))
    expect(page.locator(f"#m{len(after) + 1}.done")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    see(page, "paused")
    expect(page.locator(".turn.speaking")).to_have_count(0)
    assert shown(page) == said(house, session_id)


def test_a_link_cut_three_times_loses_nothing_and_doubles_nothing(
    visit: Visit, house: House, relay: Relay, watch: Watch
) -> None:
    watch.expect(NETWORK)
    relay.lead_to(house)
    page, cold = visit(relay.login(house)), visit(house.login)
    session_id = watching(page, rounds=2, words_per_second=30)
    for _ in range(3):
        page.wait_for_function(SPEAKING)
        relay.lead_to(None)
        relay.cut()
        linked(page, "reconnecting")
        relay.lead_to(house)
        linked(page, "live")
    see(page, "completed")
    cold.goto(f"/s/{session_id}")
    see(cold, "completed")
    assert shown(page) == said(house, session_id)
    assert len(shown(page)) == 12
    see_alike(page, cold)


def test_a_page_that_was_offline_catches_up(page: Page, house: House, watch: Watch) -> None:
    watch.expect(NETWORK)
    session_id = watching(page, paused=True)
    see(page, "paused")
    other = page.context.new_page()
    other.goto(f"/s/{session_id}")
    see(other, "paused")
    page.context.set_offline(True)
    page.context.set_offline(False)
    other.keyboard.press(" ")
    see(page, "completed")
    see(other, "completed")
    assert shown(page) == shown(other) == said(house, session_id)


def test_when_the_server_is_gone_the_page_says_so_and_keeps_what_it_has(
    visit: Visit, settings: Settings, watch: Watch
) -> None:
    watch.expect(NETWORK)
    with serving(settings) as house:
        page = visit(house.login)
        watching(page, paused=True)
        see(page, "paused")
        page.keyboard.press(".")
        expect(page.locator("#m1.done")).to_be_visible()
        before = shown(page)
    linked(page, "reconnecting")
    assert shown(page) == before
    page.keyboard.press(" ")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    assert shown(page) == before


def test_a_server_that_comes_back_is_found_and_the_session_goes_on_where_it_was(
    visit: Visit, settings: Settings, relay: Relay, watch: Watch
) -> None:
    watch.expect(NETWORK)
    with serving(settings) as house:
        relay.lead_to(house)
        page = visit(relay.login(house))
        session_id = watching(page, words_per_second=12)
        expect(page.locator("#m1.done")).to_be_visible()
        page.wait_for_function(SPEAKING)
        relay.lead_to(None)
        relay.cut()
    linked(page, "reconnecting")
    with serving(settings) as house:
        relay.lead_to(house)
        linked(page, "live")
        see(page, "paused")
        cut = page.locator(".turn.interrupted").get_attribute("id")
        expect(page.locator(f"#{cut} .error")).to_contain_text("the server was shut down")
        assert shown(page)[:-1] == said(house, session_id)
        page.keyboard.press(".")
        page.wait_for_function(SPEAKING)
        expect(page.locator(f"#{cut} .error")).to_have_count(0)
        expect(page.locator(f"#{cut}.done")).to_be_visible()
        assert shown(page) == said(house, session_id)
        assert len([event for event in log(house, session_id) if isinstance(event, e.MessageInterrupted)]) == 1
        page.close()


def test_a_server_with_another_secret_signs_the_page_out_and_the_login_keeps_the_place(
    visit: Visit, settings: Settings, relay: Relay, watch: Watch
) -> None:
    watch.expect(f"{NETWORK}|status of 401")
    with serving(settings) as house:
        relay.lead_to(house)
        page = visit(relay.login(house))
        session_id = watching(page, paused=True)
        see(page, "paused")
        page.keyboard.press(".")
        expect(page.locator("#m1.done")).to_be_visible()
        before = shown(page)
        relay.lead_to(None)
        relay.cut()
    linked(page, "reconnecting")
    other = settings.model_copy(update={"secret": SecretStr("quite another secret, and long enough for any key")})
    with serving(other) as house:
        relay.lead_to(house)
        linked(page, "signed out")
        assert shown(page) == before
        page.get_by_role("alert").get_by_role("link").click()
        page.get_by_label("Token").fill(house.gate.token)
        page.keyboard.press("Enter")
        see(page, "paused")
        assert page.url == f"{relay.url}/s/{session_id}"
        assert shown(page) == before
        page.close()
