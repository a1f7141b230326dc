from om_server.rating.flaw import Flaw, FlawKind


def test_a_flaw_reads_as_its_place_and_what_is_wrong_there() -> None:
    flaw = Flaw(FlawKind.NEGATIVE, "$.tables[0].rules[1].flat", "negative")

    assert str(flaw) == "$.tables[0].rules[1].flat: negative"
