"""Learning curves of one cell as SVG, drawn here: a page of one cell needs no plotting library."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 460, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 30
PANELS = (
    ("Scores", (("macro_f1", "macro-F1, validation"), ("accuracy", "accuracy, validation"),
                ("train_accuracy", "accuracy, training"))),
    ("Log loss", (("log_loss", "validation"), ("train_loss", "training"))),
)  # fmt: skip


@dataclass(frozen=True)
class SvgChart:
    """One small chart."""

    title: str
    svg: Markup
    legend: tuple[str, ...]
    """names of its lines, in the order of their colours"""


def curves(points: list[dict[str, float]], kept: int) -> list[SvgChart]:
    """Scores and losses against epochs; a line marks the epoch that was kept."""
    found = []
    for title, series in PANELS:
        lines = [(label, [(p["epoch"], p[name]) for p in points if p.get(name) is not None]) for name, label in series]
        lines = [(label, line) for label, line in lines if line]
        if lines:
            found.append(
                SvgChart(title, _svg(title, [line for _, line in lines], kept), tuple(name for name, _ in lines))
            )
    return found


def _svg(title: str, lines: list[list[tuple[float, float]]], kept: int) -> Markup:
    xs, ys = ([point[i] for line in lines for point in line] for i in (0, 1))
    first, last = min(xs), max(*xs, min(xs) + 1)
    low, high = min(ys), max(ys)
    room = max(high - low, 1e-3) * 0.06
    low, high = low - room, high + room

    def at(x: float, y: float) -> str:
        across = LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT)
        return f"{across:.1f},{TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = []
    for i in range(5):
        y = low + (high - low) * i / 4
        x_at, y_at = at(first, y).split(",")
        parts.append(f'<path class="grid" d="M{x_at} {y_at}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{float(y_at) + 4:.1f}">{y:.2f}</text>')
    for x in sorted({round(first + (last - first) * i / 6) for i in range(7)}):
        parts.append(f'<text class="mid" x="{at(x, low).split(",")[0]}" y="{HEIGHT - 8}">{x}</text>')
    if first <= kept <= last:
        parts.append(f'<path class="kept" d="M{at(kept, high).replace(",", " ")}V{HEIGHT - BOTTOM}"/>')
    for i, line in enumerate(lines):
        points = " ".join(at(x, y) for x, y in line)
        parts.append(f'<polyline class="line c{i}" points="{points}"/>')
        parts += [
            f'<circle class="dot c{i}" cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.6"/>' for p in points.split()
        ]
    body = "".join(parts)
    return Markup(f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title} against epochs">{body}</svg>')
