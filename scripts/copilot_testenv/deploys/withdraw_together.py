"""Take the services of several deleted slots out of the application by one change of its stack set.

Each change of the stack set takes about a minute on AWS, and there is one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from copilot_testenv.copilot import application
from copilot_testenv.core.errors import Held, Interrupted, UserError
from copilot_testenv.state import bucket

if TYPE_CHECKING:
    from copilot_testenv.deploys.delete_slot import Receipt
    from copilot_testenv.session import Session, Target


def withdraw_together(session: Session, target: Target, receipts: Sequence[Receipt]) -> None:
    """Withdraw the services whose receipts await it, and write it into the receipts.

    All slots' leases are held meanwhile: a branch that was deployed again in between keeps its service. What
    fails is written into the receipts. The registry knows a service until it is withdrawn, so a later run
    goes on. Raises Interrupted.
    """
    with ExitStack() as leases:
        ready: list[Receipt] = []
        for receipt in receipts:
            own = replace(session, settings=receipt.snapshot.settings)
            lease = bucket.lease(own, target, f"deleting {receipt.snapshot}")
            try:
                leases.enter_context(lease.held(wait=False, say=session.report.say))
                if target.aws.stack(own.settings.stack_name):
                    raise Held("it was deployed again meanwhile")
                application.require_ours(own.settings, target.aws)
                ready.append(receipt)
            except Interrupted:
                raise
            except UserError as error:
                _note(receipt, error)
        if ready:
            _withdraw(session, target, ready)
    for receipt in ready:
        own = replace(session, settings=receipt.snapshot.settings)
        if not receipt.still_named and bucket.discard_lease(own, target):
            receipt.lease_is_gone()


def _withdraw(session: Session, target: Target, ready: Sequence[Receipt]) -> None:
    slots = [receipt.snapshot.settings for receipt in ready]
    lease = bucket.application_lease(session, target, f"taking {len(slots)} services out")
    try:
        with lease.held(wait=True, say=session.report.say):
            gone = application.withdraw_several(slots, target.aws, lambda: time.sleep(1))
    except Interrupted:
        raise
    except UserError as error:
        for receipt in ready:
            _note(receipt, error)
        return
    registry = bucket.registry(session, target)
    for receipt in ready:
        receipt.awaits_withdrawal = False
        receipt.note(gone[receipt.snapshot.settings.service])
        registry.forget(receipt.snapshot.settings.service)
    session.report.say(f"Gone from the application: {', '.join(gone)}.")


def _note(receipt: Receipt, error: UserError) -> None:
    receipt.awaits_withdrawal = False
    service = receipt.snapshot.settings.service
    receipt.left.append(f"service {service}: {str(error).rstrip('.')}")
