"""`plan(world) -> [Action]`: the whole brain. No clock, no network, no Kopf; integers for money.

It is level-based: what it asks for follows from what is, never from what happened. Whatever depends on money
is asked for only once the money is durable: a pass that reserves does not launch, the next one does.
"""

import traceback
from collections.abc import Mapping
from pathlib import Path

from comptroller.actions import Action, Append, RecordStudy, Refresh
from comptroller.ledger.entries import Close, Entry, Price, Reserve
from comptroller.ledger.names import budget_of
from comptroller.plan import accounts, rest
from comptroller.plan.budgets import record_budgets
from comptroller.plan.ended import ORPHANS_OVERHEAD, Closing
from comptroller.plan.governance import missing_approvals, missing_manifests
from comptroller.plan.identity import identified
from comptroller.plan.membership import missing_memberships
from comptroller.plan.places import missing_places
from comptroller.plan.settle import unposted
from comptroller.plan.shedding import shed
from comptroller.plan.study import StudyPass
from comptroller.pricing import PriceBook
from comptroller.status import is_final, stalled
from comptroller.world import AttemptKey, Run, World
from comptroller_api.study import Study

__all__ = ["plan"]


def plan(world: World) -> list[Action]:
    """What to do now. An empty list means that the namespace is as it should be."""
    world = identified(world)
    declared: list[Entry] = [*accounts.missing_ceilings(world), *missing_manifests(world)]
    declared += [*missing_approvals(world), *missing_memberships(world), *accounts.rollovers(world)]
    if declared:
        return [Append(tuple(declared))]
    prices = world.memory.prices.book(world.prices, world.now, world.feed)
    if places := tuple(missing_places(world, prices)):
        return [Append(places)]  # what ends now is billed by where it ran
    room = {name: account.room for name, account in world.books.accounts.items()}
    for account, amount in unposted(world):
        room[account] = max(0, room[account] - amount)
    lowered, without_room = shed(world), set()
    entries: list[Entry] = []
    actions: list[Action] = []
    runs: dict[str, list[Run]] = {}
    for key in sorted(world.runs):
        runs.setdefault(key[0], []).append(world.runs[key])
    at_rest: dict[str, tuple[object, ...]] = {}
    for study in sorted(world.studies, key=lambda s: (s.metadata.creation_timestamp or "", s.metadata.uid)):
        uid = study.metadata.uid
        still = rest.ended(world, study, runs.get(uid, ()))
        if still is not None and rest.same(world.memory.at_rest.get(uid), still):
            at_rest[uid] = still
            continue
        own, asked, blocked = _pass(world, study, prices, room, lowered)
        if still is not None and not own and not asked:
            at_rest[uid] = still
        # Studies on one node class miss the same price: the first says so. One that would say another (spot
        # beside on-demand) reserves nothing until its own is in the books.
        said = {entry.id: entry for entry in entries}
        clash = any(said.get(entry.id, entry) != entry for entry in own)
        entries += [e for e in own if e.id not in said and not (clash and isinstance(e, Reserve))]
        actions += asked
        without_room |= {name for account in blocked if (name := budget_of(account))}
    world.memory.at_rest = at_rest
    actions += record_budgets(world, without_room)
    closing = _ownerless(world)
    entries += closing.entries
    actions += closing.actions
    if world.doubtful and not any(isinstance(action, Refresh) for action in actions):
        actions.append(Refresh())
    charged = tuple(entry for entry in entries if isinstance(entry, Price))
    if charged and any(isinstance(entry, Close) for entry in entries):
        # What has ended is billed at all prices that are known, so they come first.
        return [Append(charged)]
    return [Append(tuple(entries)), *actions] if entries else actions


def _pass(
    world: World, study: Study, prices: PriceBook, room: dict[str, int], lowered: Mapping[AttemptKey, str]
) -> tuple[list[Entry], list[Action], set[str]]:
    """One study's part: entries, actions, and accounts that had no room for it.

    A mistake of ours in it must not stop the studies beside it: it is told in the study's conditions.
    """
    try:
        one = StudyPass(world, study, prices, room, lowered)
        one.run()
    except Exception as error:  # noqa: BLE001 - it is told
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        message = f"{type(error).__name__}: {error} ({where})"[:512]
        status = stalled(study, "InternalError", message, world.now)
        tell = status != study.status and not is_final(study)
        return [], [RecordStudy(study, status)] if tell else [], set()
    return one.entries, one.actions, one.blocked


def _ownerless(world: World) -> Closing:
    """Attempts and Jobs whose study is gone: they are stopped and their books are closed.

    A study that does not parse is not gone: what runs for it may run to the end of its lease.
    """
    known = {study.metadata.uid for study in world.studies}
    unread = {refused.uid for refused in world.refused if refused.kind == "Study"}
    closing = Closing(world, ORPHANS_OVERHEAD)
    for key in sorted(key for key in world.runs if key[0] not in known):
        if key[0] not in unread or world.runs[key].ended is not None:
            closing.settle(world.runs[key])
    for key in sorted(key for key in world.books.open if key[0] not in known | unread):
        attempt = world.books.open[key]
        closing.abandon(attempt, "its study is gone", None)
        if key not in world.runs:
            closing.missing(attempt)
    return closing
