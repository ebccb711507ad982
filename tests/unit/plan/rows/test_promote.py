"""The best trials of a finished rung are promoted, the worst are pruned, and the others wait."""

from unit.plan.scene import FIRST, GOOD, Past, halving, one, running, scene, searching
from unit.plan.table import Row, table


def lease(trial, rung=1):
    return f"reserve/u1/{trial}/1/0 rung {rung}: 60 s, {FIRST:_} on study/u1"


def contest(*accuracies, trials=None, parallel=2, eta=3, **search):
    """A study with a baseline that is done, and trials from 1 on with these results of their first rung."""
    count = len(accuracies) + 1 if trials is None else trials
    terms = searching(trials=count, parallel=parallel, rungs=halving(1, 3, eta=eta), **search)
    made = scene(one(search=terms)).trial(0, Past(), Past(rung=1), rungs=[GOOD, GOOD], outcome="Succeeded")
    for number, accuracy in enumerate(accuracies, 1):
        made.trial(
            number,
            *([Past()] if accuracy is not None else []),
            rungs=[{"accuracy": accuracy}] if accuracy else [],
        )
    return made


@table(
    Row("the best of three continues", contest(0.1, 0.3, 0.2), does=[lease(2)]),
    Row(
        "the others of three are pruned",
        contest(0.1, 0.3, 0.2),
        trials={
            1: "Ended Pruned: rung 0: place 3 of 3; it can no longer come into the best 1/3",
            3: "Ended Pruned: rung 0: place 2 of 3; it can no longer come into the best 1/3",
        },
    ),
    Row("of equal results the lower number continues", contest(0.2, 0.2, 0.2), does=[lease(1)]),
    Row("two of six go on", contest(0.1, 0.6, 0.2, 0.5, 0.3, 0.4), does=[lease(2), lease(4)]),
    Row(
        "as many go on at once as there are slots",
        contest(0.1, 0.6, 0.2, 0.5, 0.3, 0.4, parallel=1),
        does=[lease(2)],
    ),
    Row(
        "with eta 2 the better half continues", contest(0.4, 0.1, 0.2, 0.3, eta=2), does=[lease(1), lease(4)]
    ),
    Row(
        "too few results are compared with none while more may come",
        contest(0.1, 0.2, trials=9),
        does=["create u1/3: Search", "create u1/4: Search"],
        trials={1: "Pending", 2: "Pending"},
    ),
    Row("too few results all go on where no more come", contest(0.1, 0.2), does=[lease(1), lease(2)]),
    Row(
        "a result that may still come into the best third waits",
        contest(0.3, 0.2, 0.1, trials=7),
        trials={2: "Pending"},
    ),
    Row(
        "the lower half of six is pruned though more may come",
        contest(0.1, 0.6, 0.2, 0.5, 0.3, 0.4, trials=19),
        trials={
            1: "Ended Pruned: rung 0: place 6 of 6; the best 2 go on, and it is in the lower half",
            6: "Pending",
        },
    ),
    Row(
        "a promoted trial is leased before a new one is created",
        contest(0.3, 0.2, 0.1, trials=7),
        does=[lease(1), "create u1/4: Search"],
    ),
    Row(
        "a promoted trial waits for a slot",
        contest(0.3, 0.2, 0.1, parallel=1, trials=5).trial(4, running()),
        does=[],
    ),
    Row(
        "a waiting trials slot is given to another",
        contest(0.1, 0.2, trials=9, parallel=1),
        does=["create u1/3: Search"],
    ),
)
def test_the_best_go_on(row):
    row.check()


@table(
    Row(
        "the baseline continues outside the contest",
        scene(one(search=searching(trials=4, rungs=halving(1, 3)))).trial(
            0, Past(), rungs=[{"accuracy": 0.01}]
        ),
        does=["reserve/u1/0/1/0 rung 1: 60 s, 75_000 on study/u1", "create u1/1: Search"],
    ),
    Row(
        "the baseline takes nobodys place",
        scene(one(search=searching(trials=4, parallel=3, rungs=halving(1, 3))))
        .trial(0, Past(), rungs=[GOOD])
        .trial(1, Past(), rungs=[{"accuracy": 0.3}])
        .trial(2, Past(), rungs=[{"accuracy": 0.2}])
        .trial(3, Past(), rungs=[{"accuracy": 0.1}]),
        does=["reserve/u1/0/1/0 rung 1: 60 s, 75_000 on study/u1", lease(1)],
    ),
    Row(
        "a trial that has a result of the last rung has succeeded",
        contest(0.3, 0.2, 0.1, trials=5).trial(4, Past(), Past(rung=1), rungs=[GOOD, GOOD]),
        trials={4: "Ended Succeeded"},
    ),
    Row(
        "a pruned trial stays pruned",
        scene(one(search=searching(trials=3, parallel=3, rungs=halving(1, 3))))
        .trial(0, Past(), Past(rung=1), rungs=[GOOD, GOOD], outcome="Succeeded")
        .trial(1, Past(), rungs=[{"accuracy": 0.9}], outcome="Pruned", reason="place 2")
        .trial(2, running()),
        does=[],
    ),
    Row(
        "an objective that is minimised is better when it is less",
        scene(one(search=searching(trials=4, rungs=halving(1, 3)), objectives=[{"metric": "loss"}]))
        .trial(0, Past(), Past(rung=1), rungs=[{"loss": 1.0}, {"loss": 1.0}], outcome="Succeeded")
        .trial(1, Past(), rungs=[{"loss": 3.0}])
        .trial(2, Past(), rungs=[{"loss": 1.0}])
        .trial(3, Past(), rungs=[{"loss": 2.0}]),
        does=[lease(2)],
    ),
)
def test_a_rung_is_done(row):
    row.check()
