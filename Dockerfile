# One file, a target per image: docker build --target gateway -t REGISTRY/gateway:0.1.0 --sbom=true .
# Each target is a bare Debian 12 and one run of helm/images/install.sh, which helm/images/rootfs.sh also runs without
# Docker. Nothing of the build stays inside; the list of what does is /usr/share/glioserve/sbom.cdx.json.
FROM debian:bookworm-slim@sha256:96e378d7e6531ac9a15ad505478fcc2e69f371b10f5cdf87857c4b8188404716 AS base
LABEL org.opencontainers.image.title="GlioServe" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.description="Research use; synthetic training data; not for diagnosis."
ENV LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PATH=/opt/glioserve/bin:/usr/bin:/bin
WORKDIR /var/lib/glioserve

FROM base AS gateway
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh gateway
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.gateway"]

FROM base AS preprocessing
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh preprocessing
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.preprocessing"]

FROM base AS fusion_segmentation
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh fusion_segmentation
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.fusion_segmentation"]

FROM base AS molecular_subtyping
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh molecular_subtyping
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.molecular_subtyping"]

FROM base AS monitoring
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh monitoring
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.monitoring"]

FROM base AS reporting
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh reporting
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.reporting"]

FROM base AS navigation
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh navigation
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.navigation"]

# The model repository and the program that hands a checked copy of it to a Triton.
FROM base AS models
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh models
USER 10001:10001
ENTRYPOINT ["/opt/glioserve/bin/python", "-m", "services.core.triton.delivery"]

# Triton on CPU with OpenVINO. GPU sites run NVIDIA's own image.
FROM base AS triton
RUN --mount=type=bind,target=/src sh /src/helm/images/install.sh triton
USER 10001:10001
ENTRYPOINT ["/opt/triton/bin/glioserve-triton"]
