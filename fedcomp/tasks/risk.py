"""Financial risk: which loans a lender graded as risky, and which credits went bad, from what applicants say."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedcomp.rng import stream
from fedcomp.tasks.models.mlp import mlp
from fedcomp.tasks.ranking import RankedTask
from fedcomp.tasks.sources.loans import credit_applicants, lending_club_loans
from fedcomp.tasks.tabular import Choice, Column, Number, encode_table

_TEST_SHARE = 0.25

_VERIFIED = ("Not Verified", "Source Verified", "Verified")

# Round numbers, by what a column means: amounts of money as their powers of ten, counts around what a household has,
# rare bad marks counted from zero. None of them is a statistic of the rows.
LOAN_COLUMNS: tuple[Column, ...] = (
    Number("loan_amount", centre=4.0, spread=0.5, log=True),
    Choice("term", (36, 60)),
    Number("annual_income", centre=4.8, spread=0.3, log=True),
    Number("annual_income_joint", centre=4.8, spread=0.3, log=True, optional=True),
    Number("debt_to_income", centre=20, spread=10, optional=True),
    Number("debt_to_income_joint", centre=20, spread=10, optional=True),
    Number("emp_length", centre=5, spread=4, optional=True),
    Number("earliest_credit_line", centre=2000, spread=8),
    Number("delinq_2y", centre=0, spread=1),
    Number("months_since_last_delinq", centre=36, spread=24, optional=True),
    Number("months_since_90d_late", centre=36, spread=24, optional=True),
    Number("months_since_last_credit_inquiry", centre=12, spread=8, optional=True),
    Number("inquiries_last_12m", centre=2, spread=2),
    Number("accounts_opened_24m", centre=4, spread=3),
    Number("total_credit_lines", centre=20, spread=12),
    Number("open_credit_lines", centre=10, spread=6),
    Number("total_credit_limit", centre=5.0, spread=0.5, log=True),
    Number("total_credit_utilized", centre=4.5, spread=0.5, log=True),
    Number("total_debit_limit", centre=4.0, spread=1.0, log=True),
    Number("total_collection_amount_ever", centre=0, spread=2, log=True),
    Number("num_collections_last_12m", centre=0, spread=1),
    Number("num_historical_failed_to_pay", centre=0, spread=1),
    Number("current_accounts_delinq", centre=0, spread=1),
    Number("num_accounts_30d_past_due", centre=0, spread=1),
    Number("current_installment_accounts", centre=2, spread=2),
    Number("num_satisfactory_accounts", centre=10, spread=6),
    Number("num_active_debit_accounts", centre=4, spread=3),
    Number("num_total_cc_accounts", centre=12, spread=8),
    Number("num_open_cc_accounts", centre=8, spread=5),
    Number("num_cc_carrying_balance", centre=5, spread=3),
    Number("num_mort_accounts", centre=1, spread=2),
    Number("account_never_delinq_percent", centre=95, spread=10),
    Number("tax_liens", centre=0, spread=1),
    Number("public_record_bankrupt", centre=0, spread=1),
    Choice("homeownership", ("MORTGAGE", "OWN", "RENT")),
    Choice("verified_income", _VERIFIED),
    Choice("verification_income_joint", _VERIFIED),
    Choice("application_type", ("individual", "joint")),
    Choice(
        "loan_purpose",
        (
            *("car", "credit_card", "debt_consolidation", "home_improvement", "house", "major_purchase", "medical"),
            *("moving", "other", "renewable_energy", "small_business", "vacation"),
        ),
    ),
)
"""What a lender knows before it grades. Left out: what follows from the grade (the rate, the instalment, all that was
paid later), how the loan was sold on, and the state, which says who the client is."""

CREDIT_COLUMNS: tuple[Column, ...] = (
    Number("Seniority", centre=8, spread=8),
    Number("Time", centre=48, spread=12),
    Number("Age", centre=40, spread=12),
    Number("Expenses", centre=50, spread=20),
    Number("Income", centre=2.0, spread=0.3, log=True, optional=True),
    Number("Assets", centre=3.0, spread=1.5, log=True, optional=True),
    Number("Debt", centre=0, spread=2, log=True, optional=True),
    Number("Amount", centre=3.0, spread=0.3, log=True),
    Number("Price", centre=3.0, spread=0.3, log=True),
    Choice("Home", ("ignore", "other", "owner", "parents", "priv", "rent")),
    Choice("Marital", ("divorced", "married", "separated", "single", "widow")),
    Choice("Records", ("no", "yes")),
    Choice("Job", ("fixed", "freelance", "others", "partime")),
)


@cache
def loans(download: bool = False) -> RankedTask:
    """Return the task: is a loan of Lending Club graded C or worse? 7,500 rows for training and 2,500 for the test.

    The grade is the lender's own estimate, not whether people paid: a model learns a rule that is made of these
    columns and of some that are not here. Natural clients are the 50 states that borrowers live in, with 11 to
    1,003 training rows.

    Raises:
        DataError: if the table is nowhere on this machine (and, with ``download``, cannot be fetched either).
    """
    table = lending_club_loans(download)
    return _task("risk-loans", table, LOAN_COLUMNS, ~np.isin(table["grade"], ("A", "B")), table["state"])


@cache
def credit(download: bool = False) -> RankedTask:
    """Return the task: does a credit go bad? 3,340 rows for training and 1,114 for the test.

    Clients are the four kinds of job that applicants have: a made partition, of people who differ.

    Raises:
        DataError: as ``loans``.
    """
    table = credit_applicants(download)
    jobs = np.array([job if isinstance(job, str) else "others" for job in table["Job"]])
    return _task("risk-credit", table, CREDIT_COLUMNS, table["Status"] == "bad", jobs)


def _task(
    name: str, table: dict[str, NDArray[Any]], columns: tuple[Column, ...], risky: NDArray[Any], holders: NDArray[Any]
) -> RankedTask:
    inputs, targets = encode_table(table, columns), risky.astype(np.int64)
    order = stream(0, name, "split").permutation(len(inputs))
    count = round(_TEST_SHARE * len(inputs))
    test, train = np.sort(order[:count]), np.sort(order[count:])
    width = inputs.shape[1]
    return RankedTask(
        name=name,
        num_classes=2,
        training=(inputs[train], targets[train]),
        testing=(inputs[test], targets[test]),
        make_model=lambda: mlp(width, 2),
        make_student=lambda: mlp(width, 2, widths=(128, 128, 64)),
        natural_clients=np.asarray(holders[train], dtype=str),
    )
