"""After edits of budgets and labels, spent money still counts, and no edit of a label leaves a budget."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Adjust, Ceiling, Close, Membership, Post, Reserve
from comptroller.plan.accounts import missing_ceilings, purses, rollovers
from comptroller.plan.budgets import record_budgets
from comptroller.plan.membership import covering, missing_memberships
from comptroller.plan.periods import mistakes, period
from comptroller.plan.shedding import shed
from comptroller.plan.verdict import declared
from comptroller.pricing import Unpriced
from comptroller.world import Refused, World
from comptroller_api.budget import Budget
from comptroller_api.study import Resources, Study

DAY = 86_400


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def budget(name="b", amount="500", **spec):
    spec = {"amount": amount, "currency": "USD", **spec}
    return Budget.model_validate({"metadata": {"name": name}, "spec": spec})


def study(uid="s", **labels):
    spec = {
        "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
        "space": {"parameters": [{"name": "recipe.lr", "type": "Float", "min": "0.1", "max": "1"}]},
        "objectives": [{"metric": "accuracy"}],
        "ceilings": {"spend": {"amount": "100000", "currency": "USD"}},
        "search": {"engine": "Random", "trials": 1, "rungs": {"epochs": [1]}},
        "runtime": {"nodeClass": "small"},
        "artifacts": {"uri": "s3://bucket/artifacts"},
    }
    return Study.model_validate({"metadata": {"name": uid, "uid": uid, "labels": labels}, "spec": spec})


def credit(amount, until):
    return {"amount": amount, "until": until}


@dataclass
class Desk:
    """One namespace's books, kept by the real rules; money in whole units."""

    now: int = at("2026-12-03T12:00:00")
    budgets: tuple[Budget, ...] = ()
    studies: tuple[Study, ...] = (study(),)
    books: Books = field(default_factory=Books)
    trials: int = 0
    open: list[tuple[Reserve, int, int]] = field(default_factory=list)
    """The running leases, with their start and end."""

    @property
    def world(self):
        return World(
            now=self.now, namespace="n", books=self.books, studies=self.studies, budgets=self.budgets
        )

    def declare(self, *budgets):
        self.budgets = budgets or self.budgets
        for _ in range(9):
            world = self.world
            entries = [*missing_ceilings(world), *missing_memberships(world), *rollovers(world)]
            for entry in entries:
                assert self.books.apply(entry) is None, entry
            assert all(account.over == 0 for account in self.books.accounts.values())
            if not entries:
                return
        raise AssertionError("the books do not come to rest")

    def hold(self, amount, seconds=600, *, of=0):
        """Reserve a lease as the plan would; return None if there is no room."""
        micro, one = amount * 10**6, self.studies[of]
        accounts = []
        for options in purses(self.world, one):
            fits = [
                p
                for p in options
                if self.books.accounts[p.account].room >= micro
                and (p.ends is None or self.now + seconds <= p.ends)
            ]
            if not fits:
                return None
            accounts.append(fits[0].account)
        lease = Reserve(
            study=one.metadata.uid, trial=self.trials, attempt=0, lease=0, name=f"t{self.trials}", rung=0,
            node_class="small", capacity="OnDemand", resources=Resources(), accounts=tuple(accounts),
            amount=micro, seconds=seconds,
        )  # fmt: skip
        assert self.books.apply(lease) is None
        self.trials += 1
        self.open.append((lease, self.now, self.now + seconds))
        return lease

    def settle(self, share=100):
        """End the oldest running lease now, or at its own end, at a cost of `share` percent of its hold."""
        lease, started, ends = self.open.pop(0)
        place = {"study": lease.study, "trial": lease.trial, "attempt": 0}
        post = Post(**place, lease=0, amount=lease.amount * share // 100)
        ended = min(self.now, ends)
        for entry in (
            post,
            Close(**place, end="Finished", seconds=ended - started, started=started, ended=ended),
        ):
            assert self.books.apply(entry) is None

    def spend(self, amount, **how):
        """Spend an amount at once, if there is room; return whether there was."""
        done = self.hold(amount, **how) is not None
        if done:
            self.now += 60
            self.settle()
            self.declare()
        return done

    def room(self, of=0):
        """Return the room of the tightest ceiling over a study, over all of its accounts together."""
        rooms = [
            sum(self.books.accounts[purse.account].room for purse in options)
            for options in purses(self.world, self.studies[of])
        ]
        return min(rooms) // 10**6

    def status(self):
        ((_, status),) = ((r.budget, r.status) for r in record_budgets(self.world, ()))
        return status, {c.type: c for c in status.conditions}


def desk(*budgets, **changes):
    made = Desk(**changes)
    made.declare(*budgets)
    return made


# -- membership ----------------------------------------------------------------------------------------------

TEAM = {"matchLabels": {"team": "x"}}


@pytest.mark.parametrize("labels", [{}, {"team": "y"}, {"team-": "x"}])
def test_a_study_does_not_leave_the_budget_of_its_first_lease_by_its_labels(labels):
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    assert d.spend(400)
    d.studies = (study(**labels),)
    d.declare()
    assert d.room() == 100
    assert not d.spend(101)


def test_a_study_does_not_leave_a_budget_whose_selector_is_edited():
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    d.spend(400)
    d.declare(budget(selector={"matchLabels": {"team": "y"}}))
    assert d.room() == 100


def test_labels_decide_until_the_first_lease():
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    d.studies = (study(),)
    d.declare()
    assert d.room() == 100_000
    d.spend(1)
    assert [b.metadata.name for b in covering(d.world, d.studies[0])] == []


def test_a_budget_that_covers_a_study_later_covers_it_in_addition_and_for_good():
    d = desk(budget(), budget("late", "50", selector=TEAM))
    d.spend(100)
    d.studies = (study(team="x"),)
    d.declare()
    assert Membership(study="s", budget="late").budget in d.books.covered["s"]
    d.studies = (study(),)
    d.declare()
    assert d.room() == 50  # though the budget never paid a lease


def test_a_study_that_is_applied_again_is_another_study():
    d = desk(budget(selector=TEAM), studies=(study(team="x"),))
    d.spend(400)
    d.studies = (study("again"),)
    d.declare()
    assert covering(d.world, d.studies[0]) == []


def test_a_budget_that_is_deleted_and_made_again_keeps_what_it_spent():
    d = desk(budget(period="Monthly"))
    d.spend(400)
    d.budgets = ()
    d.declare()
    assert d.room() > 500
    for kind in ("Monthly", "Weekly", "Daily", "Total"):
        d.declare(budget(period=kind))
        assert d.room() == 100


def test_membership_is_in_the_books_and_once():
    books = Books()
    entry = Membership(study="s", budget="b")
    assert books.apply(entry) is None
    assert books.refusal([entry]) == (entry, "budget b covers study s already")


# -- required ------------------------------------------------------------------------------------------------


def test_a_required_budget_holds_studies_that_none_covers_and_names_the_labels():
    unpriced = Unpriced("NoPrice", "no price")
    d = desk(budget(selector=TEAM, required=True), budget("other", selector={"matchLabels": {"a": "b"}}))
    verdict = declared(d.world, d.studies[0], unpriced, covering(d.world, d.studies[0]))
    assert (verdict.state, verdict.reason) == ("Held", "BudgetRequired")
    assert "team=x (Budget b)" in verdict.message
    assert "a=b (Budget other)" in verdict.message
    for labels in ({"team": "x"}, {"a": "b"}):
        d.studies = (study(**labels),)
        held = declared(d.world, d.studies[0], unpriced, covering(d.world, d.studies[0]))
        assert held.reason == "NoPrice"


# -- credits -------------------------------------------------------------------------------------------------

DECEMBER, JUNE, LATER = "2026-12-31", "2027-06-30", "2028-01-01"
SPENT = [credit("1000", DECEMBER)]


@pytest.mark.parametrize(
    ("after", "room"),
    [
        ([credit("1000", JUNE)], 100),  # moved on
        ([credit("1000", "2026-12-20")], 100),  # moved back
        ([credit("1500", JUNE)], 600),  # moved on and raised
        ([credit("600", JUNE), credit("400", DECEMBER)], 100),  # split, and one part keeps its day
        ([credit("600", JUNE), credit("400", LATER)], 100),  # split
        ([credit("1500", DECEMBER)], 600),  # raised
        ([credit("800", DECEMBER)], 0),  # lowered
        ([], 0),  # gone
    ],
)
def test_no_edit_of_a_credit_gives_back_what_was_spent(after, room):
    d = desk(budget(amount="0", credits=SPENT))
    assert d.spend(900)
    d.declare(budget(amount="0", credits=after))
    assert d.room() == room
    d.declare(budget(amount="0", credits=SPENT))
    assert d.room() == 100  # back to what it was


def test_credits_that_are_merged_have_spent_what_their_parts_had():
    d = desk(budget(amount="0", credits=[credit("1000", DECEMBER), credit("500", JUNE)]))
    d.spend(900)
    d.spend(300)
    d.declare(budget(amount="0", credits=[credit("1500", LATER)]))
    assert d.room() == 300


def test_a_credit_that_has_ended_and_is_prolonged_has_spent_what_it_had():
    d = desk(budget(amount="0", credits=SPENT))
    d.spend(900)
    d.now = at("2027-02-01T00:00:00")
    d.declare()
    assert d.room() == 0
    d.declare(budget(amount="0", credits=[credit("1000", JUNE)]))
    assert d.room() == 100


def test_another_credit_is_money_on_top_if_the_earlier_one_stays_listed():
    d = desk(budget(amount="0", credits=SPENT))
    d.spend(900)
    d.declare(budget(amount="0", credits=[*SPENT, credit("1000", JUNE)]))
    assert d.room() == 1100


def test_a_credit_that_is_taken_away_costs_the_others_nothing():
    d = desk(budget(amount="0", credits=[credit("1000", DECEMBER), credit("500", JUNE)]))
    d.spend(900)
    d.declare(budget(amount="0", credits=[credit("500", JUNE)]))
    assert d.room() == 500


def test_what_a_credit_gets_back_does_not_hide_what_another_owes():
    first, second, third = "2027-06-28", "2027-06-29", "2027-06-30"
    d = desk(budget(amount="0", credits=[credit("50", first), credit("80", second)]))
    d.spend(20)
    d.spend(80)
    d.declare(budget(amount="0", credits=[credit("80", first), credit("50", third)]))
    assert d.room() == 30
    d.declare(budget(amount="0", credits=[credit("50", second), credit("50", third)]))
    assert d.room() == 0


def test_what_is_held_counts_until_it_is_settled():
    d = desk(budget(amount="0", credits=SPENT))
    d.hold(900)
    d.declare(budget(amount="0", credits=[credit("1000", JUNE)]))
    assert d.room() == 100
    d.settle(share=50)
    d.declare()
    assert d.room() == 550


# -- periods -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", ["Daily", "Weekly", "Total"])
def test_what_was_spent_in_the_days_of_the_new_period_counts(after):
    d = desk(budget(period="Monthly"), now=at("2026-12-31T10:00:00"))
    assert d.spend(500)
    d.declare(budget(period=after))
    assert d.room() == 0
    assert d.status()[0].spent == "500.00"
    d.declare(budget(period="Monthly"))
    assert d.room() == 0


def test_what_was_spent_before_the_new_period_does_not_count():
    d = desk(budget(period="Monthly"), now=at("2026-12-03T12:00:00"))
    d.spend(300)
    d.now += 14 * DAY
    d.declare(budget(period="Weekly"))
    assert d.room() == 500
    d.spend(150)
    d.declare(budget(period="Monthly"))
    assert d.room() == 50


def test_an_attempt_that_runs_across_the_begin_of_the_new_period_counts_in_it():
    d = desk(budget(period="Total"), now=at("2026-12-02T23:55:00"))
    d.hold(200, seconds=600)
    d.now += 300
    d.declare(budget(period="Daily"))
    assert d.room() == 300
    d.now += 300
    d.settle()
    d.declare()
    assert d.room() == 300


def test_what_attempts_hold_counts_and_what_they_give_back_comes_back():
    d = desk(budget(period="Monthly"))
    d.hold(400)
    d.declare(budget(period="Weekly"))
    assert (d.room(), d.status()[0].held) == (100, "400.00")
    d.now += 60
    d.settle(share=25)
    d.declare()
    assert (d.room(), d.status()[0].spent, d.status()[0].held) == (400, "100.00", "0.00")


def test_what_is_found_after_the_books_were_closed_counts_too():
    d = desk(budget(period="Monthly"))
    d.spend(300)
    d.declare(budget(period="Weekly"))
    late = Adjust(study="s", trial=0, attempt=0, number=0, amount=50_000_000, seconds=30)
    assert d.books.apply(late) is None
    d.declare()
    assert d.room() == 150


def test_a_period_with_less_money_stops_what_the_one_before_pays():
    d = desk(budget(period="Monthly"))
    first, second = d.hold(200), d.hold(200)
    d.declare(budget(period="Daily"))
    assert shed(d.world) == {}
    d.declare(budget("b", "300", period="Daily"))
    assert shed(d.world) == {second.key: "budget/b/2026-12-03"}
    d.declare(budget("b", "100", period="Daily"))
    assert set(shed(d.world)) == {first.key, second.key}


def test_a_time_zone_that_moves_the_boundary_frees_only_what_was_spent_before_it():
    d = desk(budget(period="Daily"), now=at("2026-12-03T10:00:00"))
    d.spend(200)
    d.now = at("2026-12-03T20:00:00")
    d.spend(250)
    d.declare(budget(period="Daily", timeZone="Asia/Tokyo"))  # where the day began at 15:00 UTC
    assert d.room() == 250
    d.spend(150)
    d.declare(budget(period="Daily"))
    assert d.room() == 0


def test_a_period_that_was_replaced_before_its_end_leaves_nothing():
    d = desk(budget(period="Daily", rollover="Unspent"))
    d.declare(budget(period="Monthly", rollover="Unspent"))
    d.spend(500)
    d.now += DAY
    d.declare(budget(period="Daily", rollover="Unspent"))
    assert d.room() == 500
    d.now += DAY
    d.declare()
    assert d.room() == 1000  # the day before was complete


def test_a_turn_of_the_period_declares_it_once():
    d = desk(budget(period="Monthly"))
    d.spend(300)
    d.now = at("2027-01-01T00:00:00")
    (entry,) = missing_ceilings(d.world)
    assert isinstance(entry, Ceiling)
    assert (entry.account, entry.carried, entry.pending) == ("budget/b/2027-01", 0, 0)


def test_accounts_of_journals_from_before_are_declared_with_their_days():
    d = Desk(budgets=(budget(period="Monthly"),))
    old = [
        Ceiling(account="study/s", revision=0, amount=10**11, currency="USD"),
        Ceiling(account="budget/b/2026-12", revision=0, amount=500_000_000, currency="USD"),
        Ceiling(account="budget/b/credit/2026-12-31", revision=0, amount=0, currency="USD"),
    ]
    for entry in old:
        d.books.apply(entry)
    d.spend(300)
    d.declare(budget(period="Weekly"))
    assert d.room() == 200


def test_a_budget_in_another_currency_is_not_compared_with_what_it_was():
    d = desk(budget(period="Monthly"))
    d.spend(500)
    d.declare(budget(period="Weekly", currency="EUR"))
    verdict = declared(d.world, d.studies[0], Unpriced("NoPrice", ""), covering(d.world, d.studies[0]))
    assert verdict.reason == "CurrencyMismatch"


# -- thresholds ----------------------------------------------------------------------------------------------


def threshold(d):
    return d.status()[1]["ThresholdReached"].reason


def test_thresholds_are_of_all_that_the_period_offers():
    d = desk(budget(amount="100", thresholds=[50, 100], credits=[credit("100", JUNE)]))
    d.spend(99)
    assert threshold(d) == "Below"
    d.spend(1)
    assert threshold(d) == "At50Percent"
    d.spend(100)
    assert threshold(d) == "At100Percent"


def test_what_credits_paid_in_periods_before_is_not_of_this_one():
    d = desk(budget(amount="1", thresholds=[10, 100], credits=[credit("1000", JUNE)]))
    d.spend(900)
    d.now += 31 * DAY
    d.declare()
    status, conditions = d.status()
    assert (status.spent, status.ceiling) == ("0.00", "101.00")
    assert conditions["ThresholdReached"].reason == "Below"
    d.spend(60)
    assert threshold(d) == "At10Percent"


@pytest.mark.parametrize("credits_", [[], [credit("5", JUNE)]])
def test_a_budget_of_zero_has_reached_no_threshold(credits_):
    d = desk(budget(amount="0", thresholds=[1, 100], credits=credits_))
    assert threshold(d) == "Below"


def test_a_rollover_is_offered():
    d = desk(budget(amount="100", period="Daily", rollover="Unspent", thresholds=[60, 100]))
    d.now += DAY
    d.declare()
    d.spend(100)
    assert threshold(d) == "Below"
    assert d.status()[0].ceiling == "200.00"


# -- time zones ----------------------------------------------------------------------------------------------


ZONES = [
    "Europe",
    "../x",
    "/etc/localtime",
    "europe/berlin",
    "",
    "posix/UTC",
    "localtime",
    "Etc/",
    "zone.tab",
]


@pytest.mark.parametrize("zone", ZONES)
def test_an_unknown_time_zone_is_reported_on_its_budget_and_stops_no_study_of_others(zone):
    d = desk(
        budget(timeZone=zone, selector=TEAM, rollover="Unspent", credits=SPENT), budget("fine"),
        studies=(study(), study("held", team="x")),
    )  # fmt: skip
    assert "must be an IANA time zone" in mistakes(d.budgets[0])[0]
    first, second = (
        declared(d.world, s, Unpriced("NoPrice", ""), covering(d.world, s)).reason for s in d.studies
    )
    assert (first, second) == ("NoPrice", "BudgetRefused")
    by_name = {r.budget.metadata.name: r.status.conditions[0].status for r in record_budgets(d.world, ())}
    assert by_name == {"b": "False", "fine": "True"}
    assert not any(account.startswith("budget/b/") for account in d.books.accounts)


DAYS = ["0001-01-01", "9999-12-31", "20301231", "2030-W01-1", "2030-02-31", "", "soon"]


@pytest.mark.parametrize("day", DAYS)
def test_a_credit_until_no_usable_day_stops_nothing(day):
    d = desk(budget(credits=[credit("1", day)], timeZone="Asia/Tokyo", selector=TEAM), budget("fine"))
    assert d.room() == 500


def test_a_budget_that_cannot_be_read_holds_those_that_it_may_cover():
    unpriced = Unpriced("NoPrice", "")
    d = desk(studies=(study(team="x"),))

    def reason(selector):
        world = replace(
            d.world, refused=(Refused("Budget", "broken", "u", "spec.period", selector=selector),)
        )
        return declared(world, d.studies[0], unpriced, covering(world, d.studies[0])).reason

    assert [reason(s) for s in (None, {}, {"team": "x"}, {"team": "y"})] == [
        "BudgetRefused", "BudgetRefused", "BudgetRefused", "NoPrice",
    ]  # fmt: skip
    d.books.apply(Membership(study="s", budget="broken"))
    assert reason({"team": "y"}) == "BudgetRefused"


# -- everything together -----------------------------------------------------------------------------------

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
