"""The steps figure: what is written in it hides nothing, whatever the bounds are."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from synthetic_run import write_run_folder

from onestep_md.analysis.figures.evidence import steps_figure
from onestep_md.analysis.records.folder import read_record
from onestep_md.estimators.estimate import Estimate


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_record(write_run_folder(tmp_path_factory.mktemp("run"), n=3000))


def _boxes(run):
    """Written values, legend, axis label and drawn points of the middle panel, in pixels."""
    figure = steps_figure(run)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    ax = figure.axes[1]
    texts = [text.get_window_extent() for text in ax.texts]
    inside = ax.get_window_extent()
    lines = [line.get_xydata() for line in ax.lines if line.get_marker() in "^ov"]
    points = np.concatenate([ax.transData.transform(xy[np.isfinite(xy).all(1)]) for xy in lines])
    outside = [ax.get_legend().get_window_extent(), ax.xaxis.label.get_window_extent()]
    return [text.get_text() for text in ax.texts], texts, outside, points, inside, figure.bbox


@pytest.mark.parametrize(
    ("elbo", "base", "written"),
    [
        ({}, {}, ["ELBO\n−∞"]),
        ({1: -2.79e3, 4: -201.0}, {}, ["ELBO\n−∞", "ELBO\n−2790"]),
        ({1: -1.8e13, 2: -3.6e5}, {}, ["ELBO\n−∞", "ELBO\n−2e13", "ELBO\n−4e5"]),
        (dict.fromkeys((1, 2, 4, 8), np.nan), {}, ["ELBO\n−∞"]),
        ({}, {"eubo": Estimate(24.2, 1.0)}, ["EUBO\n24.2", "ELBO\n−∞"]),
        ({}, {"log_z": Estimate(-70.0, 1.0)}, ["log Z\n−70", "ELBO\n−∞"]),
    ],
)
@pytest.mark.parametrize("known", [np.nan, -32.0])
def test_far_off_bounds_are_written_where_nothing_else_is(run, elbo, base, written, known):
    changed = [
        replace(
            row,
            elbo=Estimate(elbo[row.steps], 1.0) if row.steps in elbo else row.elbo,
            infinite=int(row.infinite or np.isnan(elbo.get(row.steps, 0.0))),
            **(base if row.steps == 0 else {}),
        )
        for row in run.results.evidence
    ]
    fingerprint = {"log_z": None if np.isnan(known) else known}
    update = {"evidence": tuple(changed), "fingerprint": fingerprint}
    changed_run = replace(run, results=run.results.model_copy(update=update))
    words, texts, outside, points, inside, page = _boxes(changed_run)
    assert set(written) <= set(words)
    boxes = [*texts, *outside]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i]), words
        assert not any(box.contains(x, y) for x, y in points), words
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0
    assert not any(inside.overlaps(box) for box in outside)
