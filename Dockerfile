# Two images from one file:
#   docker build --target operator -t comptroller-operator .
#   docker build --target trainer  -t comptroller-trainer  .
#
# The installed packages follow uv.lock, with hashes. Dependencies are a separate
# layer that changes only with the list of packages (not with every edit of a
# pyproject.toml), so that the trainer's several GB are copied once.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS base
ENV PATH=/opt/comptroller/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp

FROM ${BASE_IMAGE} AS uv
ARG UV_VERSION=0.13.9
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
ENV PATH=/opt/uv/bin:$PATH UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy

# The lists of installed packages. Their times are fixed, so that equal lists are equal files.
FROM uv AS requirements
WORKDIR /src
COPY uv.lock pyproject.toml ./
COPY crds/pyproject.toml crds/
COPY operator/pyproject.toml operator/
COPY trainer/pyproject.toml trainer/
RUN uv export --frozen --no-dev --no-emit-workspace --no-header --package comptroller -o /operator.txt -q \
    && uv export --frozen --no-dev --no-emit-workspace --no-header --package comptroller-trainer -o /trainer.txt -q \
    && touch -d @0 /operator.txt /trainer.txt

# The project's own code, built and installed without dependencies for each image.
FROM uv AS wheels
WORKDIR /src
COPY uv.lock pyproject.toml ./
COPY crds crds
COPY operator operator
COPY trainer trainer
RUN --mount=type=cache,target=/root/.cache/uv uv build --all-packages --wheel --out-dir /wheels -q

FROM wheels AS operator-project
RUN uv venv -q /opt/comptroller \
    && VIRTUAL_ENV=/opt/comptroller uv pip install -q --no-index --no-deps --compile-bytecode \
       /wheels/comptroller_api-*.whl /wheels/comptroller-[0-9]*.whl

FROM wheels AS trainer-project
RUN uv venv -q /opt/comptroller \
    && VIRTUAL_ENV=/opt/comptroller uv pip install -q --no-index --no-deps --compile-bytecode \
       /wheels/comptroller_api-*.whl /wheels/comptroller_trainer-*.whl

FROM base AS operator-dependencies
COPY --from=requirements /operator.txt /opt/requirements.txt
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=cache,target=/root/.cache/uv \
    export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never \
    && /opt/uv/bin/uv venv -q /opt/comptroller \
    && VIRTUAL_ENV=/opt/comptroller /opt/uv/bin/uv pip sync -q --require-hashes --compile-bytecode /opt/requirements.txt

FROM operator-dependencies AS operator
COPY --from=operator-project /opt/comptroller /opt/comptroller
# The user has no entry in /etc/passwd. Libraries that need the user's name look here first.
ENV LOGNAME=comptroller
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["comptroller", "operator"]

FROM base AS trainer-dependencies
COPY --from=requirements /trainer.txt /opt/requirements.txt
RUN --mount=type=bind,from=uv,source=/opt/uv,target=/opt/uv \
    --mount=type=cache,target=/root/.cache/uv \
    export UV_CACHE_DIR=/root/.cache/uv UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never \
    && /opt/uv/bin/uv venv -q /opt/comptroller \
    && VIRTUAL_ENV=/opt/comptroller /opt/uv/bin/uv pip sync -q --require-hashes --compile-bytecode /opt/requirements.txt

FROM trainer-dependencies AS trainer
COPY --from=trainer-project /opt/comptroller /opt/comptroller
# The user has no entry in /etc/passwd. Libraries that need the user's name look here first.
ENV LOGNAME=comptroller
USER 65532:65532
WORKDIR /tmp
ENTRYPOINT ["python", "-m", "comptroller_trainer"]
