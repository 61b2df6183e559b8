"""The watch over the pages sees what it is there to see."""

import pytest

from tests.browser.conftest import Visit, Watch
from tests.conftest import House

pytestmark = pytest.mark.browser


def test_a_page_that_asks_another_host_is_caught(visit: Visit, house: House, watch: Watch) -> None:
    page = visit(house.url)
    page.goto("about:blank")
    page.set_content("<img src='http://127.0.0.1:9/pixel.png'>")
    page.wait_for_function("() => document.images[0].complete")
    page.evaluate("0")
    assert any("another host was asked: http://127.0.0.1:9/pixel.png" in fault for fault in watch.faults)
    watch.expect(r"127\.0\.0\.1:9|net::ERR")


def test_an_error_in_the_console_and_one_that_nobody_caught_are_seen(visit: Visit, house: House, watch: Watch) -> None:
    page = visit(house.url)
    assert watch.faults == []
    page.evaluate("console.error('a word')")
    page.evaluate("setTimeout(() => { throw new Error('a fault') })")
    page.wait_for_timeout(50)
    assert len(watch.faults) == 2
    watch.expect("a word|a fault")


def test_the_policy_stops_a_page_from_asking_another_host(visit: Visit, house: House, watch: Watch) -> None:
    page = visit(house.login)
    refused = page.evaluate("fetch('http://127.0.0.1:9/').then(() => false, () => true)")
    assert refused
    assert any("Content Security Policy" in fault for fault in watch.faults)
    watch.expect("Content Security Policy|127.0.0.1:9")
