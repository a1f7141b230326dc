from om_server.analytics.series import Series


def test_a_series_id_never_changes() -> None:
    """Rollups of years ago are found under it."""
    series = Series(
        team_id="team",
        key_id="key",
        customer_id="customer",
        user_id="ü",
        feature_id="feature",
        prompt_key="prompt",
        prompt_version=3,
        event_type="TOKEN_USAGE",
        provider="openai",
        model="gpt-4o",
        sandbox=True,
    )

    assert series.series_id == "7bf757977200426dccf5ff2445c4a2f1"
    assert Series().series_id == "e9ab7002da4d63d7aaad1c12d7088119"


def test_ids_with_separators_do_not_make_one_series() -> None:
    assert Series(team_id='a","b').series_id != Series(team_id="a", key_id="b").series_id
    assert Series(prompt_version=None).series_id != Series(prompt_version=0).series_id
