"""The flow in internal or flat coordinates, which all kinds of targets share."""

from onestep_md.config import SPLINE_BINS, Config
from onestep_md.coordinates.base import Chart
from onestep_md.flow.step import StepFlow


def new_step_flow(config: Config, chart: Chart) -> StepFlow:
    """Make an untrained flow on the line and circle coordinates of a chart."""
    bins = config.flow.bins
    if bins is None:
        bins = SPLINE_BINS if chart.is_multimodal else 0
    layers, width, orders = config.flow.layers, config.flow.width, config.flow.orders
    line, circle = chart.n_linear, chart.n_circular
    lens, sources = chart.angle_decoder, chart.angle_sources
    return StepFlow(line, circle, layers, width, orders, bins, config.seed, lens, sources)
