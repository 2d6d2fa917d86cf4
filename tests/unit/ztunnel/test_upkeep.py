"""Notices find their way, and what nothing uses any longer is forgotten everywhere."""

import asyncio

from tests.unit.ztunnel.fakes import FakeEngine
from ztunnel.engine.interface import Counters, Direction, Flow, Miss, Opened
from ztunnel.notices import NoticePump
from ztunnel.telemetry.access import AccessLog
from ztunnel.telemetry.labels import Labels, Party
from ztunnel.telemetry.lines import FORMATS
from ztunnel.telemetry.reports import GRACE_S, Reports
from ztunnel.upkeep import Upkeep

FLOW = Flow(1, Direction.OUTBOUND, "", "192.0.2.1:80", "")


def access_log(reports: Reports, lines: list[bytes]) -> AccessLog:
    return AccessLog(reports, FORMATS["plain"], lines.append, str, lambda: 0.0, lambda: True)


async def test_one_turn_of_the_loop_empties_the_queue_once() -> None:
    misses: list[Flow] = []
    lines: list[bytes] = []
    pump = NoticePump()
    engine = FakeEngine(wake=pump.wake)
    pump.attach(engine, misses.append, access_log(Reports(), lines))
    engine.tell(Miss(FLOW), Opened(1, 0, "10.0.0.1:1", "192.0.2.1:80", ""))
    engine.tell(Opened(2, 0, "10.0.0.1:2", "192.0.2.1:80", ""))
    assert (misses, lines) == ([], []), "the engine is in the middle of something"
    await asyncio.sleep(0)
    assert misses == [FLOW]
    assert len(lines) == 1
    assert lines[0].count(b"\n") == 2
    engine.tell(Miss(FLOW))
    await asyncio.sleep(0)
    assert misses == [FLOW, FLOW]


def test_reports_that_nothing_uses_are_forgotten_by_both() -> None:
    now_s = [0.0]
    engine, reports = FakeEngine(), Reports()
    upkeep = Upkeep(engine, reports, lambda: None, lambda: now_s[0])
    idle, busy = (reports.number(Labels("source", Party(pod=name), Party())) for name in ("idle", "busy"))
    engine.totals = {idle: Counters(idle, 3, 3, 0, 10, 20), busy: Counters(busy, 3, 2, 0, 10, 20)}
    upkeep.collect()
    assert engine.forgotten == set(), "decisions name them"
    upkeep.invalidate()
    assert engine.invalidations == 1
    upkeep.collect()
    assert engine.forgotten == set(), "a connection may be on its way"
    now_s[0] = GRACE_S
    upkeep.collect()
    assert engine.forgotten == {idle}
    assert len(reports) == 1


def test_a_full_table_makes_room() -> None:
    now_s = [0.0]
    engine, reports = FakeEngine(), Reports(max_reports=2)
    upkeep = Upkeep(engine, reports, lambda: None, lambda: now_s[0])
    for name in "ab":
        reports.number(Labels("source", Party(pod=name), Party()))
    upkeep.collect()
    assert engine.invalidations == 1
    now_s[0] = GRACE_S
    upkeep.collect()
    assert len(reports) == 0
