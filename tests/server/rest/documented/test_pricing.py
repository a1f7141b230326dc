from decimal import Decimal

from om.rating.v1 import rating_service_pb2 as pb
from om_server.rest.documented.pricing import model_rows, pricing_body


def rate(unit: str, amount: str, **attributes: str) -> pb.PriceRate:
    return pb.PriceRate(unit=unit, amount_per_million=amount, attributes=attributes)


def test_each_published_type_has_its_own_unit() -> None:
    price = pb.Price(
        provider="stability-ai",
        model="m",
        tier="standard",
        currency_code="USD",
        rates=[
            rate("input_tokens", "2.5"),
            rate("cache_read_tokens", "1.25"),
            rate("images", "40000"),
            rate("video_seconds", "200"),
            rate("requests", "5000"),
        ],
    )

    assert pricing_body([price]) == {
        "data": [
            {
                "provider": "STABILITY_AI",
                "model": "m",
                "pricing": {
                    "input_token": {
                        "costPerUnit": Decimal("2.5"),
                        "unitSize": 1_000_000,
                        "currency": "USD",
                    },
                    "image": {"costPerUnit": Decimal("0.04"), "unitSize": 1, "currency": "USD"},
                    "video": {"costPerUnit": Decimal("0.2"), "unitSize": 1, "currency": "USD"},
                    "request": {"costPerUnit": Decimal("0.005"), "unitSize": 1, "currency": "USD"},
                },
            }
        ],
        "total": 1,
    }


def test_rates_that_depend_on_something_are_variants() -> None:
    price = pb.Price(
        provider="openai",
        model="dall-e-3",
        rates=[rate("images", "40000", quality="standard"), rate("images", "80000", quality="hd")],
    )

    (row,) = model_rows([price], capitals=True)
    pricing = row["pricing"]
    assert isinstance(pricing, dict)
    image = pricing["IMAGE"]
    assert image["costPerUnit"] == Decimal("0.04")
    assert [(one["costPerUnit"], one["attributes"]) for one in image["variants"]] == [
        (Decimal("0.04"), {"quality": "standard"}),
        (Decimal("0.08"), {"quality": "hd"}),
    ]


def test_other_tiers_and_unpublished_types_are_left_out() -> None:
    batch = pb.Price(provider="openai", model="a", tier="batch", rates=[rate("input_tokens", "1")])
    pages = pb.Price(provider="mistral", model="ocr", rates=[rate("pages", "1000")])

    assert pricing_body([batch, pages]) == {"data": [], "total": 0}
