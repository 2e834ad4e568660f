# A worker that runs models with OpenVINO: about 1.2 GB, 0.3 GB to pull. Its requirements are 1.01 GB, measured by
# installing them, and 0.27 GB as tar.gz; python:3.11-slim is said to be 0.13 and 0.05 GB.
# Of Beam's own image it takes what starts a worker, and leaves a compiler, gcloud and packages in versions of their own.
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11-slim
COPY --from=beam /opt/apache/beam /opt/apache/beam
RUN --mount=source=containers/cpu-requirements.txt,target=/requirements.txt \
    pip install --no-cache-dir --no-deps --requirement /requirements.txt
# Its dependencies are those above: the ones of pyproject.toml without what only staging a model needs.
RUN --mount=target=/beamsight,rw pip install --no-cache-dir --no-deps /beamsight
RUN python -c "import openvino, pillow_heif, pipelines.catalog"
# All is installed where Python looks first; without this a worker makes itself a virtual environment at each start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]
