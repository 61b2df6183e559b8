"""The way in."""

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit, start
from tests.conftest import House

pytestmark = pytest.mark.browser


def test_who_is_not_logged_in_sees_the_login_page_and_a_wrong_token_stays_there(visit: Visit, house: House) -> None:
    page = visit(house.url)
    expect(page).to_have_title("heist: log in")
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_label("Token").fill("not the token")
    page.get_by_role("button", name="Log in").click()
    expect(page).to_have_title("heist: log in")
    expect(page.get_by_role("alert")).to_contain_text("not the token of this server")
    assert page.context.cookies() == []


def test_the_right_token_leads_in_and_leaves_a_cookie_that_no_script_and_no_other_site_can_use(
    visit: Visit, house: House
) -> None:
    page = visit(house.url)
    page.get_by_label("Token").fill(house.gate.token)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Start a session")).to_be_visible()
    assert house.gate.token not in page.url
    (cookie,) = page.context.cookies()
    assert cookie["name"] == f"heist_{urlsplit(house.url).port}"
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    assert page.evaluate("document.cookie") == ""


def test_logging_in_leads_back_to_the_page_that_asked_for_it(visit: Visit, house: House) -> None:
    session_id = start(visit(house.login))
    stranger = visit(f"{house.url}/s/{session_id}")
    stranger.get_by_label("Token").fill("a wrong one first")
    stranger.keyboard.press("Enter")
    expect(stranger.get_by_role("alert")).to_be_visible()
    stranger.get_by_label("Token").fill(house.gate.token)
    stranger.keyboard.press("Enter")
    expect(stranger).to_have_url(re.compile(f"/s/{session_id}$"))
    expect(stranger.locator("#session")).to_be_visible()


def test_the_printed_address_leads_in_at_once(visit: Visit, house: House) -> None:
    page = visit(house.login)
    expect(page).to_have_url(f"{house.url}/")
    expect(page.locator("#link")).to_have_text("live")
