"""The judge: every failed test of a molecule or a density reaches the verdict."""

import pytest
from synthetic_density import LOG_Z
from synthetic_run import edit_results, write_run_folder

from onestep_md.analysis.records.folder import read_results
from onestep_md.analysis.report.verdict import judge

NO_ESTIMATE = {"value": "NaN", "error": "NaN", "reason": "why"}
UNKNOWN = NO_ESTIMATE | {"reason": ""}


@pytest.mark.parametrize(
    ("key", "value", "level", "words"),
    [
        ("khat", 0.83, "bad", "k-hat 0.83 is above"),
        ("khat", "NaN", "bad", "could not be computed"),
        ("negative_determinants", 40, "bad", "40 of 10,000 checked samples are folded"),
        ("negative_determinants", 1, "care", "1 of 10,000 checked samples are folded"),
        ("bar", {"value": -30.0, "error": 0.01}, "bad", "DISAGREE"),
        ("ess", 0.01, "bad", "worth 30 independent"),
        ("checked", 0, "care", "not checked for folds"),
    ],
)
def test_each_failed_test_of_a_molecule_reaches_the_verdict(tmp_path, key, value, level, words):
    folder = write_run_folder(tmp_path, n=3000)
    edit_results(folder, lambda r: r["evidence"][1].update({key: value}))
    verdict = judge(read_results(folder))
    assert verdict.level == level
    assert words in " ".join(verdict.sentences)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Held as in the input: 1 stereocentre, 2 trans amides. Sampled: 5 torsions."),
        (
            {"outside": {"0": {"a": 7}, "1": {"an inverted stereocentre": 3}}},
            "3 of 3,000 raw samples (0.1 %) have an inverted stereocentre; they have no weight.",
        ),
        ({"held": [], "sampled": []}, "Held as in the input: nothing."),
        (None, None),  # older runs have none
    ],
)
def test_isomers_and_samples_outside_of_them_reach_the_verdict(tmp_path, changes, words):
    folder = write_run_folder(tmp_path, n=3000)
    if changes is None:
        edit_results(folder, lambda r: r.update(isomers=None))
    else:
        edit_results(folder, lambda r: r["isomers"].update(changes))
    verdict = judge(read_results(folder))
    text = " ".join(verdict.sentences)
    assert ("Held" in text or "inverted" in text) == (words is not None)
    assert words is None or words in text
    assert any("inverted" in line for line in verdict.run_warnings) == ("3 of" in (words or ""))


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"khat": 0.83, "harmless": False}, "bad", "k-hat 0.83 is above"),
        ({"khat": "NaN", "harmless": False}, "bad", "could not be computed"),
        ({"log_det_error": 1e-3}, "bad", "weights and log Z are wrong"),
        ({"negative_determinants": 40}, "bad", "40 of 1,000 checked samples are folded"),
        ({"ess": 0.005}, "bad", "worth 50 independent"),
        ({"checked": 0}, "care", "not checked for folds"),
        ({"eubo": UNKNOWN}, "care", "nothing bounds log Z from above"),
        (
            {"eubo": {"value": "Infinity", "error": "NaN", "reason": "why"}},
            "care",
            "EUBO is infinite: nothing bounds",
        ),
        (
            {"eubo": NO_ESTIMATE},
            "care",
            "EUBO cannot be told: nothing bounds",
        ),
        (
            {
                "log_z": NO_ESTIMATE,
                "ess": 1e-4,
            },
            "bad",
            "There is no estimate of log Z",
        ),
        ({"forward_ess": {"value": 1e-9, "error": 1e-9}}, "bad", "is 1e-07 % instead of"),
        ({}, "good", "the forward ESS use exact samples of the target"),
        ({"infinite": 3, "elbo": UNKNOWN}, "good", "−∞ ≤"),
        ({"eubo": {"value": 2.4, "error": 0.01}}, "bad", "log Z (2.501 ± 0.003) lies above EUBO"),
        ({"elbo": {"value": 2.7, "error": 0.01}}, "bad", "ELBO (2.700 ± 0.010) lies above log Z"),
        ({"log_z": {"value": 2.53, "error": 0.005}}, "bad", "DISAGREES with the known 2.5"),
        ({"bar": {"value": 2.6, "error": 0.01}}, "bad", "BAR DISAGREE"),
    ],
)
def test_each_failed_test_of_a_density_reaches_the_verdict(edited, changes, level, words):
    verdict = judge(edited(lambda r: r["evidence"][1].update(changes)).results)
    assert verdict.level == level
    assert words in " ".join(verdict.sentences)


def test_missed_modes_and_run_warnings(edited):
    verdict = judge(edited(lambda r: r["modes_found"].update({"1": 7})).results)
    assert verdict.level == "bad" and "Only 7 of 9 modes" in verdict.sentences[-2]
    verdict = judge(edited(lambda r: r.update(run_warnings=["a note"])).results)
    assert verdict.level == "care" and verdict.run_warnings == ("a note",)
    warnings = ["K = 1: something"]
    verdict = judge(edited(lambda r: r.update(evidence_warnings=warnings)).results)
    assert verdict.level == "care" and verdict.evidence_warnings == tuple(warnings)
    verdict = judge(edited(lambda r: r.update(evidence_warnings=["K = 4: something"])).results)
    assert verdict.level == "good"


def test_an_exact_flow_is_not_suspected_for_its_rounding(edited):
    def exact(results):
        for row in results["evidence"]:
            noise = {"value": LOG_Z + 4e-16, "error": 1e-17}
            row |= {name: noise for name in ("log_z", "elbo", "bar")}
            row["eubo"] = {"value": LOG_Z, "error": 0.0}
            row["khat"] = -5.0

    assert judge(edited(exact).results).level == "good"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"khat": 0.83, "harmless": False},
        {"khat": "NaN", "harmless": False},
        {"khat": 2.3, "harmless": True, "heaviest": 2e-4},
        {"log_det_error": 1e-3},
        {"negative_determinants": 40, "checked": 1000},
        {"checked": 0},
        {"forward_ess": {"value": 1e-9, "error": 1e-9}, "above": 38, "held_out": 2000},
    ],
)
def test_what_molecules_and_densities_share_is_judged_alike(tmp_path, edited, changes):
    def change(results):
        row = {"n": 3000, "ess": 0.5, "ess_error": 0.01, "khat": 0.3, "forward_ess": UNKNOWN}
        results["evidence"][1].update(row | changes)

    density = judge(edited(change).results)
    folder = write_run_folder(tmp_path / "molecule", n=3000)
    edit_results(folder, change)
    molecule = judge(read_results(folder))
    assert molecule.level == density.level
    assert molecule.sentences[1] == density.sentences[2]  # k-hat, behind the bounds and the ESS
    for word in ("folded", "checked for folds", "determinant in", "not know of it"):
        present = [any(word in text for text in v.sentences) for v in (molecule, density)]
        assert present[0] == present[1], word
