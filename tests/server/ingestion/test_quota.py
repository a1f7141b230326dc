"""Rules of monthly quotas."""

import pytest

from om_server.ingestion.quota import MonthlyQuotaExceeded, QuotaStanding, month_of, read_quotas

NOVEMBER_END = 1_764_547_199_999_999


def test_a_month_ends_with_its_last_microsecond_in_utc() -> None:
    assert [month_of(NOVEMBER_END), month_of(NOVEMBER_END + 1)] == ["2025-11", "2025-12"]
    assert month_of(NOVEMBER_END + 1 + 31 * 86_400_000_000) == "2026-01"


def test_quotas_are_read_by_plan() -> None:
    assert read_quotas("STARTER=10000, growth = 100000") == {"STARTER": 10_000, "GROWTH": 100_000}
    assert read_quotas("") == {}


@pytest.mark.parametrize("text", ["STARTER", "STARTER=", "STARTER=-1", "STARTER=1.5", "=x"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as STARTER=10000"):
        read_quotas(text)


def test_what_is_left_is_never_negative() -> None:
    assert QuotaStanding(10, 4).remaining == 6
    assert QuotaStanding(10, 14).remaining == 0


def test_the_refusal_says_what_was_used() -> None:
    error = MonthlyQuotaExceeded(99, 100, month="2026-01")

    assert error.message == "Monthly quota exceeded (100 events). Please upgrade your plan."
    assert error.metadata == {"current_usage": "99", "limit": "100", "period": "2026-01"}
