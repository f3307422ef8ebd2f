"""Draws the figures of a run as SVG: readable on light and dark pages, the same bytes for the same figures."""

import re
import statistics
from pathlib import Path

import pygal
from pygal.style import Style

from benchmarks.goals import Figures

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "images"
GREY = "#8b949e"  # has contrast on white and on black
STYLE = Style(
    background="transparent",
    plot_background="transparent",
    foreground=GREY,
    foreground_strong=GREY,
    foreground_subtle="#8b949e66",
    guide_stroke_color="#8b949e55",
    major_guide_stroke_color="#8b949e55",
    opacity="1",
    colors=("#3b82f6", "#f59e0b", "#22a06b", "#e5534b"),
    font_family="system-ui, sans-serif",
    label_font_size=14,
    legend_font_size=14,
    title_font_size=18,
    major_label_font_size=14,
)
OPTIONS = {
    "style": STYLE,
    "js": (),  # a picture: nothing to load or to run
    "width": 760,
    "height": 380,
    "legend_at_bottom": True,
    "value_formatter": lambda value: f"{value:,.0f}",
    "disable_xml_declaration": True,
}
Curves = dict[str, dict[float, float]]


def curves(figures: Figures, pattern: str) -> Curves:
    """Medians by curve and x. `pattern` has the groups `x` and `curve`."""
    found: Curves = {}
    for name, values in figures.items():
        if match := re.fullmatch(pattern, name):
            x = float(match["x"].replace(",", ""))
            found.setdefault(match["curve"], {})[x] = statistics.median(values)
    return found


def draw(figures: Figures) -> list[Path]:
    """Writes what the figures suffice for; returns the files."""
    by_batch = curves(figures, r"batches of (?P<x>\d+): (?P<curve>.*), jobs/s")
    by_size = curves(figures, r"(?P<x>[\d,]+) finished jobs: (?P<curve>.*), jobs/s")
    by_processes = curves(figures, r"by processes (?P<x>\d+): (?P<curve>.*), jobs/s")
    by_percentile = curves(figures, r"(?P<curve>latency.*|record delay.*, seen) by percentile (?P<x>\d+)")
    charts = {
        "batch-size": (pygal.Bar(title="Jobs per second by batch size", **OPTIONS), by_batch),
        "table-size": (pygal.Bar(title="Jobs per second by finished jobs in the table", **OPTIONS), by_size),
        "processes": (pygal.Bar(title="Jobs per second by processes", **OPTIONS), by_processes),
        "latency": (pygal.Line(title="Milliseconds by percentile", logarithmic=True, **OPTIONS), by_percentile),
    }
    charts["latency"][0].y_labels = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    FOLDER.mkdir(exist_ok=True)
    return [_write(name, _filled(chart, of)) for name, (chart, of) in charts.items() if of]


def _filled(chart: "pygal.Graph", of: Curves) -> "pygal.Graph":
    xs = sorted({x for points in of.values() for x in points})
    chart.x_labels = [f"{x:,.0f}" for x in xs]
    for curve, points in of.items():
        chart.add(curve, [points.get(x) for x in xs])
    return chart


def _write(name: str, chart: "pygal.Graph") -> Path:
    chart.uuid = f"bench-{name}"  # drawn at random otherwise
    path = FOLDER / f"bench-{name}.svg"
    drawn = re.sub("<!--.*?-->", "", chart.render(is_unicode=True))  # one of them is the date
    path.write_text(drawn + "\n")
    return path
