"""Slips in what is chosen where there are several offerings, and in limits beside the number of instances."""

from typing import Final

from mutants.mutant import Mutant

OFFERS: Final = (
    Mutant(
        "ask-for-what-just-failed",
        "Of several offerings, one that has just been refused is asked for again at once.",
        ("I5",),
        "core/several.py",
        """    if now >= each.failures.next_attempt_at:
        return ""
""",
        """    if now >= 0:
        return ""
""",
    ),
    Mutant(
        "spend-what-is-in-flight-twice",
        "What was asked for and is not listed yet costs nothing under the maximum in dollars.",
        ("I1",),
        "core/spending.py",
        "        counts[launch.offering] += launch.count\n",
        "        counts[launch.offering] += 0\n",
    ),
    Mutant(
        "headroom-is-never-launched",
        "Free slots are kept while they are there, and nobody sees to it that there are any.",
        ("I5",),
        "core/launches.py",
        "    lacking = max(0.0, -spare_slots(view, found, asked, policy, leaving))\n",
        "    lacking = 0.0\n",
    ),
    Mutant(
        "headroom-goes-when-it-is-idle",
        "What is kept free is given up after the idle period, and launched anew.",
        ("I5",),
        "core/terminations.py",
        "        unneeded = beyond_headroom(view, unneeded, spare_slots, given_up_on)\n",
        "",
    ),
    Mutant(
        "one-failure-is-the-launch-error",
        "The launch error is told as soon as one of several offerings has one.",
        ("I6",),
        "core/backoff.py",
        "    return errors[-1] if errors and None not in errors else None\n",
        "    return next((error for error in errors if error is not None), None)\n",
    ),
    Mutant(
        "plan-in-the-order-of-the-provider",
        "Which offering is told of depends on the order in which the provider lists them.",
        ("I9",),
        "core/several.py",
        '    return tuple(Choice(offering, barred=shut.get(offering.name, "")) for offering in by_price)\n',
        '    return tuple(Choice(each.offering, barred=shut.get(each.offering.name, "")) for each in view.on_offer)\n',
    ),
    Mutant(
        "launch-what-old-news-asked-for",
        "Cheaper launches that were searched for go out, though what they are for has changed meanwhile.",
        ("I3", "I5"),
        "provisioner/searching.py",
        "            await asyncio.wait({search, news}, timeout=LONGEST_SEARCH, return_when=asyncio.FIRST_COMPLETED)\n"
        "            ended = search.done() and not self._news.is_set()\n",
        "            await asyncio.wait({search}, timeout=LONGEST_SEARCH)\n            ended = search.done()\n",
    ),
    Mutant(
        "search-through-all-news",
        "A pool that searches for cheaper launches hears nothing until the search has ended.",
        ("I8",),
        "provisioner/searching.py",
        "asyncio.wait({search, news}, timeout=LONGEST_SEARCH, return_when=asyncio.FIRST_COMPLETED)",
        "asyncio.wait({search}, timeout=LONGEST_SEARCH)",
    ),
)
