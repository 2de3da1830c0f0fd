"""The OpenMM context of one worker: batches of reduced energies, and short Langevin segments.

u(x) = U(x) / kT and grad_u(x) = dU/dx / kT at the molecule's temperature, whatever temperature
a segment is run at. OpenMM has no batch evaluation, so a batch is a loop over conformations of
one context; the loop costs a few microseconds per conformation beside the energy itself. There is
one per process.
"""

from dataclasses import dataclass

import numpy as np
import openmm
from openmm import unit

from onestep_md.errors import TargetError
from onestep_md.targets import gaps
from onestep_md.targets.molecule import Molecule

HYDROGEN_MASS = 3.0  # Da; slows the fastest vibrations so that 2 fs steps are stable
PER_FS = 0.001  # ps


@dataclass(frozen=True)
class Segment:
    """A stretch of Langevin dynamics, with everything that determines it.

    Args:
        positions: (atoms, 3) in nm.
        velocities: (atoms, 3) in nm/ps, or None to draw them from Maxwell's distribution.
        temperature: of the thermostat, in K.
        steps: number of time steps.
        timestep: in fs.
        friction: in 1/ps.
        frame_every: steps between recorded frames; the first frame is after that many steps.
        seed: of the thermostat's noise and of drawn velocities.
        target: number of the molecule among several, see `distributed.several`.
    """

    positions: np.ndarray
    velocities: np.ndarray | None
    temperature: float
    steps: int
    timestep: float
    friction: float
    frame_every: int
    seed: int
    target: int = 0


@dataclass(frozen=True)
class SegmentResult:
    """The end and the frames of a segment, with energies at the target temperature.

    Attributes:
        positions: (atoms, 3) at the end, in nm.
        velocities: (atoms, 3) at the end, in nm/ps.
        u_end: reduced energy at the end, in kT of the target temperature.
        frames: (n, atoms, 3) in nm.
        u: (n,) of the frames, in kT of the target temperature.
        grad_u: (n, atoms, 3) of the frames, in kT/nm of the target temperature.
        force_evaluations: evaluations spent: one per step, one per frame, one at the end if
            the last step is no frame. Of a failed segment, an upper bound.
        ok: whether all values are finite. If not, positions and velocities are those of the start
            (zero velocities if they were to be drawn), u_end is +inf and there are no frames.
    """

    positions: np.ndarray
    velocities: np.ndarray
    u_end: float
    frames: np.ndarray
    u: np.ndarray
    grad_u: np.ndarray
    force_evaluations: int
    ok: bool


class PotentialEvaluator:
    """Reduced energies, gradients and dynamics of one molecule on one OpenMM platform.

    Args:
        molecule: as loaded by `load_molecule`.
        platform: OpenMM's name: Reference, CPU, CUDA, OpenCL or HIP.
        threads: threads of the CPU platform; the others ignore it.
    """

    def __init__(self, molecule: Molecule, platform: str, threads: int = 1):
        self.platform = platform
        self._atoms = len(molecule.elements)
        self._kT = molecule.kT
        system = openmm.XmlSerializer.deserialize(molecule.system_xml)
        repartition_hydrogen_masses(system, molecule)
        self._constrained = system.getNumConstraints() > 0
        self._integrator = openmm.LangevinMiddleIntegrator(molecule.temperature, 1.0, PER_FS)
        self._context = _context(system, self._integrator, platform, threads)

    def evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Compute reduced energies and their gradients.

        Args:
            x: (batch, atoms, 3) in nm; any float type, any values.

        Returns:
            u (batch,) in kT and grad_u (batch, atoms, 3) in kT/nm, float64. Where the energy
            is not a finite number, u is +inf and the gradient 0; where a force alone is not, the
            gradient is NaN.
        """
        x = np.ascontiguousarray(x, dtype=np.float64)
        if x.ndim != 3 or x.shape[1:] != (self._atoms, 3):
            raise ValueError(f"x has shape {x.shape}, expected (batch, {self._atoms}, 3)")
        energy = np.full(len(x), np.nan)
        force = np.zeros_like(x)
        # OpenMM raises on a NaN coordinate
        for i in np.flatnonzero(np.isfinite(x).all(axis=(1, 2))):
            try:
                self._context.setPositions(x[i])
                energy[i] = _read_energy_and_forces(self._state(), force[i])
            except openmm.OpenMMException:
                continue  # energy[i] stays NaN
        return gaps.mark(energy / self._kT, force / -self._kT)

    def run_segment(self, segment: Segment) -> SegmentResult:
        """Run Langevin dynamics (BAOAB-type "middle" scheme), a pure function of the segment.

        It repeats bit for bit on Reference and on CPU with one thread. Reference keeps its noise
        in the process, so two threads of a process must not run segments at the same time.
        """
        try:
            self._start(segment)
        except openmm.OpenMMException:
            return _failed(segment, 0)
        return self._advance(segment)

    def _start(self, segment: Segment) -> None:
        seed = openmm_seed(segment.seed)
        self._integrator.setTemperature(segment.temperature)
        self._integrator.setFriction(segment.friction)
        self._integrator.setStepSize(segment.timestep * PER_FS)
        self._integrator.setRandomNumberSeed(seed)
        # the seed takes effect when the context is made anew: 0.1 ms, as much as 3 steps
        self._context.reinitialize()
        self._context.setPositions(np.ascontiguousarray(segment.positions, dtype=np.float64))
        if self._constrained:
            self._context.applyConstraints(1e-8)
        if segment.velocities is None:
            self._context.setVelocitiesToTemperature(segment.temperature, seed)
        else:
            velocities = np.ascontiguousarray(segment.velocities, dtype=np.float64)
            self._context.setVelocities(velocities)

    def _advance(self, segment: Segment) -> SegmentResult:
        n, rest = divmod(segment.steps, segment.frame_every)
        frames, force = np.zeros((2, n, self._atoms, 3))
        energy, spent = np.zeros(n), 0
        try:
            for i in range(n):
                spent += segment.frame_every + 1
                self._integrator.step(segment.frame_every)
                # one call for positions, energy and forces: one evaluation per frame
                state = self._state(positions=True, velocities=True)
                energy[i] = _read_energy_and_forces(state, force[i])
                state._getVectorAsNumpy(openmm.State.Positions, frames[i])
                if not (np.isfinite(energy[i]) and np.isfinite(force[i]).all()):
                    return _failed(segment, spent)
            if rest or n == 0:
                spent += rest + 1
                self._integrator.step(rest)
                state = self._state(positions=True, velocities=True)
        except openmm.OpenMMException:
            return _failed(segment, spent)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        velocities = state.getVelocities(asNumpy=True).value_in_unit(
            unit.nanometer / unit.picosecond
        )
        last = _read_energy_and_forces(state, np.empty((self._atoms, 3)))
        if not (np.isfinite(last) and np.isfinite(positions).all()):
            return _failed(segment, spent)
        return SegmentResult(
            positions=positions,
            velocities=velocities,
            u_end=last / self._kT,
            frames=frames,
            u=energy / self._kT,
            grad_u=force / -self._kT,
            force_evaluations=spent,
            ok=True,
        )

    def _state(self, positions: bool = False, velocities: bool = False) -> openmm.State:
        return self._context.getState(
            energy=True, forces=True, positions=positions, velocities=velocities
        )


def repartition_hydrogen_masses(system: openmm.System, molecule: Molecule) -> None:
    """Raise every hydrogen to 3 Da at the expense of its heavy atom, in place.

    The distribution of positions does not depend on masses, only the stability of the time
    step does. Hydrogens that are at least as heavy already stay as they are.
    """
    for i, j in molecule.bonds:
        for hydrogen, heavy in ((i, j), (j, i)):
            if molecule.elements[hydrogen] == "H" and molecule.elements[heavy] != "H":
                mass = system.getParticleMass(hydrogen).value_in_unit(unit.dalton)
                moved = max(0.0, HYDROGEN_MASS - mass)
                rest = system.getParticleMass(heavy).value_in_unit(unit.dalton) - moved
                system.setParticleMass(hydrogen, mass + moved)
                system.setParticleMass(heavy, rest)


def openmm_seed(seed: int) -> int:
    """Bring a seed into OpenMM's range, 1 to 2^31 - 1; 0 would mean "seed from the clock"."""
    return 1 + seed % (2**31 - 2)


def platform_properties(platform: str, threads: int = 1) -> dict[str, str]:
    """What a context on a platform of OpenMM is made with."""
    properties = {
        "CPU": {"Threads": str(threads)},
        "CUDA": {"Precision": "mixed"},
        "OpenCL": {"Precision": "mixed"},
        "HIP": {"Precision": "mixed"},
    }
    return properties.get(platform, {})


def _context(
    system: openmm.System, integrator: openmm.Integrator, platform: str, threads: int
) -> openmm.Context:
    try:
        chosen = openmm.Platform.getPlatformByName(platform)
        return openmm.Context(system, integrator, chosen, platform_properties(platform, threads))
    except openmm.OpenMMException as error:
        count = openmm.Platform.getNumPlatforms()
        names = [openmm.Platform.getPlatform(i).getName() for i in range(count)]
        raise TargetError(
            f"OpenMM platform {platform} cannot be used: {error}\n"
            f"Set cluster.platform to one of {', '.join(names)} or to auto."
        ) from error


def _read_energy_and_forces(state: openmm.State, force: np.ndarray) -> float:
    """Read the energy in kJ/mol, and write forces in kJ/mol/nm into `force` (atoms, 3)."""
    # straight into our array: the public getForces(asNumpy=True) spends a quarter of the whole
    # evaluation of a small molecule on attaching units
    state._getVectorAsNumpy(openmm.State.Forces, force)
    return state.getPotentialEnergy()._value


def _failed(segment: Segment, spent: int) -> SegmentResult:
    shape = (0, *np.shape(segment.positions))
    velocities = segment.velocities
    if velocities is None:
        velocities = np.zeros(shape[1:])
    return SegmentResult(
        positions=np.array(segment.positions, dtype=np.float64),
        velocities=np.array(velocities, dtype=np.float64),
        u_end=np.inf,
        frames=np.zeros(shape),
        u=np.zeros(0),
        grad_u=np.zeros(shape),
        force_evaluations=spent,
        ok=False,
    )
