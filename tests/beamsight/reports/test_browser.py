"""The page in Chromium: it fits every screen, is readable in light and dark, and never runs a file name as code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import nights
import pytest
from nights import DAY, Nights

from runners.cli import app, codes
from transforms.imaging import drawn
from transforms.inference.concurrent import Model
from transforms.inference.engine import Floats
from transforms.inference.labels import Label

HOSTILE = {
    '<script>document.title="owned"</script>.jpg': 1,
    "\"><img src=x onerror='document.title=1'>.jpg": 2,
    "' onfocus=alert(1) autofocus='.jpg": 3,
    "{{ 7 * 7 }}{% raw %}&amp;&lt;b&gt;.jpg": 4,
    "exe\u202egpj.\u0007.jpg": 5,
    "x" * 180 + ".jpg": 6,
    "</style></title></svg><b>.jpg": 7,
}
TITLE = f"{DAY} \u2013 beamsight"
LABEL = "</span><script>document.title='label'</script>" + "w" * 90

# Elements that extend beyond the left or right edge of the window, except hidden and scrollable ones.
BEYOND = """() => [...document.querySelectorAll('body *')].filter(each => {
    if (each.closest('.scroll, .hidden, .skip, svg') && !each.matches('.scroll, svg')) return false;
    const box = each.getBoundingClientRect();
    return box.width && (box.right > window.innerWidth + 0.5 || box.left < -0.5);
}).map(each => each.outerHTML.slice(0, 120))"""

# Text whose contrast with its background is below 4.5, or below 3 for large text (WCAG 2.2 AA).
FAINT = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = rgb => rgb.slice(0, 3).map(v => linear(v / 255))
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const behind = each => {
        for (; each; each = each.parentElement) {
            const found = numbers(getComputedStyle(each).backgroundColor);
            if (found.length < 4 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const faint = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const each = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !each.checkVisibility() || each.closest('.hidden, .skip, svg')) continue;
        const style = getComputedStyle(each);
        const [one, other] = [light(numbers(style.color)), light(behind(each))].sort((a, b) => b - a);
        const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
        const contrast = (one + 0.05) / (other + 0.05);
        if (contrast < (large ? 3 : 4.5)) faint.push([contrast, each.outerHTML.slice(0, 100)]);
    }
    return faint;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    executable = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if executable is None:
        pytest.skip("no Chromium on this machine: install the package `chromium`")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives Chromium: pip install .[dev]")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        yield browser
        browser.close()


def report(output: Nights, *options: str) -> str:
    to = str(Path(output.photos).parent / "page.html")
    assert app.main(["report", output.output, "--to", to, *options]) == codes.DONE
    return to


def new_output(folder: Path) -> Nights:
    return Nights(str(folder / "out"), str(folder / "photos"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with all sections, and with file names and labels that look like code."""
    output = new_output(tmp_path_factory.mktemp("full"))
    model = nights.classifier()
    labels = (Label(None, LABEL), *model.labels[1:])
    output.models = (Model(model.recipe, model.engine, labels), nights.embedder())
    nights.fortnight(output, per_night=6)
    images_by_name = nights.pictures(range(1, 40))
    images = {name: images_by_name[f"{seed:05}.jpg"] for name, seed in HOSTILE.items()} | images_by_name
    images |= {f"bad {name}": b"not an image" for name in HOSTILE if len(name) < 180}
    images["again.jpg"] = drawn.encode(drawn.draw(9, 96, 72)[1:, 1:], quality=70)
    output.run(images, hour=1, state="failed", error=f"stopped at {next(iter(HOSTILE))}", unit_size=30)
    output.run(images | nights.pictures(range(50, 70)), hour=3, options={"note": '"><script>document.title=2</script>'})
    return report(output)


def open_page(chromium: Any, path: str, width: int = 1280, scheme: str = "light") -> Any:
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_default_timeout(20_000)
    page.requested, page.errors = [], []
    page.on("request", lambda request: page.requested.append(request.url))
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text))
    page.on("dialog", lambda dialog: page.errors.append(dialog.message))
    page.goto(Path(path).as_uri())
    return page


def unfold(page: Any) -> None:
    page.eval_on_selector_all("details", "all => all.forEach(each => each.open = true)")


def test_it_renders_without_network_requests(chromium: Any, full: str) -> None:
    page = open_page(chromium, full)
    assert page.title() == TITLE
    assert page.inner_text("h1") == "Friday, 20 November 2026"
    assert [url for url in page.requested if not url.startswith("data:")] == [Path(full).as_uri()]
    assert page.errors == []
    assert page.locator(".card").count() == 12
    broken = "all => all.filter(each => !each.complete || !each.naturalWidth).length"
    assert page.eval_on_selector_all("img", broken) == 0
    assert page.locator(".scatter path").count() > 2
    assert page.locator("#days .bars rect").count() == 4 * 14
    page.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_overflows(chromium: Any, full: str, width: int) -> None:
    page = open_page(chromium, full, width)
    for _ in range(2):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(BEYOND) == []
        unfold(page)
    page.close()


def test_names_stay_text(chromium: Any, full: str) -> None:
    page = open_page(chromium, full)
    unfold(page)
    text = page.inner_text("body")
    for name in HOSTILE:
        if name.isprintable() and len(name) < 180:
            assert name in text, name
    assert "exe\\u202egpj.\\u0007.jpg" in text
    assert "\u202e" not in text
    assert LABEL in text
    assert page.locator("script, b, iframe, object, link, form, [onerror], [onfocus], [autofocus]").count() == 0
    assert page.eval_on_selector_all("img", "all => all.every(each => each.src.startsWith('data:image/webp'))")
    assert page.title() == TITLE
    assert page.errors == []
    page.close()


def test_scripts_do_not_run(chromium: Any, full: str, tmp_path: Path) -> None:
    """If a file name became an element, the content security policy of the page would block it."""
    modified = tmp_path / "modified.html"
    code = "<script>document.title='owned'</script><img src='https://localhost:1/x.png'>"
    modified.write_text(Path(full).read_text(encoding="utf-8").replace("<footer>", f"{code}<footer>"), encoding="utf-8")
    page = open_page(chromium, str(modified))
    assert page.title() == TITLE
    assert len(page.errors) == 2
    assert all("Content Security Policy" in message for message in page.errors)
    page.close()


def test_links_have_targets(chromium: Any, full: str) -> None:
    page = open_page(chromium, full)
    links = page.eval_on_selector_all("a", "all => all.map(each => each.getAttribute('href'))")
    assert len(links) > 20
    assert [link for link in links if not link.startswith("#")] == []
    ids = page.eval_on_selector_all("[id]", "all => all.map(each => each.id)")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in links} <= set(ids)
    page.click(".pin >> nth=4")
    assert page.evaluate("location.hash") == "#image-5"
    assert page.evaluate("document.querySelector('#image-5').getBoundingClientRect().top") < 800
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(chromium: Any, full: str, scheme: str) -> None:
    page = open_page(chromium, full, scheme=scheme)
    unfold(page)
    assert page.evaluate(FAINT) == []
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(int(part) for part in ground[4:-1].split(",")) / 3
    assert brightness > 200 if scheme == "light" else brightness < 50
    page.close()


def test_landmarks_and_headings(chromium: Any, full: str) -> None:
    page = open_page(chromium, full)
    assert page.get_attribute("html", "lang") == "en"
    landmarks = ("header", "nav", "main", "footer")
    assert {name: page.locator(name).count() for name in landmarks} == dict.fromkeys(landmarks, 1)
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    page.close()


def test_images_tables_and_sections_have_names(chromium: Any, full: str) -> None:
    page = open_page(chromium, full)
    assert page.locator("img:not([alt])").count() == 0
    assert page.locator("svg:not([aria-hidden]):not([role=img])").count() == 0
    assert page.eval_on_selector_all(
        "svg[role=img]", "all => all.every(each => each.querySelector('title').textContent)"
    )
    headed = "all => all.every(each => [...each.querySelectorAll('th')].every(th => th.scope))"
    assert page.eval_on_selector_all("table", headed)
    assert page.locator("section:not([aria-labelledby]):not([aria-label])").count() == 0
    page.close()


def test_keyboard(chromium: Any, full: str) -> None:
    page = open_page(chromium, full)
    page.keyboard.press("Tab")
    assert page.inner_text(":focus") == "Skip to the report"
    assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    stops = "all => all.filter(each => each.tabIndex >= 0).length"
    assert page.eval_on_selector_all("a, summary, [tabindex='0']", stops) == page.locator("a, summary, .scroll").count()
    page.close()


def no_vectors(output: Nights) -> None:
    output.run(nights.pictures(range(8)), models=[nights.classifier()])


def no_predictions(output: Nights) -> None:
    output.run(nights.pictures(range(8)), models=[nights.embedder()])


def no_new_images(output: Nights) -> None:
    output.run(nights.pictures(range(8)), DAY - timedelta(days=1))
    output.run({})


def one_image(output: Nights) -> None:
    output.run(nights.pictures([1]))


def all_failed(output: Nights) -> None:
    output.run({f"{number}.jpg": b"not an image" for number in range(8)})


def killed_at_once(output: Nights) -> None:
    output.run({}, state="running")


def images_deleted(output: Nights) -> None:
    output.run(nights.pictures(range(8)))
    shutil.rmtree(output.photos)


def constant_vectors(output: Nights) -> None:
    def spoil(vectors: Floats) -> Floats:
        vectors[:] = 1
        return vectors

    output.run(nights.pictures(range(12)), models=[nights.embedder(engine=nights.MosaicEngine(spoil=spoil))])


def recipes(output: Nights) -> None:
    output.run(nights.pictures(range(8)), unit_size=2)
    output.run(nights.pictures(range(8, 12)), hour=3, models=[nights.classifier("other")])


@pytest.mark.parametrize(
    ("run", "texts"),
    [
        (no_vectors, ["No problems found", "No new vectors.", "No vectors to compare."]),
        (no_predictions, ["No new predictions.", "all images"]),
        (
            no_new_images,
            [
                "No new images: 8 listed images skipped.",
                "No new images.",
                "No failures.",
                "Fewer than 2 images to compare.",
            ],
        ),
        (
            one_image,
            [
                "A map needs at least 3 vectors.",
                "1 image succeeded, 0 failed, 0 skipped",
                "Fewer than 2 images to compare.",
            ],
        ),
        (all_failed, ["8 of 8 images failed", "No new predictions.", "decode · NotAnImage"]),
        (killed_at_once, ["is still running or was killed", "0 images, 0 failures"]),
        (images_deleted, ["All images of the sample that were read again are missing or have changed", "8 NotFound"]),
        (
            constant_vectors,
            ["contain one repeated value", "repeat the vector of another", "too similar to detect near-duplicates"],
        ),
        (recipes, ["Not shown above, because another table of this kind has more new files.", "in 2 runs"]),
    ],
)
def test_days_with_missing_data(chromium: Any, tmp_path: Path, run: Any, texts: list[str]) -> None:
    output = new_output(tmp_path)
    run(output)
    page = open_page(chromium, report(output), 360)
    text = page.inner_text("body")
    for expected in texts:
        assert expected in text
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(BEYOND) == []
    assert page.errors == []
    page.close()
