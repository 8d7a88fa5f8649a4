"""The page in a real browser: what is seen, on a phone, in the dark, and that it asks nobody for anything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.verification.reporting import samples
from verification.reporting.page import page

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (pip install selenium)")
from selenium.webdriver.chrome.service import Service  # noqa: E402 (known to be there only now)

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason=f"no browser: chromium is {BROWSER}, chromedriver is {DRIVER}"
)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync"
)
SIZES = [(360, 740), (1280, 900)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    for name in ("summary", "hostile", "passed"):
        (folder / f"{name}.html").write_text(page(getattr(samples, name)()), encoding="utf-8")
    return {path.stem: path.as_uri() for path in folder.iterdir()}


def load(browser: Any, address: str, size: tuple[int, int] = (1280, 900), scheme: str = "light") -> None:
    """And see that nothing is complained of, or asked for, but the file itself."""
    browser.get_log("performance")
    media = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(address)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    # The browser's own start page may still be loading.
    asked = {params["request"]["url"] for params in sent if params["documentURL"] == address}
    assert {url for url in asked if not url.startswith("data:")} == {address}


def colour(browser: Any, selector: str, name: str) -> tuple[int, int, int]:
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    text = browser.execute_script(script, selector, name)
    red, green, blue = (int(part) for part in text[text.index("(") + 1 : -1].split(",")[:3])
    return red, green, blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["summary", "hostile", "passed"])
def test_it_fits_and_asks_for_nothing(
    browser: Any, addresses: dict[str, str], name: str, size: tuple[int, int], scheme: str
) -> None:
    load(browser, addresses[name], size, scheme)
    browser.execute_script("document.querySelectorAll('details').forEach(it => it.open = true)")
    width, shown = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= shown == size[0]


def test_what_is_seen(browser: Any, addresses: dict[str, str]) -> None:
    load(browser, addresses["summary"])
    assert browser.title == "3 laws broken"
    headings = [it.text for it in browser.find_elements("css selector", "h1, h2") if it.is_displayed()]
    assert headings[:3] == ["3 laws broken", "What verified nothing", "Law by law"]
    assert len(headings) == 9
    drawn = browser.find_elements("css selector", ".figures svg")
    assert len(drawn) == 2
    assert all(it.is_displayed() and it.size["height"] > 100 for it in drawn)
    assert browser.find_element("css selector", "tr.wrong").is_displayed()
    assert browser.find_element("css selector", "td.broken b").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pairs_never_tried_are_red_and_marked(browser: Any, addresses: dict[str, str], scheme: str) -> None:
    load(browser, addresses["summary"], scheme=scheme)
    never = browser.find_elements("css selector", ".triangle td.never")
    assert len(never) == 3
    assert all(it.is_displayed() and it.text == "\N{MULTIPLICATION SIGN}" for it in never)
    red, green, blue = colour(browser, ".triangle td.never", "backgroundColor")
    assert red > 150 > 2 * max(green, blue)


def test_headers_of_the_triangle_stay(browser: Any, addresses: dict[str, str]) -> None:
    load(browser, addresses["summary"], (360, 740))
    places = """const box = document.querySelector('.triangle'), of = it => it.getBoundingClientRect();
        box.scrollTo(600, 800);
        const label = box.querySelector('tbody tr:last-child th'), head = box.querySelector('thead');
        return [of(label).left - of(box).left, of(head).top - of(box).top, box.scrollLeft, box.scrollTop]"""
    left, top, across, down = browser.execute_script(places)
    assert 0 <= left <= 2
    assert 0 <= top <= 2
    assert across == 600
    assert down == 800


def test_dark_is_dark(browser: Any, addresses: dict[str, str]) -> None:
    load(browser, addresses["summary"], scheme="dark")
    assert max(colour(browser, "body", "backgroundColor")) < 60
    assert min(colour(browser, "body", "color")) > 200
    assert min(colour(browser, ".figures svg text", "fill")) > 200
    load(browser, addresses["summary"])
    assert min(colour(browser, "body", "backgroundColor")) > 230
    assert max(colour(browser, "body", "color")) < 60


def test_texts_do_not_run(browser: Any, addresses: dict[str, str]) -> None:
    load(browser, addresses["hostile"])
    assert "hacked" not in browser.title.split(" ")
    assert browser.execute_script("return document.scripts.length + document.images.length") == 0
    assert samples.HOSTILE in browser.find_element("css selector", "main").text
