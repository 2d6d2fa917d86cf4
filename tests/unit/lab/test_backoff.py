from itertools import accumulate, repeat

from lab.backoff import CONTAINER, MESH_PROCESS, Backoff


def delays(backoff: Backoff, runs: list[float]) -> list[float]:
    return [state.delay_s for state in accumulate(runs, Backoff.after, initial=backoff)][1:]


def test_delays_double_up_to_the_longest():
    assert delays(Backoff(1, 5, 10), [0.1] * 5) == [1, 2, 4, 5, 5]


def test_a_long_run_starts_afresh():
    assert delays(Backoff(1, 5, 10), [0, 0, 10, 0]) == [1, 2, 1, 2]


def test_a_killed_mesh_process_is_back_within_a_second():
    assert MESH_PROCESS.after(0).delay_s < 0.5
    assert max(delays(CONTAINER, list(repeat(0.0, 20)))) == 30
