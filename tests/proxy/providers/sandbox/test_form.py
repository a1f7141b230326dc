from __future__ import annotations

import pytest

from om_proxy.providers.sandbox.exchange import Incoming, Refused
from om_proxy.providers.sandbox.form import Form, read_form

BODY = (
    b'--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b"--edge\r\ncontent-disposition: form-data; name=n\r\n\r\n3\r\n"
    b'--edge\r\nContent-Disposition: form-data; name="image[]"; filename="a b.png"\r\n'
    b"Content-Type: image/png\r\n\r\n\x00--edg\r\n\xff\r\n--edge--\r\n"
)


def form(body: bytes = BODY, content_type: str = 'multipart/form-data; boundary="edge"') -> Form:
    return read_form(Incoming("POST", "/", {}, {"content-type": content_type}, body))


def test_fields_and_files_are_read_in_any_order() -> None:
    read = form()

    assert read.fields == {"model": "whisper-1", "n": "3"}
    upload = read.upload("image", "image[]")
    assert (upload.name, upload.content) == ("a b.png", b"\x00--edg\r\n\xff")
    assert (read.required("model"), read.integer("n", 1), read.integer("other", 1)) == ("whisper-1", 3, 1)


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", ""])
def test_what_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(Refused):
        form(content_type=content_type)


def test_what_is_missing_or_no_number_is_refused_by_name() -> None:
    read = form()
    for name, ask in (
        ("file", lambda: read.upload("file")),
        ("prompt", lambda: read.required("prompt")),
        ("model", lambda: read.integer("model", 1)),
    ):
        with pytest.raises(Refused) as refusal:
            ask()
        assert refusal.value.problem.param == name
