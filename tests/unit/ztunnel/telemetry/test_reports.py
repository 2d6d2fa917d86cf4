"""Numbers, bounds, and totals that never fall."""

from hypothesis import given
from hypothesis import strategies as st

from ztunnel.engine.interface import Counters
from ztunnel.telemetry.labels import METRIC_LABELS, Labels, Party, metric_values
from ztunnel.telemetry.reports import EPOCH_S, GRACE_S, OVERFLOW, Reports


def labels(name: str, hbone: str = "") -> Labels:
    """`hbone` tells reports apart, but not series."""
    return Labels("source", Party(pod="client", workload="client"), Party(workload=name), hbone_address=hbone)


def test_the_same_labels_have_the_same_number() -> None:
    reports = Reports()
    assert reports.number(labels("a")) == reports.number(labels("a")) != reports.number(labels("b"))
    assert reports.get(reports.number(labels("a"))).labels == labels("a")


def test_a_full_table_counts_newcomers_together() -> None:
    reports = Reports(max_reports=1)
    first = reports.number(labels("a"))
    assert reports.full
    assert reports.number(labels("b")) == OVERFLOW
    assert reports.number(labels("a")) == first
    assert reports.get(12345) is reports.get(OVERFLOW)


def test_a_report_that_is_named_again_after_an_invalidation_stays() -> None:
    reports = Reports()
    a, b = reports.number(labels("a")), reports.number(labels("b"))
    reports.invalidated(10.0)
    assert reports.number(labels("b")) == b
    assert reports.collect((), 10.0 + GRACE_S) == {a}
    assert reports.number(labels("a")) != a, "a number is never used twice"


def test_bursts_of_invalidations_do_not_keep_reports_for_ever() -> None:
    reports = Reports()
    a = reports.number(labels("a"))
    now_s = 0.0
    for _ in range(1000):
        now_s += EPOCH_S / 2
        reports.invalidated(now_s)
    assert reports.collect((), now_s) == {a}
    assert len(reports._epochs) <= GRACE_S / EPOCH_S + 2


def test_series_have_a_value_for_each_label() -> None:
    values = metric_values(labels("a"))
    assert len(values) == len(METRIC_LABELS)
    assert dict(zip(METRIC_LABELS, values, strict=True))["source_principal"] == "unknown"


def test_forgotten_series_are_bounded() -> None:
    reports = Reports(max_retired=2)
    for name in "abc":
        reports.number(labels(name))
    reports.invalidated(1.0)
    reports.collect((), 1.0 + GRACE_S)
    held = {series[METRIC_LABELS.index("destination_workload")] for series in reports.totals(())}
    assert held == {"b", "c", "unknown"}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("traffic"), st.sampled_from("ab"), st.sampled_from("xy")),
        st.tuples(st.just("invalidate"), st.just(""), st.just("")),
        st.tuples(st.just("collect"), st.just(""), st.just("")),
    ),
    max_size=40,
)


@given(steps)
def test_totals_never_fall_and_nothing_is_lost(script: list[tuple[str, str, str]]) -> None:
    reports = Reports()
    engine: dict[int, Counters] = {}
    now_s, carried = 0.0, 0
    before: dict[tuple[str, ...], int] = {}
    for step, name, hbone in script:
        now_s += GRACE_S
        if step == "traffic":
            number = reports.number(labels(name, hbone))
            old = engine.get(number, Counters(number, 0, 0, 0, 0, 0))
            engine[number] = Counters(number, old.opened + 1, old.closed + 1, 0, old.sent_bytes + 5, old.received_bytes + 7)
            reports.get(number).totals.opened["-"] = old.opened + 1
            carried += 1
        elif step == "invalidate":
            reports.invalidated(now_s)
        else:
            for number in reports.collect(engine.values(), now_s):
                engine.pop(number, None)
        totals = reports.totals(engine.values())
        sent = {series: total.sent_bytes for series, total in totals.items()}
        assert all(sent[series] >= count for series, count in before.items())
        assert sum(sent.values()) == carried * 7
        assert sum(total.received_bytes for total in totals.values()) == carried * 5
        assert sum(total.opened.get("-", 0) for total in totals.values()) == carried
        before = sent
