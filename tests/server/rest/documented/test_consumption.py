from om.type.v1.usage_pb2 import CERTAINTY_UNKNOWN, Quantity
from om_server.rest.documented.consumption import input_tokens, output_tokens


def test_cached_and_other_input_is_input() -> None:
    quantities = [
        Quantity(unit="input_tokens", amount=10),
        Quantity(unit="cache_read_tokens", amount=90),
        Quantity(unit="tool_input_tokens", amount=5),
        Quantity(unit="output_tokens", amount=7),
    ]

    assert input_tokens(quantities) == 105


def test_reasoning_is_counted_once() -> None:
    quantities = [Quantity(unit="output_tokens", amount=7), Quantity(unit="reasoning_tokens", amount=5)]

    assert output_tokens(quantities) == 7


def test_what_is_not_known_is_no_number() -> None:
    assert input_tokens([Quantity(unit="images", amount=1)]) is None
    assert input_tokens([Quantity(unit="input_tokens", certainty=CERTAINTY_UNKNOWN)]) is None
    assert input_tokens([Quantity(unit="input_tokens", amount=0)]) == 0
