"""What pending tasks call for, by example: each weakness of the reference's rule, each limit, each reason."""

import pytest

from slotsmith.core.demand import NO_DEMAND, Demand, FreeCapacity, Placed, demand, unmet_beyond
from slotsmith.model.decision import Unmet
from slotsmith.model.offering import Offering
from slotsmith.model.resources import Resources
from slotsmith.model.task import Constraints, Group, Task, TaskClass, classes_of

BOX = Offering("box", Resources(4, 8.0, 32.0), zone="z1")
EMPTY = Offering("box", Resources(0, 8.0, 32.0))


def want(
    *tasks: TaskClass,
    groups: tuple[Group, ...] = (),
    existing: tuple[FreeCapacity, ...] = (),
    offering: Offering = BOX,
    maximum: int = 10,
    zero: int = 100,
) -> Demand:
    return demand(tasks, groups, existing, offering, max_instances=maximum, max_zero_slot_tasks=zero)


def slots(number: int, count: int = 1, **more: object) -> TaskClass:
    return TaskClass(Resources(number), count, **more)  # type: ignore[arg-type]


def free(number: int, count: int = 1, *, whole: bool = False, zero: int = 100, **more: object) -> FreeCapacity:
    return FreeCapacity(Resources(number, 8.0, 32.0), count, zero, whole, **more)  # type: ignore[arg-type]


def reasons(result: Demand) -> list[tuple[int, str]]:
    return [(unmet.count, unmet.reason) for unmet in result.unschedulable]


class TestPacking:
    def test_nothing_pending_calls_for_nothing(self) -> None:
        assert want() is NO_DEMAND
        assert NO_DEMAND.new_instances == 0
        assert NO_DEMAND.within(0) is NO_DEMAND
        assert unmet_beyond(NO_DEMAND, 0, "full") == ()

    @pytest.mark.parametrize(
        ("sizes", "expected"),
        [
            ([3, 3, 2], 3),  # W33: the reference divides the sum, 8 slots, by 4 and launches 2
            ([4], 1),
            ([1, 1, 1, 1], 1),
            ([1, 1, 1, 1, 1], 2),
            ([2, 2, 3, 1], 2),
            ([3, 3, 3, 1, 1, 1], 3),
            ([2, 1, 2, 1, 2], 2),
        ],
    )
    def test_tasks_are_packed_on_slots(self, sizes: list[int], expected: int) -> None:
        assert want(*(slots(size) for size in sizes)).new_instances == expected

    def test_every_resource_counts(self) -> None:
        assert want(TaskClass(Resources(1, 4.0), 4)).new_instances == 2
        assert want(TaskClass(Resources(1, 1.0, 20.0), 4)).new_instances == 4
        tpu = Offering("tpu", Resources(8, extras=(("tpu", 2.0),)))
        assert want(TaskClass(Resources(1, extras=(("tpu", 1.0),)), 5), offering=tpu).new_instances == 3

    def test_thirds_and_tenths_fill_an_agent(self) -> None:
        one = Offering("one", Resources(0, 1.0))
        assert want(TaskClass(Resources(0, 1 / 3), 3), offering=one).new_instances == 1
        assert want(TaskClass(Resources(0, 0.1), 10), offering=one).new_instances == 1
        assert want(TaskClass(Resources(0, 0.1), 11), offering=one).new_instances == 2

    def test_amounts_in_bytes_are_exact(self) -> None:
        node = Offering("node", Resources(8, extras=(("memory", 63_999_999_999.0),)))
        assert (
            want(TaskClass(Resources(1, extras=(("memory", 21_333_333_333.0),)), 3), offering=node).new_instances == 1
        )
        assert (
            want(TaskClass(Resources(1, extras=(("memory", 21_333_333_334.0),)), 3), offering=node).new_instances == 2
        )

    def test_many_more_tasks_cost_no_more(self) -> None:
        assert want(slots(1, 10**9)).new_instances == 250_000_000

    def test_tasks_without_slots_share_agents_with_the_others(self) -> None:
        assert want(slots(4, 2), slots(0, 20), zero=10).new_instances == 2
        assert want(slots(4, 2), slots(0, 21), zero=10).new_instances == 3

    def test_tasks_without_slots_drive_a_pool_without_slots(self) -> None:
        result = want(TaskClass(Resources(0, 2.0), 9), slots(1), offering=EMPTY)
        assert result.new_instances == 3
        assert reasons(result) == [(1, "asks for 1 slot; an instance of this pool has none")]

    def test_tasks_that_ask_nothing_are_limited_by_number(self) -> None:
        assert want(slots(0, 101)).new_instances == 2

    def test_no_tasks_without_slots_on_any_agent(self) -> None:
        result = want(slots(0, 7), slots(1), zero=0)
        assert result.new_instances == 1
        assert reasons(result) == [(7, "uses no slot, and agents of this pool take no tasks without slots")]


class TestExistingCapacity:
    def test_free_slots_are_used_first(self) -> None:
        result = want(slots(2, 5), existing=(free(2, 3),))  # W33
        assert (result.new_instances, result.used_existing) == (1, 3)
        assert result.placed == (Placed(slots(2, 5), on_existing=3, new_instances=1),)

    def test_what_is_on_its_way_counts_in_full(self) -> None:
        assert want(slots(1, 8), existing=(free(4, 2, whole=True),)).new_instances == 0

    def test_used_agents_are_named_in_the_order_given(self) -> None:
        spare = FreeCapacity(Resources(4, 8.0, 32.0), 3, 100, True, ("a", "b", "c"))
        result = want(slots(3, 2), existing=(spare,))
        assert result.used == {"a", "b"}
        assert result.used_existing == 2

    def test_agents_at_work_go_before_whole_ones_and_full_ones_before_others(self) -> None:
        existing = (
            free(4, whole=True, ids=("whole",)),
            free(3, ids=("three",)),
            free(1, ids=("one",)),
            free(2, ids=("two",)),
        )
        assert want(slots(1, 1), existing=existing).used == {"one"}
        assert want(slots(1, 3), existing=existing).used == {"one", "two"}
        assert want(slots(1, 7), existing=existing).used == {"one", "two", "three", "whole"}

    def test_an_agent_at_work_goes_before_a_smaller_whole_one(self) -> None:
        existing = (free(2, whole=True, ids=("whole",)), free(3, ids=("busy",)))
        assert want(slots(1), existing=existing).used == {"busy"}

    def test_a_lower_rank_goes_first(self) -> None:
        existing = (free(1, ids=("late",), rank=1), free(4, whole=True, ids=("first",)))
        assert want(slots(1), existing=existing).used == {"first"}

    def test_equal_agents_with_and_without_names(self) -> None:
        existing = (free(4, 2, whole=True), free(4, 2, whole=True, ids=("a", "b")), free(4, whole=True))
        result = want(slots(4, 4), existing=existing)
        assert (result.used, result.used_existing, result.new_instances) == ({"a"}, 4, 0)

    def test_room_for_tasks_without_slots(self) -> None:
        result = want(slots(0, 12), existing=(free(4, zero=5), free(4, zero=6)), zero=10)
        assert (result.new_instances, result.used_existing) == (1, 2)

    def test_a_larger_agent_takes_what_an_instance_cannot(self) -> None:
        result = want(slots(6, 2), existing=(free(8),))
        assert (result.new_instances, result.used_existing) == (0, 1)
        assert reasons(result) == [(1, "asks for 6 slots; an instance of this pool has 4")]

    @pytest.mark.parametrize("wrong", [{"count": -1}, {"zero_slot_tasks": -1}, {"ids": ("a",), "count": 2}])
    def test_nonsense_is_refused(self, wrong: dict[str, object]) -> None:
        good: dict[str, object] = {"free": Resources(1), "count": 1, "zero_slot_tasks": 0, "whole": False}
        with pytest.raises(ValueError, match="free capacity has count"):
            FreeCapacity(**(good | wrong))  # type: ignore[arg-type]


class TestGroups:
    def test_used_slots_count_toward_the_maximum(self) -> None:
        result = want(slots(1, 20, group="g"), groups=(Group("g", 16, 12),))  # W32
        assert result.new_instances == 1
        assert reasons(result) == [(16, "group g is at its maximum of 16 slots (12 used, 4 for tasks before these)")]

    @pytest.mark.parametrize("used", [16, 20])
    def test_a_full_group_calls_for_nothing(self, used: int) -> None:
        result = want(slots(1, 5, group="g"), groups=(Group("g", 16, used),))
        assert result.new_instances == 0
        assert reasons(result) == [(5, f"group g is at its maximum of 16 slots ({used} used)")]

    def test_only_whole_tasks_and_whole_gangs(self) -> None:
        result = want(slots(3, 2, group="g"), groups=(Group("g", 10, 6),))
        assert result.new_instances == 1
        assert reasons(result) == [
            (1, "asks for 3 slots; group g has 1 left of its maximum of 10 (6 used, 3 for tasks before these)")
        ]
        result = want(slots(1, 3, gang=4, group="g"), groups=(Group("g", 11, 0),))
        assert result.new_instances == 2
        assert reasons(result) == [
            (
                1,
                "asks for 4 slots together; group g has 3 left of its maximum of 11 (0 used, 8 for tasks before these)",
            )
        ]

    def test_a_task_above_its_groups_maximum(self) -> None:
        result = want(slots(3, group="g"), slots(1, group="g"), groups=(Group("g", 2),))
        assert result.new_instances == 1
        assert reasons(result) == [(1, "asks for 3 slots; group g may use 2 at most")]

    def test_a_group_at_zero(self) -> None:
        result = want(slots(1, group="g"), groups=(Group("g", 0),))
        assert reasons(result) == [(1, "asks for 1 slot; group g may use 0 at most")]

    def test_an_unknown_group_and_one_without_maximum_limit_nothing(self) -> None:
        groups = (Group("h", None, 5),)
        assert want(slots(4, 3, group="gone"), slots(4, 2, group="h"), groups=groups).new_instances == 5  # W35

    def test_tasks_without_slots_are_not_limited(self) -> None:
        result = want(TaskClass(Resources(0, 8.0), 3, group="g"), groups=(Group("g", 0),))
        assert (result.new_instances, reasons(result)) == (3, [])

    def test_what_never_fits_takes_no_room_from_its_group(self) -> None:
        result = want(slots(6, group="g"), slots(2, 4, group="g"), groups=(Group("g", 8),))
        assert result.new_instances == 2
        assert reasons(result) == [(1, "asks for 6 slots; an instance of this pool has 4")]


class TestGangs:
    def test_members_start_together_on_existing_and_new_agents(self) -> None:
        result = want(slots(2, gang=5), existing=(free(2, 3),))
        assert result.new_instances == 1
        assert result.placed == (Placed(slots(2, gang=5), on_existing=0, new_instances=1),)

    def test_a_gang_is_begun_whole_or_not_at_all(self) -> None:
        result = want(slots(4, 2, gang=3), slots(1))
        assert result.new_instances == 7
        limited = result.within(5)
        # One gang and the single task: two instances for a part of the other gang would wait for a third.
        assert limited.new_instances == 4
        assert limited.beyond == (slots(4, gang=3),)
        assert result.within(2).new_instances == 1
        assert result.within(2).beyond == (slots(4, 2, gang=3),)

    def test_a_gang_that_never_fits_in_the_pool(self) -> None:
        assert want(slots(2, gang=6), maximum=3).new_instances == 3
        assert want(slots(2, gang=6), existing=(free(0),), maximum=3).new_instances == 3
        result = want(slots(2, gang=7), maximum=3)
        assert result.new_instances == 0
        assert reasons(result) == [
            (1, "7 members must start together; the pool's maximum of 3 instances holds 6"),
        ]

    def test_a_gang_that_fits_thanks_to_a_larger_agent(self) -> None:
        result = want(slots(2, gang=7), existing=(free(6),), maximum=3)
        assert (result.new_instances, reasons(result)) == (2, [])

    def test_members_that_are_each_too_large(self) -> None:
        result = want(slots(5, gang=2))
        assert reasons(result) == [(1, "each member asks for 5 slots; an instance of this pool has 4")]


class TestSpanning:
    def test_whole_agents_idle_ones_first(self) -> None:
        existing = (free(4, ids=("busy",)), free(4, 2, whole=True, ids=("a", "b")))
        result = want(slots(12, spans=True), existing=existing)
        assert (result.new_instances, result.used) == (1, {"a", "b"})

    def test_nothing_else_lies_on_a_spanned_agent(self) -> None:
        big = TaskClass(Resources(8, 1.0), spans=True)
        assert want(big, TaskClass(Resources(0, 1.0))).new_instances == 3

    def test_a_small_task_that_may_span_is_an_ordinary_one(self) -> None:
        assert want(slots(2, 2, spans=True)).new_instances == 1

    def test_all_at_once(self) -> None:
        result = want(slots(8, 2, spans=True))
        assert result.new_instances == 4
        assert result.within(3).new_instances == 2
        assert result.within(1).new_instances == 0

    def test_an_agent_that_was_just_given_something_is_not_whole(self) -> None:
        large = FreeCapacity(Resources(4, 100.0), 1, 100, True, ("large",))
        result = want(TaskClass(Resources(0, 30.0)), slots(8, spans=True), existing=(large,))
        assert (result.new_instances, result.used) == (2, {"large"})

    def test_agents_of_another_size_are_not_spanned(self) -> None:
        existing = (FreeCapacity(Resources(8, 8.0, 32.0), 1, 100, True),)
        assert want(slots(8, spans=True), existing=existing).new_instances == 2

    @pytest.mark.parametrize(
        ("tasks", "reason"),
        [
            (slots(8), "asks for 8 slots; an instance of this pool has 4"),
            (
                slots(6, spans=True),
                "asks for 6 slots on whole instances; an instance of this pool has 4, which does not divide that",
            ),
            (
                slots(44, spans=True),
                "asks for 44 slots on 11 whole instances at once; the pool's maximum of 10 instances is less",
            ),
            (
                slots(8, gang=6, spans=True),
                "6 members on 2 whole instances each must start together; the pool's maximum of 10 instances is less",
            ),
            (
                TaskClass(Resources(8, 17.0), spans=True),
                "asks for 8 slots and 17 cpus; the 2 instances of this pool that have its slots have 16 cpus",
            ),
        ],
    )
    def test_reasons(self, tasks: TaskClass, reason: str) -> None:
        result = want(tasks)
        assert (result.new_instances, reasons(result)) == (0, [(1, reason)])


class TestReasons:
    @pytest.mark.parametrize(
        ("tasks", "reason"),
        [
            (slots(5), "asks for 5 slots; an instance of this pool has 4"),  # W34
            (TaskClass(Resources(1, 9.5)), "asks for 9.5 cpus; an instance of this pool has 8"),
            (TaskClass(Resources(0, 0, 64.0)), "asks for 64 GiB of memory; an instance of this pool has 32"),
            (TaskClass(Resources(1, extras=(("tpu", 2.0),))), "asks for 2 tpu; an instance of this pool has none"),
            (
                TaskClass(Resources(5, 9.0, 64.0)),
                "asks for 5 slots, 9 cpus and 64 GiB of memory; "
                "an instance of this pool has 4 slots, 8 cpus and 32 GiB of memory",
            ),
            (TaskClass(Resources(1, 1e30)), "asks for 1e+30 cpus; an instance of this pool has 8"),
        ],
    )
    def test_too_large(self, tasks: TaskClass, reason: str) -> None:
        assert reasons(want(tasks)) == [(1, reason)]

    @pytest.mark.parametrize(
        ("constraints", "reason"),
        [
            (Constraints(zones=("z2", "z3")), "wants zone z2 or z3; this pool launches in z1"),
            (Constraints(instance_types=("big",)), "wants instance type big; this pool launches box"),
            (Constraints(markets=("spot",)), "wants market spot; this pool launches on-demand"),
            (Constraints(labels=(("disk", "ssd"),)), "wants disk=ssd; agents of this pool have no labels"),
            (
                Constraints(zones=("z2",), markets=("spot",)),
                "wants zone z2; this pool launches in z1; wants market spot; this pool launches on-demand",
            ),
        ],
    )
    def test_wanted_elsewhere(self, constraints: Constraints, reason: str) -> None:
        result = want(slots(1, 2, constraints=constraints))
        assert (result.new_instances, reasons(result)) == (0, [(2, reason)])

    def test_no_zones_at_all(self) -> None:
        result = want(slots(0, constraints=Constraints(zones=("z2",))), offering=EMPTY)
        assert reasons(result) == [(1, "wants zone z2; this pool has no zones")]

    def test_satisfied_constraints_change_nothing(self) -> None:
        here = Constraints(instance_types=("box",), zones=("z0", "z1"), markets=("on-demand",))
        assert want(slots(2, 2, constraints=here)).new_instances == 1

    def test_agents_of_another_offering(self) -> None:
        there = Constraints(zones=("z2",))
        here = Constraints(zones=("z1",))
        existing = (free(4, ids=("far",), offering=Offering("box", Resources(4), zone="z2")),)
        assert want(slots(1, constraints=there), existing=existing).used == {"far"}
        result = want(slots(1, constraints=here), existing=existing)
        assert (result.new_instances, result.used) == (1, frozenset())

    def test_a_reason_reads_well_with_its_tasks(self) -> None:
        assert str(want(slots(5, 3)).unschedulable[0]) == (
            "3 tasks of 5 slots: asks for 5 slots; an instance of this pool has 4"
        )


class TestLimit:
    def test_what_a_limit_leaves_out_is_told_by_class(self) -> None:
        result = want(slots(4, 3), slots(2, 5))  # W36
        assert result.new_instances == 6
        assert unmet_beyond(result, 4, "the pool is full") == (Unmet(3, "the pool is full", slots(2, 3)),)
        assert unmet_beyond(result, 0, "no launch now") == (
            Unmet(3, "no launch now", slots(4, 3)),
            Unmet(5, "no launch now", slots(2, 5)),
        )
        assert unmet_beyond(result, 6, "the pool is full") == ()

    def test_a_limit_that_does_not_bind_changes_nothing(self) -> None:
        result = want(slots(4, 3))
        assert result.within(3) is result
        assert result.within(99) is result

    def test_smaller_tasks_still_fill_what_is_launched_and_what_exists(self) -> None:
        result = want(slots(3, 2), slots(1, 3), existing=(free(1, ids=("a",)),))
        limited = result.within(1)
        assert (limited.new_instances, limited.used) == (1, {"a"})
        assert limited.beyond == (slots(3), slots(1))

    def test_unschedulable_tasks_stay_so(self) -> None:
        result = want(slots(4, 3, group="g"), slots(9), groups=(Group("g", 8),))
        assert result.within(1).unschedulable == result.unschedulable
        assert sum(unmet.count for unmet in result.unschedulable) == 2


def test_classes_of_counts_kinds_in_order_of_first_sight() -> None:
    anywhere = Constraints()  # equal to the usual one, but not the same object
    zoned = Constraints(zones=("z",))
    tasks = [
        Task("a", Resources(1, 2.0)),
        Task("b", Resources(2)),
        Task("c", Resources(1, 2.0), constraints=anywhere),
        Task("d", Resources(1, 2.0), group="g"),
        Task("e", Resources(2), constraints=zoned),
        Task("f", Resources(2), gang=2, spans=True),
        Task("g", Resources(2), constraints=Constraints(zones=("z",))),
    ]
    assert classes_of(tasks) == (
        TaskClass(Resources(1, 2.0), 2, example="a"),
        TaskClass(Resources(2), 1, example="b"),
        TaskClass(Resources(1, 2.0), 1, group="g", example="d"),
        TaskClass(Resources(2), 2, constraints=zoned, example="e"),
        TaskClass(Resources(2), 1, gang=2, spans=True, example="f"),
    )
