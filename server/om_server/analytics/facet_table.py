"""Tables of facets: sums by some of the dimensions, beside those by series.

Money is high * 2^32 + low: the sum of all series of a day may not fit 64 bits, as those of a series do.
"""

import peewee

from om_server.storage.database import Record


class FacetSeriesRow(Record):
    """The dimensions that a series id stands for in a facet, whose other dimensions are empty."""

    organization_id = peewee.TextField()
    facet = peewee.TextField()
    series_id = peewee.TextField()
    team_id = peewee.TextField()
    key_id = peewee.TextField()
    customer_id = peewee.TextField()
    user_id = peewee.TextField()
    feature_id = peewee.TextField()
    prompt_key = peewee.TextField()
    prompt_version = peewee.IntegerField(null=True)
    event_type = peewee.TextField()
    provider = peewee.TextField()
    model = peewee.TextField()
    sandbox = peewee.BooleanField()

    class Meta:
        table_name = "facet_series"
        primary_key = peewee.CompositeKey("organization_id", "facet", "series_id")


class FacetRollupRow(Record):
    """Counters of a facet's series in an hour."""

    organization_id = peewee.TextField()
    facet = peewee.TextField()
    hour = peewee.BigIntegerField()
    tag = peewee.TextField()
    series_id = peewee.TextField()
    event_count = peewee.BigIntegerField()
    unrated_count = peewee.BigIntegerField()
    estimated_count = peewee.BigIntegerField()
    unknown_count = peewee.BigIntegerField()
    cost_high = peewee.BigIntegerField()
    cost_low = peewee.BigIntegerField()
    charge_high = peewee.BigIntegerField()
    charge_low = peewee.BigIntegerField()

    class Meta:
        table_name = "facet_rollups"
        primary_key = peewee.CompositeKey("organization_id", "facet", "hour", "tag", "series_id")


class FacetRollupQuantityRow(Record):
    """The quantity of one unit beside a row of counters of a facet."""

    organization_id = peewee.TextField()
    facet = peewee.TextField()
    hour = peewee.BigIntegerField()
    tag = peewee.TextField()
    series_id = peewee.TextField()
    unit = peewee.TextField()
    amount = peewee.BigIntegerField()
    estimated_amount = peewee.BigIntegerField()

    class Meta:
        table_name = "facet_rollup_quantities"
        primary_key = peewee.CompositeKey("organization_id", "facet", "hour", "tag", "series_id", "unit")


class DailyFacetRollupRow(Record):
    """Counters of a facet's series in a UTC day."""

    organization_id = peewee.TextField()
    facet = peewee.TextField()
    day = peewee.BigIntegerField()
    tag = peewee.TextField()
    series_id = peewee.TextField()
    event_count = peewee.BigIntegerField()
    unrated_count = peewee.BigIntegerField()
    estimated_count = peewee.BigIntegerField()
    unknown_count = peewee.BigIntegerField()
    cost_high = peewee.BigIntegerField()
    cost_low = peewee.BigIntegerField()
    charge_high = peewee.BigIntegerField()
    charge_low = peewee.BigIntegerField()

    class Meta:
        table_name = "daily_facet_rollups"
        primary_key = peewee.CompositeKey("organization_id", "facet", "day", "tag", "series_id")


class DailyFacetRollupQuantityRow(Record):
    """The quantity of one unit beside a row of counters of a facet and a day."""

    organization_id = peewee.TextField()
    facet = peewee.TextField()
    day = peewee.BigIntegerField()
    tag = peewee.TextField()
    series_id = peewee.TextField()
    unit = peewee.TextField()
    amount = peewee.BigIntegerField()
    estimated_amount = peewee.BigIntegerField()

    class Meta:
        table_name = "daily_facet_rollup_quantities"
        primary_key = peewee.CompositeKey("organization_id", "facet", "day", "tag", "series_id", "unit")


MODELS: tuple[type[Record], ...] = (
    FacetSeriesRow,
    FacetRollupRow,
    FacetRollupQuantityRow,
    DailyFacetRollupRow,
    DailyFacetRollupQuantityRow,
)
