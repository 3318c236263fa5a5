"""Does the simulation find anything? `python -m mutants [NAME...]` puts faults into the source and sees who tells.

Each mutant is one plausible slip of a programmer: it drops a token, trusts a listing, forgets a clock. It is put into a
copy of `src`, one at a time, and the swarm's seeds are run on that copy until one reports a broken promise. A mutant
that no seed finds is an error, and so is one whose text is no longer in the source.

Mutants are named after what they do, and stand for the promises (I1 to I12 in `README.md`) and the weaknesses of the
reference (W1 to W80; `docs/architecture.md` says how each is met) that they bring back. Of the weaknesses that block a
daemon, cost money, keep work waiting, kill the wrong thing or spoil the books, these have no mutant:

| weakness | why no simulated pool can show it |
|---|---|
| W7 | No time of the last state change is kept: each move is a line of history with a time of its own. |
| W32 | Traces know no groups; `tests/core/test_demand_properties.py` holds what is taken from a group's maximum. |
| W35 | A group that is not known has no limit, and nothing that is looked up for a task can be missing. |
| W37 | The slots of all instances are told to whoever asks, and nothing is decided by them. |
| W40 | A kind of pool that has no provider is refused when its file is read. |
| W41 | The agent's name is given by the boot script on a real machine; a simulated one has none. |
| W52 | No request is ever made to find out something, so none can stay behind. |
| W55 | The limit on ids in one filter is EC2's, and nothing outside a provider makes such a filter. |
| W59 | What is missing in a cloud's answer is met by the provider that reads it; simulated answers are values. |
| W73 | The address at which agents find their scheduler is settled before there is a pool. |
"""
