"""What wrk and iperf3 print, and what is made of it."""

import json

import pytest

from bench.load import LoadFailed, requests, throughput_gbps

WRK = """Running 3s test @ http://10.244.2.2/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.91ms    1.71ms  40.77ms   93.77%
    Req/Sec    22.61k     1.72k   25.09k    80.00%
  Latency Distribution
     50%  {p50}
     75%    3.03ms
     90%    4.01ms
     99%  {p99}
  67437 requests in 3.01s, 75.51MB read
Requests/sec:  22424.86
Transfer/sec:     25.11MB
"""


@pytest.mark.parametrize(
    ("p50", "p99", "expected_ms"),
    [("2.67ms", "10.59ms", (2.67, 10.59)), ("31.00us", "1.20s", (0.031, 1200.0)), ("1.01m", "2.00m", (60_600.0, 120_000.0))],
)
def test_wrk(p50: str, p99: str, expected_ms: tuple[float, float]) -> None:
    assert requests(WRK.format(p50=p50, p99=p99)) == pytest.approx((22424.86, *expected_ms))


@pytest.mark.parametrize("trouble", ["  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 12\n"])
def test_wrong_answers_make_the_figures_worthless(trouble: str) -> None:
    with pytest.raises(LoadFailed, match=trouble.strip()):
        requests(WRK.format(p50="1ms", p99="2ms") + trouble)


def test_wrk_that_could_not_connect() -> None:
    with pytest.raises(LoadFailed, match="unable to connect"):
        requests("unable to connect to 10.0.0.1:http Connection refused\n")


def test_iperf3() -> None:
    report = {"end": {"sum_sent": {"bits_per_second": 9e9}, "sum_received": {"bits_per_second": 4.5e9}}}
    assert throughput_gbps(json.dumps(report)) == 4.5


def test_iperf3_that_failed() -> None:
    with pytest.raises(LoadFailed, match="the server is busy"):
        throughput_gbps(json.dumps({"end": {}, "error": "the server is busy running a test"}))
