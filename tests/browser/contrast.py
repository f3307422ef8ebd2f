"""Contrast as a browser renders it, by WCAG 2.2: text 4.5 to 1 (1.4.3), what graphics say 3 to 1 (1.4.11)."""

from tests.browser.conftest import Browser

# Of a colour or its pseudo-element against the nearest ancestor that has a background.
_SCRIPT = """
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const lightness = colour => {
  const [r, g, b] = numbers(colour).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor, [, , , alpha] = numbers(colour);
    if (alpha === undefined || alpha > 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
const ratio = (one, other) => {
  const [low, high] = [lightness(one), lightness(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
};
const [selector, property, pseudo] = arguments;
return [...document.querySelectorAll(selector)].map(e =>
  [(e.textContent.trim().slice(0, 30) || e.getAttribute("class")) + " " + getComputedStyle(e, pseudo)[property],
   ratio(getComputedStyle(e, pseudo)[property], ground(e))]);
"""
_TEXTS = (
    ".tasker-status, .tasker-explanation, .tasker-figure, .tasker-said, .tasker-button, .tasker-facts dt, "
    "#content a, .help, .tasker-effect, .tasker-field label"
)
_FILLED = (
    ".tasker-timeline .run, .tasker-timeline .mark, .tasker-timeline .hatch, .tasker-legend .run, "
    ".tasker-chart rect.completed, .tasker-chart rect.failure, .tasker-chart .stripe, .tasker-chart text"
)
_DOTS = ".tasker-completed, .tasker-failed, .tasker-failure, .tasker-retry, .tasker-cancelled, .tasker-paused"
_RINGS = ".tasker-queuing, .tasker-new, .tasker-inprogress, .tasker-running"


def too_faint(browser: Browser) -> list[str]:
    """What on this page has too little contrast, with its ratio."""
    return [
        *_below(browser, 4.5, _TEXTS, "color"),
        *_below(browser, 3, _FILLED, "fill"),
        *_below(browser, 3, ".tasker-timeline .backoff", "stroke"),
        *_below(browser, 3, _DOTS, "backgroundColor", "::before"),
        *_below(browser, 3, _RINGS, "borderTopColor", "::before"),
    ]


def _below(browser: Browser, least: float, selector: str, style: str, pseudo: str | None = None) -> list[str]:
    found = browser.driver.execute_script(_SCRIPT, selector, style, pseudo)
    return sorted({f"{what}: {ratio:.2f}" for what, ratio in found if ratio < least})
