"""Tables of rollups: the series, and one set of counters and quantities by time, of series or of facets.

Each part of a row is written once. Peewee puts the columns of a model in the order in which they stand
in this file, whatever the order of its parts, so that the parts of a key come first.
"""

import peewee

from om_server.storage.database import Record


class _Owned(Record):
    organization_id = peewee.TextField()


class _Faceted(Record):
    facet = peewee.TextField()


class _OfHour(Record):
    hour = peewee.BigIntegerField()


class _OfDay(Record):
    """The UTC day is counted from 1970, as the hour is."""

    day = peewee.BigIntegerField()


class _Tagged(Record):
    """All events of a series (empty tag), or those with a tag."""

    tag = peewee.TextField()


class _OfSeries(Record):
    series_id = peewee.TextField()


class _Described(Record):
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


class _Counted(Record):
    event_count = peewee.BigIntegerField()
    unrated_count = peewee.BigIntegerField()
    estimated_count = peewee.BigIntegerField()
    unknown_count = peewee.BigIntegerField()


class _Priced(Record):
    cost = peewee.BigIntegerField()
    charge = peewee.BigIntegerField()


class _PricedInHalves(Record):
    """high * 2^32 + low: the sum of all series of a day may not fit 64 bits, as those of a series do."""

    cost_high = peewee.BigIntegerField()
    cost_low = peewee.BigIntegerField()
    charge_high = peewee.BigIntegerField()
    charge_low = peewee.BigIntegerField()


class _Measured(Record):
    """The quantity of one unit beside a row of counters."""

    unit = peewee.TextField()
    amount = peewee.BigIntegerField()
    estimated_amount = peewee.BigIntegerField()


class SeriesRow(_Owned, _OfSeries, _Described):
    """The dimensions that a series id stands for."""

    class Meta:
        table_name = "series"
        primary_key = peewee.CompositeKey("organization_id", "series_id")


class RollupRow(_Owned, _OfHour, _Tagged, _OfSeries, _Counted, _Priced):
    """Counters of a series in an hour."""

    class Meta:
        table_name = "rollups"
        primary_key = peewee.CompositeKey("organization_id", "hour", "tag", "series_id")


class RollupQuantityRow(_Owned, _OfHour, _Tagged, _OfSeries, _Measured):
    class Meta:
        table_name = "rollup_quantities"
        primary_key = peewee.CompositeKey("organization_id", "hour", "tag", "series_id", "unit")


class DailyRollupRow(_Owned, _OfDay, _Tagged, _OfSeries, _Counted, _Priced):
    """Counters of a series in a day, the sum of its hours."""

    class Meta:
        table_name = "daily_rollups"
        primary_key = peewee.CompositeKey("organization_id", "day", "tag", "series_id")


class DailyRollupQuantityRow(_Owned, _OfDay, _Tagged, _OfSeries, _Measured):
    class Meta:
        table_name = "daily_rollup_quantities"
        primary_key = peewee.CompositeKey("organization_id", "day", "tag", "series_id", "unit")


class FacetSeriesRow(_Owned, _Faceted, _OfSeries, _Described):
    """The dimensions that a series id stands for in a facet, whose other dimensions are empty."""

    class Meta:
        table_name = "facet_series"
        primary_key = peewee.CompositeKey("organization_id", "facet", "series_id")


class FacetRollupRow(_Owned, _Faceted, _OfHour, _Tagged, _OfSeries, _Counted, _PricedInHalves):
    """Counters of a facet's series in an hour."""

    class Meta:
        table_name = "facet_rollups"
        primary_key = peewee.CompositeKey("organization_id", "facet", "hour", "tag", "series_id")


class FacetRollupQuantityRow(_Owned, _Faceted, _OfHour, _Tagged, _OfSeries, _Measured):
    class Meta:
        table_name = "facet_rollup_quantities"
        primary_key = peewee.CompositeKey("organization_id", "facet", "hour", "tag", "series_id", "unit")


class DailyFacetRollupRow(_Owned, _Faceted, _OfDay, _Tagged, _OfSeries, _Counted, _PricedInHalves):
    """Counters of a facet's series in a day."""

    class Meta:
        table_name = "daily_facet_rollups"
        primary_key = peewee.CompositeKey("organization_id", "facet", "day", "tag", "series_id")


class DailyFacetRollupQuantityRow(_Owned, _Faceted, _OfDay, _Tagged, _OfSeries, _Measured):
    class Meta:
        table_name = "daily_facet_rollup_quantities"
        primary_key = peewee.CompositeKey("organization_id", "facet", "day", "tag", "series_id", "unit")


class DailyConsumerRollupRow(_Owned, _Faceted, _OfDay, _Tagged, _OfSeries, _Counted, _PricedInHalves):
    """Counters of who called one provider, in a day: apart, because other facets are read faster so."""

    class Meta:
        table_name = "daily_consumer_rollups"
        primary_key = peewee.CompositeKey("organization_id", "facet", "day", "tag", "series_id")


MODELS: tuple[type[Record], ...] = (
    SeriesRow,
    RollupRow,
    RollupQuantityRow,
    DailyRollupRow,
    DailyRollupQuantityRow,
    FacetSeriesRow,
    FacetRollupRow,
    FacetRollupQuantityRow,
    DailyFacetRollupRow,
    DailyFacetRollupQuantityRow,
    DailyConsumerRollupRow,
)
