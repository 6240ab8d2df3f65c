"""Leases: a way to tell for certain whether a version is in use."""

from __future__ import annotations

import weakref

from servman.manager.handle import Entry


def lease(entry: Entry) -> Entry:
    """Return what a handle is to hold in the place of *entry*, and what pins *entry* in turn.

    As long as the lease lives it is among `entry.leases`; when it dies the interpreter itself takes it out, by
    a C function, as it gives the drain signal. So a version is in use where that set is not empty. The
    number of references says the same, but is for people: what other frames hold for a moment counts
    in it, too.

    Threads: any, and without a lock: a lookup may come in the middle of another one, in a signal handler
    or a finaliser.
    """
    one = Entry(entry.id, entry.servable, entry)
    one.sites = entry.sites
    entry.leases.add(weakref.ref(one, entry.leases.discard))
    return one
