"""What axe-core finds wrong with a part of a page, in every theme and at every width."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page

from tests.browser.notebook import Notebook

THEMES = ["light", "dark", "dark high contrast"]
"""Those of JupyterLab."""
WIDTHS = (400, 1600)
MARGIN = 90
"""What JupyterLab shows beside an output."""

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# The body of JupyterLab has no height. axe takes all text that overflows it for hidden, and looks at none.
TALL_BODY = "html, body { height: 100% !important; }"
# In a way that no Content-Security-Policy forbids.
ADD_STYLE = """
    (text) => {
        const sheet = new CSSStyleSheet();
        sheet.replaceSync(text);
        document.adoptedStyleSheets.push(sheet);
        return sheet;
    }
"""
REMOVE_STYLE = """
    (sheet) => {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
    }
"""


def violations(page: Page, selector: str) -> list[str]:
    """Return a line for each element that breaks a rule; fail when there was hardly anything to look at."""
    sheet = page.evaluate_handle(ADD_STYLE, TALL_BODY)
    page.wait_for_function("document.body.clientHeight > 0")
    found = Axe().run(page, context=selector, options={"runOnly": RULES}).response
    page.evaluate(REMOVE_STYLE, sheet)
    looked_at = sum(len(rule["nodes"]) for rule in found["passes"] if rule["id"] == "color-contrast")
    assert looked_at > 5, "axe saw no text"
    return [
        f"{rule['id']}: {node['html'][:200]}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def check_for_everybody(notebook: Notebook, view: Locator, name: str) -> None:
    """Fail on violations in a view, or text that overflows it, in any theme and page; keep pictures.

    Colours are those of the theme at any width, so axe, which takes seconds, looks at each width once.
    """
    size = notebook.page.viewport_size
    assert size is not None
    for theme in THEMES:
        notebook.set_theme(theme)
        picture = f"{name}-{theme.replace(' ', '-')}"
        check_at_each_width(notebook, view, picture, axe=theme == THEMES[0])
        notebook.page.set_viewport_size(size)


def check_at_each_width(notebook: Notebook, view: Locator, picture: str, *, axe: bool = True) -> None:
    """Fail on violations in a view, or text that overflows it, in the page, a narrow and a wide one.

    Args:
        notebook: with the view.
        view: what is looked at.
        picture: begins the names of the pictures that are kept.
        axe: look for violations in the narrow and the wide page, too.
    """
    selector = "." + ".".join(view.evaluate("(view) => [...view.classList]"))
    assert violations(notebook.page, selector) == []
    notebook.screenshot(picture)
    for width in WIDTHS:
        notebook.page.set_viewport_size({"width": width + MARGIN, "height": 1000})
        view.evaluate("(view) => new Promise(requestAnimationFrame)")
        view.scroll_into_view_if_needed()
        assert not axe or violations(notebook.page, selector) == []
        assert not view.evaluate("(view) => view.scrollWidth > view.clientWidth")
        notebook.screenshot(f"{picture}-{width}", of=view)
