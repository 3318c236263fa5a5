"""What runs inside the Dask scheduler, where slotsmith is not installed.

The source text of these modules is sent to the scheduler and made a package of its own there (`shipping` and `boot`).
So they import the standard library, `dask`, `distributed` and each other, and nothing else of ours; and they keep to
the syntax of the oldest Python that `distributed` runs on. A change in any of them is a new version, which replaces
the old one in a running scheduler.
"""
