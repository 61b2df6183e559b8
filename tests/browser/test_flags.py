"""The page shows nothing of what the house has switched off."""

import pytest
from playwright.sync_api import expect

from heist.settings import Flags, Settings
from tests.browser.conftest import Serve, Visit, linked, see, watching

pytestmark = [pytest.mark.browser, pytest.mark.mission("S16")]


def test_what_is_switched_off_is_not_there(serve: Serve, visit: Visit, settings: Settings) -> None:
    off = Flags(live_control=False, commands=False, detection=False, blind_play=False)
    page = visit(serve(settings.model_copy(update={"flags": off})).login)
    expect(page.get_by_role("link", name="Lab")).to_be_visible()
    expect(page.get_by_role("link", name="Play")).to_be_hidden()
    watching(page)
    see(page, "completed")
    linked(page, "live")
    for hidden in ("#pause", "#stop", "#command", "#suspicion-panel", "#evidence-panel"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#guess")).to_be_visible()
    page.goto("/play")
    expect(page.get_by_role("alert")).to_have_text("Blind play is switched off in this house.")
