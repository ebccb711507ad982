"""`plan(world) -> [Action]`: the whole brain. No clock, no network, no Kopf; integers for money.

It is level-based: what it requests follows from what is, never from what happened. Actions that depend on
money are requested only once the money is durable: a pass that reserves does not launch, the next one does.
"""

from comptroller.plan.namespace import plan

__all__ = ["plan"]
