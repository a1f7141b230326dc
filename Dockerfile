# One image for every process of the platform: the command says which. docs/deploy.md tells how to run it.

FROM python:3.11-slim-bookworm AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/openmonetize
ENV PATH=/opt/openmonetize/bin:$PATH
WORKDIR /source
# Before the sources, so that a change of ours does not install the libraries again.
COPY requirements/runtime.txt requirements/runtime.txt
RUN pip install --require-hashes --requirement requirements/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY server server
COPY proxy proxy
COPY generated/python generated/python
COPY generated/openapi generated/openapi
RUN pip install --no-deps .

FROM python:3.11-slim-bookworm

COPY --from=build /opt/openmonetize /opt/openmonetize
# Journals are the only data of a container; a new volume takes the owner of this folder.
RUN useradd --system --uid 10001 --no-create-home openmonetize \
  && install --directory --owner=openmonetize --mode=0700 /data
ENV PATH=/opt/openmonetize/bin:$PATH \
  PYTHONDONTWRITEBYTECODE=1 \
  PYTHONUNBUFFERED=1 \
  OM_HOST=0.0.0.0 \
  OM_DATA_DIR=/data
USER openmonetize
WORKDIR /data
EXPOSE 50051 3000 8081 3001 8082
ENTRYPOINT ["openmonetize"]
CMD ["--help"]
