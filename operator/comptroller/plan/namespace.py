"""A pass over a namespace: what its books lack first, then each study, its budgets, and what nobody owns."""

import traceback
from collections.abc import Mapping
from pathlib import Path

from comptroller.actions import Action, Append, RecordStudy, Refresh
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.entries import Close, Entry, Price, Reserve
from comptroller.ledger.names import AttemptKey
from comptroller.plan import accounts, rest
from comptroller.plan.budgets import record_budgets
from comptroller.plan.ended import ORPHANS_OVERHEAD, Closing
from comptroller.plan.governance import missing_approvals, missing_manifests
from comptroller.plan.identity import identified
from comptroller.plan.membership import missing_memberships
from comptroller.plan.places import missing_places
from comptroller.plan.settle import unposted
from comptroller.plan.shedding import shed
from comptroller.plan.study import StudyPlan, plan_study
from comptroller.pricing import PriceBook
from comptroller.status import is_final, stalled
from comptroller.world import Run, World
from comptroller_api.study import Study

_BROUGHT_WITHIN = 5
"""Seconds in which watches bring a pod that a Job counts."""


def plan(world: World) -> list[Action]:
    """Return what to do now; nothing where the namespace is as it should be."""
    world = identified(world)
    if declared := _declared(world):
        return [Append(declared)]
    prices = world.memory.prices.book(world.prices, world.now, world.feed)
    if places := tuple(missing_places(world, prices)):
        return [Append(places)]  # what ends now is billed by where it ran
    entries, actions, without_room = _studies(world, prices)
    actions += record_budgets(world, without_room)
    closing = _ownerless(world)
    entries += closing.entries
    actions += closing.actions
    if _unsure(world) and not any(isinstance(action, Refresh) for action in actions):
        actions.append(Refresh())
    charged = tuple(entry for entry in entries if isinstance(entry, Price))
    if charged and any(isinstance(entry, Close) for entry in entries):
        # What has ended is billed at all prices that are known, so they come first.
        return [Append(charged)]
    return [Append(tuple(entries)), *actions] if entries else actions


def _unsure(world: World) -> bool:
    """Return whether watches leave out something: what they once brought of it may be old by now."""
    return world.doubtful or (
        not world.fresh and any(_is_partly_seen(run, world.now) for run in world.runs.values())
    )


def _is_partly_seen(run: Run, now: int) -> bool:
    """Return whether a part of a run is not brought by watches, and not just because it is new."""
    incomplete = run.incomplete and run.started is not None and now > run.started + _BROUGHT_WITHIN
    return incomplete or (run.hidden and (run.ended is None or not run.released))


def _declared(world: World) -> tuple[Entry, ...]:
    """Return what people declared and the books do not have yet."""
    return (
        *accounts.missing_ceilings(world),
        *missing_manifests(world),
        *missing_approvals(world),
        *missing_memberships(world),
        *accounts.rollovers(world),
    )


def _room(world: World) -> dict[AccountName, int]:
    """Return the micro-units that each account has left, less what is owed and not posted yet."""
    room = {name: account.room for name, account in world.books.accounts.items()}
    for account, amount in unposted(world):
        room[account] = max(0, room[account] - amount)
    return room


def _studies(world: World, prices: PriceBook) -> tuple[list[Entry], list[Action], set[str]]:
    """Return what the studies ask for, the oldest first, and the budgets without room for one of them."""
    room: Mapping[AccountName, int] = _room(world)
    lowered, without_room = shed(world), set()
    entries: list[Entry] = []
    actions: list[Action] = []
    runs: dict[str, list[Run]] = {}
    for key in sorted(world.runs):
        runs.setdefault(key.study, []).append(world.runs[key])
    at_rest: dict[str, tuple[object, ...]] = {}
    for study in sorted(world.studies, key=lambda s: (s.metadata.creation_timestamp or "", s.metadata.uid)):
        uid = study.metadata.uid
        still = rest.ended(world, study, runs.get(uid, ()))
        if still is not None and rest.same(world.memory.at_rest.get(uid), still):
            at_rest[uid] = still
            continue
        own = _guarded(world, study, prices, room, lowered)
        room = own.room
        if still is not None and not own.entries and not own.actions:
            at_rest[uid] = still
        # Studies on one node class miss the same price: the first adds it. One that would add another (spot
        # next to on-demand) reserves nothing until its own is in the books.
        known = {entry.id: entry for entry in entries}
        clash = any(known.get(entry.id, entry) != entry for entry in own.entries)
        entries += [e for e in own.entries if e.id not in known and not (clash and isinstance(e, Reserve))]
        actions += own.actions
        if own.blocked is not None and (budget := own.blocked.budget):
            without_room.add(budget)
    world.memory.at_rest = at_rest
    return entries, actions, without_room


def _guarded(
    world: World,
    study: Study,
    prices: PriceBook,
    room: Mapping[AccountName, int],
    lowered: Mapping[AttemptKey, AccountName],
) -> StudyPlan:
    """Return one study's part; a mistake of ours in it stops no other study, and is in its conditions."""
    try:
        return plan_study(world, study, prices, room, lowered)
    except Exception as error:  # noqa: BLE001 - whatever it is, the study's condition has it
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        message = f"{type(error).__name__}: {error} ({where})"[:512]
        status = stalled(study, "InternalError", message, world.now)
        changed = status != study.status and not is_final(study)
        return StudyPlan((), (RecordStudy(study, status),) if changed else (), room)


def _ownerless(world: World) -> Closing:
    """Attempts and Jobs whose study is gone: they are stopped and their books are closed.

    A study that does not parse is not gone: what runs for it may run to the end of its lease.
    """
    known = {study.metadata.uid for study in world.studies}
    unread = {refused.uid for refused in world.refused if refused.kind == "Study"}
    closing = Closing(world, ORPHANS_OVERHEAD)
    for key in sorted(key for key in world.runs if key.study not in known):
        if key.study not in unread or world.runs[key].ended is not None:
            closing.settle(world.runs[key])
    for key in sorted(key for key in world.books.open if key.study not in known | unread):
        attempt = world.books.open[key]
        closing.abandon(attempt, "its study is gone", None)
        if key not in world.runs:
            closing.missing(attempt)
    return closing
