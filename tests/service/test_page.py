"""The web page in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from service.browse import CHROMIUM, Served, many, served
from service.stage import until
from slotsmith.service.chart import demand_chart, fleet_chart
from slotsmith.service.hub import Sample
from waiting import PATIENCE

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: install Debian's chromium to test the web page"
)

HTML = "<img src=x onerror=document.title='run'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as tool:
        found = tool.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def on() -> Iterator[Served]:
    with served(max_instances=2) as one:
        one.do(one.stage.push, sequence=1, tasks=[{"id": HTML, "resources": {"slots": 9}}], agents=[])
        yield one


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(1000 * PATIENCE)
    made = context.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    yield made
    context.close()
    assert [each for each in faults if "status of 4" not in each] == []


def live(page: Any) -> None:
    page.get_by_text("live", exact=True).wait_for()


def test_a_pool_says_what_is_unmet_and_html_is_text(on: Served, page: Any) -> None:
    page.goto(on.address)
    page.get_by_role("link", name="gpu").click()
    live(page)
    page.get_by_text(HTML).first.wait_for()
    assert page.title() == "gpu · slotsmith"
    assert page.locator("main img").count() == 0


def test_it_changes_without_being_loaded_again(on: Served, page: Any) -> None:
    page.goto(f"{on.address}/pools/gpu")
    live(page)
    page.evaluate("window.kept = 'yes'")
    on.do(on.stage.push, sequence=2, desired_new=1)
    on.do(lambda: until(lambda: len(on.stage.pool.instances) == 1))
    (instance,) = on.stage.provider.instances
    page.get_by_role("rowheader", name=instance).wait_for()
    page.get_by_text("launch 1 x test/on-demand").wait_for()
    assert page.evaluate("window.kept") == "yes"


def test_pausing_by_keyboard_asks_why_and_is_on_record(on: Served, page: Any) -> None:
    page.goto(f"{on.address}/pools/gpu")
    live(page)
    page.locator("#pause").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.get_by_text("Say why: it goes on record.").wait_for()
    page.keyboard.type("by <b>hand</b>")
    page.keyboard.press("Enter")
    page.get_by_text("Paused by somebody on this machine: by <b>hand</b>").wait_for()
    page.locator("#resume").click()
    page.get_by_label("Why (goes on record)").fill("done")
    page.get_by_role("button", name="Do it").click()
    page.locator("#pause").wait_for()
    told = on.stage.service.people.actions()
    assert [(each.what, each.why) for each in told[:2]] == [("resume", "done"), ("pause", "by <b>hand</b>")]


def test_a_refusal_is_told_in_the_dialog(on: Served, page: Any) -> None:
    page.goto(f"{on.address}/pools/gpu")
    live(page)
    page.locator("#limits").click()
    page.get_by_label("Minimum").fill("7")
    page.get_by_label("Why (goes on record)").fill("too many")
    page.get_by_role("button", name="Do it").click()
    page.get_by_text("the minimum of 7 would be above the maximum of 2").wait_for()
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_400_pixels_in_light_and_dark(on: Served, browser: Any, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 400, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(1000 * PATIENCE)
    made = context.new_page()
    colours = []
    for path in ("/", "/pools/gpu", "/sign-in"):
        made.goto(on.address + path)
        assert made.evaluate("document.documentElement.scrollWidth") <= 400, path
        colours.append(made.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert set(colours) == {"rgb(246, 246, 243)" if scheme == "light" else "rgb(20, 24, 22)"}
    context.close()


def test_five_thousand_instances_can_be_read(on: Served, page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = on.stage.service.hub.trails["gpu"]
    on.do(lambda: until(lambda: trail.summary))
    full = {**(trail.summary or {}), **many(5000, on.stage.service.clock.now())}

    async def summary() -> Any:
        return full

    monkeypatch.setattr(on.stage.pool, "summary", summary)
    page.goto(f"{on.address}/pools/gpu")
    assert page.locator("tbody tr").count() == 200
    assert page.locator("tbody tr.going").count() == 10  # those that need a look first
    page.get_by_text("200 of 5,000 are shown").wait_for()
    page.get_by_role("link", name="Show more").click()
    page.get_by_text("1000 of 5,000 are shown").wait_for()
    assert page.locator("tbody tr").count() == 1000


def test_charts_have_every_state_and_the_newest_sample() -> None:
    samples = [Sample(10.0 * n, {"running": n, "terminating": 1}, n, n) for n in range(1000)]
    fleet, demand = fleet_chart(samples), demand_chart(samples)
    assert fleet is not None
    assert demand is not None
    assert [shape.name for shape in fleet.shapes] == ["running", "ending"]
    assert (fleet.top, demand.top) == (1000, 999)
    assert fleet_chart(samples[:1]) is None
