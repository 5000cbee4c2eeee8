"""The figures of a report: pure functions from arrays to SVG text."""

from collections.abc import Mapping, Sequence

import numpy as np

from weightatlas.report import svg
from weightatlas.report.data import Curves, Generated, LatentMap, Scatter, SizeCurve
from weightatlas.report.projection import pca, thin, tsne

_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">")
_FEWEST_BITS = 0.25  # Fewer (a network that is the same for all) are drawn at the edge.
_LOWEST = -1.0  # Excess agreement below this is drawn at the edge: all of it means "no use".


def accuracy_distributions(groups: Mapping[str, np.ndarray], label: str = "test accuracy") -> str:
    """Draw one row per group: a histogram, and a mark at the median.

    Args:
        groups: Name -> accuracies, shape `(networks,)`; drawn from top to bottom.
        label: Name of the horizontal axis.
    """
    with svg.style():
        figure, (axes,) = svg.panels(1, height=0.6 + 0.72 * len(groups))
        joined = np.concatenate([_finite(values) for values in groups.values()])
        edges = np.linspace(joined.min() - 1e-3, joined.max() + 1e-3, 41)
        for row, values in enumerate(map(_finite, groups.values())):
            base, color = -row, svg.SERIES[row % len(svg.SERIES)]
            heights = np.histogram(values, edges)[0] / max(np.histogram(values, edges)[0].max(), 1) * 0.78
            axes.stairs(heights + base, edges, baseline=base, fill=True, color=color, alpha=0.55)
            axes.stairs(heights + base, edges, baseline=base, color=color, linewidth=1.1)
            if len(values):
                middle = float(np.median(values))
                axes.plot([middle, middle], [base, base + 0.84], color=svg.INK, linewidth=1.6)
                axes.text(middle, base + 0.85, f"{middle:.3f}", ha="center", va="bottom", fontsize=9)
        counts = [len(_finite(values)) for values in groups.values()]
        names = [f"{name}\n{count:,} networks" for name, count in zip(groups, counts, strict=True)]
        axes.set_yticks([0.35 - row for row in range(len(groups))], names)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel=label, ylim=(-len(groups) + 0.9, 1.12))
        return svg.to_svg(figure, f"Distributions of {label}: {', '.join(groups)}")


def predicted_versus_true(scatters: Sequence[Scatter]) -> str:
    """Draw one panel per property; our method in color, baselines as faint rings.

    Args:
        scatters: Predictions; those with the same label share a panel.
    """
    labels = list(dict.fromkeys(scatter.label for scatter in scatters))
    with svg.style():
        figure, panels = svg.panels(len(labels), height=3.7 if len(labels) > 1 else 4.2)
        for axes, label in zip(panels, labels, strict=True):
            chosen = [scatter for scatter in scatters if scatter.label == label]
            chosen.sort(key=lambda scatter: scatter.kind == "ours")
            both = np.concatenate([_finite(np.stack([s.true, s.predicted])) for s in chosen])
            low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
            axes.plot([low, high], [low, high], color=svg.INK, linewidth=0.9, dashes=(4, 3))
            ours = 0
            for scatter in chosen:
                keep = thin(len(scatter.true))
                style: dict = {"s": 14, "facecolor": "none", "edgecolor": svg.FAINT, "linewidth": 0.8}
                if scatter.kind == "ours":
                    style = {"s": 16, "color": svg.SERIES[ours], "alpha": 0.75, "linewidth": 0}
                    ours += 1
                name = f"{scatter.method}, R² = {_r2(scatter):.2f}"
                axes.scatter(scatter.true[keep], scatter.predicted[keep], label=name, **style)
            axes.set(title=label, xlabel="true", ylabel="predicted from weights")
            axes.legend(loc="upper left", handletextpad=0.2, borderpad=0.1)
            axes.set_ylim(low - 0.03 * (high - low), high + 0.25 * (high - low))
        return svg.to_svg(figure, f"Predicted against true {', '.join(labels)}")


def latent_map(data: LatentMap) -> str:
    """Draw the embeddings by PCA and by t-SNE, colored by a property.

    Args:
        data: Embeddings and values; generated networks are drawn as rings.
    """
    from matplotlib.colors import LinearSegmentedColormap

    keep = thin(len(data.embeddings))
    others = data.generated if data.generated is not None else data.embeddings[:0]
    points = np.concatenate([data.embeddings[keep], others])
    values = data.values[keep]
    views = {"PCA": pca(points), "t-SNE": tsne(points)}
    shown = {name: view for name, view in views.items() if view is not None}
    colors = LinearSegmentedColormap.from_list("atlas", ["#5b3fd4", "#c2449b", "#f08a4b", "#f2c53d"])
    with svg.style():
        figure, panels = svg.panels(len(shown), height=3.9)
        mark = None
        for axes, (name, view) in zip(panels, shown.items(), strict=True):
            old, new = view[: len(keep)], view[len(keep) :]
            mark = axes.scatter(*old.T, c=values, cmap=colors, s=16, linewidth=0)
            if len(new):
                axes.scatter(
                    *new.T, s=34, facecolor="none", edgecolor=svg.INK, linewidth=1.1, label="generated"
                )
                axes.legend(loc="best", handletextpad=0.1)
            axes.set_title(name)
            axes.set(xticks=[], yticks=[])
            axes.spines[["top", "right"]].set_visible(True)
        if mark is not None:
            bar = figure.colorbar(mark, ax=panels, shrink=0.85, pad=0.02)
            bar.set_label(data.label)
            bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
        return svg.to_svg(figure, f"Map of {len(keep)} embeddings colored by {data.label}")


def training_curves(curves: Sequence[Curves]) -> str:
    """Draw one panel per group of lines.

    Args:
        curves: What to draw.
    """
    with svg.style():
        figure, panels = svg.panels(len(curves), height=3.2)
        for axes, group in zip(panels, curves, strict=True):
            for place, (name, values) in enumerate(group.lines.items()):
                good = np.isfinite(values)
                color = svg.SERIES[place % len(svg.SERIES)]
                axes.plot(group.x[good], values[good], color=color, label=name, linewidth=1.5)
            axes.set(title=group.title, xlabel=group.x_label)
            if group.log:
                axes.set_yscale("log")
            if len(group.lines) > 1:
                axes.legend(ncols=1 + len(group.lines) // 6)
        return svg.to_svg(figure, f"Training curves: {', '.join(group.title for group in curves)}")


def agreement_histogram(groups: Mapping[str, np.ndarray], a0: float | None = None) -> str:
    """Draw how many networks agree how much with their originals.

    Args:
        groups: Name ("rebuilt", "refined") -> agreement per network, 0 to 1.
        a0: Mean agreement of the best stranger; below it nothing was rebuilt.
    """
    with svg.style():
        figure, (axes,) = svg.panels(1, height=3.2)
        joined = np.concatenate([_finite(values) for values in groups.values()])
        low = min(float(joined.min()), a0 if a0 is not None else 1.0)
        edges = np.linspace(np.floor(low * 20) / 20, 1.0, 41)
        for place, (name, values) in enumerate(groups.items()):
            color = svg.SERIES[place % len(svg.SERIES)]
            mean = float(_finite(values).mean())
            axes.hist(_finite(values), edges, color=color, alpha=0.5, label=f"{name}, mean {mean:.3f}")
        if a0 is not None:
            axes.axvline(a0, color=svg.INK, linewidth=1.4, dashes=(4, 3), label=f"best stranger, {a0:.3f}")
        axes.set(xlabel="share of test inputs with the same prediction as the original", ylabel="networks")
        axes.legend(loc="upper left")
        return svg.to_svg(figure, f"Agreement with the original: {', '.join(groups)}")


def size_curve(curves: Sequence[SizeCurve]) -> str:
    """Draw excess agreement against bits per parameter, our methods in color.

    Args:
        curves: One line per method.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    with svg.style():
        figure, (axes,) = svg.panels(1, height=4.2)
        axes.axhline(0, color=svg.INK, linewidth=1.0, dashes=(4, 3))
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(-2, 6)]))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda bits, _: f"{bits:g}"))
        ranked = sorted(curves, key=lambda curve: curve.kind != "ours")
        ours = sum(curve.kind == "ours" for curve in curves)
        for place, curve in enumerate(ranked):
            order = np.argsort(curve.bits)
            x = np.maximum(curve.bits[order], _FEWEST_BITS)
            y = np.maximum(curve.excess[order], _LOWEST)
            style: dict = {
                "color": svg.SERIES[place % len(svg.SERIES)],
                "marker": "o",
                "markersize": 6,
                "zorder": 3,
            }
            if curve.kind != "ours":
                marker = _MARKERS[(place - ours) % len(_MARKERS)]
                style = {"color": svg.FAINT, "marker": marker, "markersize": 5, "linewidth": 1.1}
            axes.plot(x, y, label=curve.method, **style)
        axes.set(xlabel="bits per parameter", ylabel="excess agreement", ylim=(_LOWEST - 0.06, 1.06))
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return svg.to_svg(figure, "Excess agreement against bits per parameter")


def generated_networks(groups: Sequence[Generated]) -> str:
    """Draw accuracy against the distance to the nearest training network.

    Args:
        groups: New networks by method; good and new ones stand at the upper right.
    """
    with svg.style():
        figure, (axes,) = svg.panels(1, height=3.9)
        ranked = sorted(groups, key=lambda group: group.kind != "ours")
        ours = sum(group.kind == "ours" for group in groups)
        for place, group in enumerate(ranked):
            keep, marker = thin(len(group.accuracy)), "o"
            style: dict = {
                "color": svg.SERIES[place % len(svg.SERIES)],
                "alpha": 0.8,
                "linewidth": 0,
                "zorder": 3,
            }
            if group.kind != "ours":
                marker = _MARKERS[(place - ours) % len(_MARKERS)]
                style = {"facecolor": "none", "edgecolor": svg.FAINT, "linewidth": 1.0}
            axes.scatter(
                group.distance[keep], group.accuracy[keep], label=group.method, marker=marker, s=24, **style
            )
        axes.set(xlabel="distance to the nearest training network", ylabel="test accuracy")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handletextpad=0.2)
        return svg.to_svg(figure, "Accuracy and novelty of generated networks")


def _finite(values: np.ndarray) -> np.ndarray:
    """Keep the numbers that can be drawn."""
    values = np.asarray(values).reshape(-1)
    return values[np.isfinite(values)]


def _r2(scatter: Scatter) -> float:
    """Share of the variance that is explained."""
    good = np.isfinite(scatter.true) & np.isfinite(scatter.predicted)
    true, predicted = scatter.true[good].astype(np.float64), scatter.predicted[good]
    spread = float(((true - true.mean()) ** 2).sum()) if len(true) else 0.0
    return 1 - float(((true - predicted) ** 2).sum()) / spread if spread else float("nan")
