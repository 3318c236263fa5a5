"""What a scheduler pushes: read, checked, and turned into a view."""

from __future__ import annotations

import hashlib

from slotsmith.model.scaling_info import ScalingInfo
from slotsmith.service.problems import Problem, WrongField
from slotsmith.wire import ViewIn, WrongView, parse_view

__all__ = ["Pushed", "ViewIn", "read_view", "tag_of"]


class Pushed:
    """A view that was read: its place in the row of views, its tag, and what it says."""

    def __init__(self, run: str, sequence: int | None, tag: str, info: ScalingInfo) -> None:
        self.run = run
        self.sequence = sequence
        self.tag = tag
        self.info = info

    @property
    def tasks(self) -> int:
        """How many tasks are pending in it."""
        return sum(each.count * each.gang for each in self.info.tasks)


def tag_of(body: bytes) -> str:
    """What names the view in a request's body: other bytes have another tag."""
    return hashlib.sha256(body).hexdigest()[:32]


def read_view(body: bytes) -> Pushed:
    """The view in a request's body.

    Raises:
        Problem: it is no JSON, or not as it should be, with the path of what is wrong.
    """
    try:
        view = parse_view(body)
        info = view.value()
    except WrongView as error:
        wrong = [WrongField(path=path, message=message) for path, message in error.errors]
        raise Problem(422 if error.is_json else 400, error.args[0], errors=wrong) from None
    return Pushed(view.run, view.sequence, tag_of(body), info)
