"""Whether a browser sends a request from a page of this installation: the proof against forged requests.

A token in a header would show the same and has to be fetched, kept and compared. A browser itself says where
a request comes from, in headers that no page can set.
"""

from starlette.datastructures import Headers

#: These change nothing, and what they answer a page of another origin cannot read.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def sent_from_own_page(headers: Headers, public_url: str) -> bool:
    """Tell whether the request comes from this host, to the port, or from the public origin.

    `Sec-Fetch-Site` decides where it is there. Browsers leave it out on plain HTTP, and `Origin` does then.
    A request with neither proves nothing. A sibling such as another.example.com is another site here.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin", "").lower()
    if origin == public_url.lower():
        return True
    host = headers.get("host", "").lower()
    return bool(host) and origin in {f"http://{host}", f"https://{host}"}
