"""The exploration of a run that starts from another one: the bridge from its flow.

The particles of the bridge are independent but for relatives, as those of any annealing, and are
near the flow whose weights the run goes on from.
"""

from pathlib import Path

from onestep_md.config import Config
from onestep_md.distributed.pool import Evaluators
from onestep_md.estimators.states import bridge_trouble
from onestep_md.exploration.explored import Exploration
from onestep_md.progress import Display
from onestep_md.sampling.bridge import bridge, pass_file
from onestep_md.sampling.sampler import Sampler
from onestep_md.sampling.target import Target
from onestep_md.targets.gaps import fill_gradients


def explore_from(
    start: Sampler,
    config: Config,
    target: Target,
    evaluators: Evaluators,
    folder: Path,
    display: Display,
) -> Exploration:
    """Anneal from the flow of `start` to the target; an interrupted one goes on in the folder."""
    settings, seed = config.from_run, config.seed
    size = settings.particles, settings.moves, seed
    saved = pass_file(folder, start, target.fingerprint.identity, *size)
    found = bridge(start, evaluators, *size, display.advance, saved)
    u, grad_u = evaluators.evaluate(found.x)
    lowest = float(found.acceptance.min())
    display.say(
        f"bridge from {settings.folder}: {len(found.temperatures)} temperatures, MALA accepted "
        f"{100 * lowest:.0f} % or more, {found.founders:,.0f} founders, log Z = "
        f"{found.log_z.format('')}"
    )
    trouble = bridge_trouble(lowest, found.log_z, found.founders)
    if trouble:
        display.say(
            f"WARNING the bridge from {settings.folder} may have missed a part of the target: "
            f"{trouble}. Take more exploration.particles, or explore without another run."
        )
    saved.unlink(missing_ok=True)
    return Exploration(
        frames=found.x,
        u=u,
        grad_u=fill_gradients(grad_u),
        replica=found.island,
        temperatures=1.0 / found.temperatures,
        exchange_acceptance=found.acceptance,
        evaluations=found.evaluations + len(u),
        restarts=0,
    )
