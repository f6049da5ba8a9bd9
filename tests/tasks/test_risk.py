import numpy as np
import pytest
import torch

from fedcomp.tasks import risk
from fedcomp.tasks.risk import CREDIT_COLUMNS, LOAN_COLUMNS
from fedcomp.tasks.tabular import Number

STATES = ["CA", "TX", "NY", "VT"]
LEAKS = {
    *("interest_rate", "sub_grade", "grade", "installment", "loan_status", "issue_month", "balance", "paid_total"),
    *("paid_principal", "paid_interest", "paid_late_fees", "emp_title", "initial_listing_status"),
    *("disbursement_method", "state"),
}


def made_up(columns, **more):
    """A table of 40 rows in which every column has values that it can read."""
    rows = np.arange(40)
    table = {
        column.name: rows % 5 if isinstance(column, Number) else np.array(column.words)[rows % len(column.words)]
        for column in columns
    }
    return table | {name: np.array(values, dtype=object)[rows % len(values)] for name, values in more.items()}


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    for make in (risk.loans, risk.credit):
        make.cache_clear()
    loans = made_up(LOAN_COLUMNS, grade=list("ABCDG"), state=STATES)
    monkeypatch.setattr(risk, "lending_club_loans", lambda _download: loans)
    credits = made_up(CREDIT_COLUMNS, Status=["good", "bad"]) | {"Job": np.array([None, "fixed"] * 20, dtype=object)}
    monkeypatch.setattr(risk, "credit_applicants", lambda _download: credits)
    yield
    for make in (risk.loans, risk.credit):
        make.cache_clear()


def test_loans_are_risky_from_grade_c_on_and_clients_are_states():
    task = risk.loans()
    assert (len(task.train()), len(task.test())) == (30, 10)
    assert task.train().targets.sum() + task.test().targets.sum() == 24
    assert len(np.unique(task.groups())) == len(STATES)


def test_credits_are_bad_or_good_and_who_names_no_job_is_among_others():
    task = risk.credit()
    assert task.train().targets.sum() + task.test().targets.sum() == 20
    assert len(np.unique(task.groups())) == 2


def test_no_column_tells_the_grade_or_the_client():
    assert not LEAKS & {column.name for column in LOAN_COLUMNS}


@pytest.mark.parametrize("make", [risk.loans, risk.credit])
def test_models_rank_two_classes_and_students_are_small(make):
    task = make()
    rows, targets = torch.from_numpy(task.test().inputs), torch.from_numpy(task.test().targets)
    large, small = task.model(0), task.student(0)
    assert large(rows).shape == small(rows).shape == (len(rows), 2)
    assert task.auc(large(rows), targets) == 0.5  # nothing is learnt yet, and all rows tie
    sizes = [sum(p.numel() for p in module.parameters()) for module in (large, small)]
    assert sizes[1] < 0.1 * sizes[0]
