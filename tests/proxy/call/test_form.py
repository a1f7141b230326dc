from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from om_proxy.call.form import File, is_form, read_form

TYPE = "multipart/form-data; boundary=b1"
NAMES = st.sampled_from(["model", "prompt", "n", "image[]"])


def part(name: str, content: bytes, *, filename: str | None = None, extra: bytes = b"") -> bytes:
    file = f'; filename="{filename}"' if filename is not None else ""
    head = f'Content-Disposition: form-data; name="{name}"{file}\r\n'.encode() + extra
    return b"--b1\r\n" + head + b"\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b1--\r\n"


@given(
    texts=st.dictionaries(NAMES, st.text(max_size=20), max_size=4),
    files=st.lists(st.binary(max_size=60).filter(lambda content: b"\r\n--b1" not in content), max_size=3),
)
def test_texts_and_files_are_found_in_any_order(texts: dict[str, str], files: list[bytes]) -> None:
    parts = [part(name, value.encode()) for name, value in texts.items()]
    body = form(*[part("file", content, filename="a.png") for content in files], *parts)

    read = read_form(body, TYPE)

    assert read is not None
    assert {name: read.only(name) for name in read.texts} == texts
    assert [body[file.start : file.end] for file in read.files] == files
    assert read.text_bytes == sum(len(value.encode()) for value in texts.values())


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=b1",
        'Multipart/Form-Data; charset=utf-8; Boundary="b1"',
        "multipart/form-data;boundary=b1 ",
    ],
)
def test_the_boundary_is_the_headers(content_type: str) -> None:
    read = read_form(form(part("model", b"m")), content_type)

    assert is_form(content_type)
    assert read is not None
    assert read.only("model") == "m"
    assert read.only("prompt") is None


def test_a_file_says_how_large_it_is() -> None:
    read = read_form(form(part("file", b"12345", filename="a")), TYPE)

    assert read is not None
    assert [file.size for file in read.files] == [5]
    assert read.files[0] == File("file", read.files[0].start, read.files[0].start + 5)


def test_names_of_lists_may_occur_again() -> None:
    read = read_form(form(part("include[]", b"a"), part("include[]", b"b")), TYPE)

    assert read is not None
    assert read.texts["include[]"] == ("a", "b")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        pytest.param(form(part("model", b"a"), part("model", b"b")), TYPE, id="two models"),
        pytest.param(b"--b2\r\n\r\nx\r\n" + form(part("model", b"a")), TYPE, id="text before the boundary"),
        pytest.param(
            part("model", b"cheap").replace(b"--b1", b"--b2") + form(part("prompt", b"x")),
            TYPE,
            id="a part of another form before it",
        ),
        pytest.param(form(part("model", b"a")), "multipart/form-data; boundary=b2", id="another boundary"),
        pytest.param(
            form(part("model", b"a")), "multipart/form-data; boundary=b1; boundary=b2", id="two boundaries"
        ),
        pytest.param(form(part("model", b"a")), "multipart/form-data", id="no boundary"),
        pytest.param(form(part("model", b"a")), "multipart/form-data; boundary=é", id="an odd boundary"),
        pytest.param(form(part("model", b"a")), "application/json", id="no form"),
        pytest.param(form(part("model", b"a"))[:-6], TYPE, id="no end"),
        pytest.param(b"", TYPE, id="nothing"),
        pytest.param(form(part("model", b"a").replace(b"\r\n", b"\n")), TYPE, id="lines without CR"),
        pytest.param(form(part("model", b"\xff")), TYPE, id="no UTF-8"),
        pytest.param(
            form(part("model", b"YQ==", extra=b"Content-Transfer-Encoding: base64\r\n")),
            TYPE,
            id="a coding of its own",
        ),
        pytest.param(
            form(part("x", b"a", extra=b'Content-Disposition: form-data; name="model"\r\n')),
            TYPE,
            id="two names",
        ),
        pytest.param(form(b'--b1\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\nx\r\n'), TYPE),
        pytest.param(form(b"--b1\r\nContent-Disposition: form-data; name*=utf-8''a\r\n\r\nx\r\n"), TYPE),
        pytest.param(form(b"--b1\r\nContent-Disposition: form-data; name=model\r\n\r\nx\r\n"), TYPE),
        pytest.param(form(b"--b1\r\n\r\nx\r\n"), TYPE, id="no name"),
        pytest.param(
            form(part("model", b"a")).replace(b"--b1\r\n", b"--b1x\r\n"), TYPE, id="a longer boundary"
        ),
        pytest.param(form(*[part("x[]", b"a")] * 300), TYPE, id="parts without end"),
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read(body: bytes, content_type: str) -> None:
    assert read_form(body, content_type) is None
