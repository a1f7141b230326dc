from decimal import Decimal

import pytest

from om_server.rest.response import json_response


def test_a_decimal_is_an_exact_number() -> None:
    answer = json_response(202, {"a": Decimal("9992.5"), "b": Decimal("1E+4"), "c": [Decimal("0.000000001")]})

    assert answer.status_code == 202
    assert bytes(answer.body) == b'{"a":9992.5,"b":10000,"c":[0.000000001]}'
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("value", [Decimal("NaN"), object()])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        json_response(200, {"a": value})
