"""The OpenAPI document and the pages at /docs. Everything they load comes from this process."""

import importlib.resources
from collections.abc import Mapping
from pathlib import Path

import orjson
import yaml
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

# An installed package carries the document beside this module; a checkout has it where it is generated.
_PACKAGED = Path(__file__).with_name("openapi.yaml")
_CHECKOUT = Path(__file__).resolve().parents[3] / "generated" / "openapi" / "openapi.yaml"

#: The browser itself refuses whatever is not ours. The page's styles and icons are inline data.
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>OpenMonetize API</title>
    <link rel="stylesheet" href="/docs/assets/swagger-ui.css">
    <link rel="icon" href="/docs/assets/favicon-32x32.png">
  </head>
  <body>
    <div id="swagger-ui"></div>
    <script src="/docs/assets/swagger-ui-bundle.js"></script>
    <script src="/docs/start.js"></script>
  </body>
</html>
"""
# Without validatorUrl the page would send the document's address to a validator on another host.
_START = """\
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "none",
  validatorUrl: null,
});
"""


def load_document() -> dict[str, object]:
    """The OpenAPI document that is served, which is also the one that is routed by."""
    path = _PACKAGED if _PACKAGED.exists() else _CHECKOUT
    with path.open(encoding="utf-8") as file:
        # The same safe loader in C: ten times faster, which is a second of every start.
        document: dict[str, object] = yaml.load(file, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return document


def doc_routes(document: Mapping[str, object]) -> list[BaseRoute]:
    """The pages: the interactive document, its text, and the assets of swagger-ui."""
    text = orjson.dumps(document)
    vendor = importlib.resources.files("swagger_ui_bundle") / "vendor"
    assets = next(folder for folder in vendor.iterdir() if folder.name.startswith("swagger-ui"))

    async def page(_request: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"content-security-policy": _POLICY})

    async def start(_request: Request) -> Response:
        return Response(_START, media_type="text/javascript")

    async def openapi(_request: Request) -> Response:
        return Response(text, media_type="application/json")

    return [
        Route("/docs", page),
        Route("/docs/", page),
        Route("/docs/start.js", start),
        Route("/docs/openapi.json", openapi),
        Mount("/docs/assets", StaticFiles(directory=str(assets))),
    ]
