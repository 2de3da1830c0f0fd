"""The benchmark of training steps: what it counts, and that its table has every K."""

from pathlib import Path

import torch

from onestep_md.benchmark import learner
from onestep_md.benchmark.learner import count_work, measure_learner
from onestep_md.training import train

SYSTEMS = Path(__file__).parents[2] / "systems"


def test_products_and_calls_are_counted_forwards_and_backwards():
    a, b = torch.ones(3, 5, requires_grad=True), torch.ones(5, 7)

    def work():
        (a @ b).sum().backward()

    products, calls = count_work(work)
    assert products == 3 * 5 * 7 * 2  # and the gradient in a
    assert calls >= 4


def test_what_a_second_thread_computes_is_counted():
    network, x = torch.nn.Linear(5, 7, bias=False), torch.ones(3, 5)

    def work():
        train.start_gradients(network(x).sum(), network).result()

    assert count_work(work)[0] == 3 * 5 * 7 * 2


def test_each_k_has_a_row(monkeypatch):
    monkeypatch.setattr(learner, "_ROUNDS", 1)
    monkeypatch.setattr(learner, "_CALLS", 1)
    lines = measure_learner([SYSTEMS / "gmm9.yaml"])
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| gmm9")]
    assert [row[2].strip() for row in rows] == ["1", "2", "4", "8"]
    measured, floor = ([float(row[k].replace(",", "")) for row in rows] for k in (3, 4))
    assert all(0 < own < most for own, most in zip(measured, floor, strict=True))
    calls = [int(row[5].replace(",", "")) for row in rows]
    assert calls == sorted(calls)
