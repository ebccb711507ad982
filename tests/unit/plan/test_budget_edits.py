"""Over any history of edits of budgets and labels, spent money still counts."""

from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.plan.periods import period
from support.desk import DAY, TEAM, budget, credit, desk, study

days = st.sampled_from(["2026-12-05", "2026-12-10", "2027-01-02", "2027-06-30"])
specs = st.fixed_dictionaries(
    {
        "amount": st.sampled_from(["0", "50", "100", "200"]),
        "period": st.sampled_from(["Daily", "Weekly", "Monthly", "Total"]),
        "timeZone": st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]),
        "rollover": st.sampled_from(["Never", "Never", "Unspent"]),
        "selector": st.sampled_from([{}, TEAM]),
        "credits": st.lists(st.builds(credit, st.sampled_from(["30", "80"]), days), max_size=3),
    }
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("edit"), specs),
        st.tuples(st.just("label"), st.sampled_from([{}, {"team": "x"}])),
        st.tuples(st.just("wait"), st.sampled_from([600, 7200, 40_000, DAY, 6 * DAY])),
        st.tuples(st.just("hold"), st.sampled_from([10, 40, 90])),
        st.tuples(st.just("settle"), st.sampled_from([0, 50, 100])),
    ),
    max_size=30,
)


@settings(max_examples=300, deadline=None)
@given(specs, steps)
def test_each_lease_fits_what_is_declared_for_its_days_whatever_was_edited_before(first, history):
    """Check that leases of a period are within its amount, and those of all credits within their largest sum.

    At the moment of each lease: the leases of the budget that ran within the declared period, whichever
    account paid them, and this lease, are at most the amount plus what was rolled over. And the payments of
    all credits are at most the largest sum that was declared for them at once.
    """
    d = desk(budget(**first), studies=(study(team="x"),))
    leases, declared, spans = [], 0, {}
    for kind, value in history:
        declared = max(declared, sum(int(c.amount) for c in d.budgets[0].spec.credits))
        match kind:
            case "edit":
                d.declare(budget(**value))
            case "label":
                d.studies = (study(**value),)
                d.declare()
            case "wait":
                d.now += value
                d.declare()
            case "settle" if d.open:
                ended = d.open[0]
                d.settle(share=value)
                spans[ended[0].id] = (ended[1], min(d.now, ended[2]))
                d.declare()
            case "hold" if (lease := d.hold(value)) is not None:
                leases.append(lease)
                assert len(leases) == 1 or len(lease.accounts) >= len(leases[0].accounts)
                _within_its_period(d, leases, spans)
    cost = sum(a.spent + a.held for name, a in d.books.accounts.items() if "/credit/" in name)
    assert cost <= max(declared, sum(int(c.amount) for c in d.budgets[0].spec.credits)) * 10**6


later = st.sampled_from(["2027-06-28", "2027-06-29", "2027-06-30"])
lists = st.lists(st.builds(credit, st.sampled_from(["50", "80"]), later), min_size=1, max_size=2)
edits_of_credits = st.lists(
    lists | st.sampled_from([600, 7 * DAY]) | st.sampled_from([(40, 50), (40, 100), (20, 100)]),
    max_size=20,
)


@settings(max_examples=300, deadline=None)
@given(lists, edits_of_credits)
def test_credits_pay_at_most_the_largest_sum_that_was_declared_at_once(first, history):
    d = desk(budget(amount="0", credits=first))
    most = sum(int(c["amount"]) for c in first)
    for step in history:
        match step:
            case list():
                d.declare(budget(amount="0", credits=step))
                most = max(most, sum(int(c["amount"]) for c in step))
            case int():
                d.now += step
                d.declare()
            case (amount, share) if d.hold(amount) is not None:
                d.settle(share)
                d.declare()
    paid = sum(a.spent + a.held for name, a in d.books.accounts.items() if "/credit/" in name)
    assert paid <= most * 10**6


def _within_its_period(d, leases, spans):
    one, now = d.budgets[0], period(d.budgets[0], d.now)
    paid = [a for a in leases[-1].accounts if a == f"budget/b/{now.label}"]
    if not paid:
        return  # a credit pays, or no budget covers it
    cost = 0
    for lease in leases:
        attempt = d.books.attempts(lease.study, lease.trial)[0]
        start, end = spans.get(lease.id) or next((s, e) for o, s, e in d.open if o is lease)
        in_it = (now.starts is None or end > now.starts) and (now.ends is None or start < now.ends)
        if in_it and any(a.startswith("budget/b/") and "/credit/" not in a for a in lease.accounts):
            cost += attempt.spent + attempt.held
    assert cost <= int(one.spec.amount) * 10**6 + d.books.accounts[paid[0]].moved
