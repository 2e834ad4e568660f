# A worker that runs models with OpenVINO: about 1.2 GB, 0.3 GB to pull. The requirements take 1.01 GB, measured by
# installing them, and 0.27 GB as tar.gz. The published size of python:3.11-slim is 0.13 GB, 0.05 GB to pull.
# Only the program that starts a worker comes from Beam's image, which also contains a compiler, gcloud and packages in
# other versions.
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11-slim
COPY --from=beam /opt/apache/beam /opt/apache/beam
RUN --mount=source=containers/cpu-requirements.txt,target=/requirements.txt \
    pip install --no-cache-dir --no-deps --requirement /requirements.txt
# The requirements above already contain the dependencies of pyproject.toml, without those that only staging needs.
RUN --mount=target=/beamsight,rw pip install --no-cache-dir --no-deps /beamsight
RUN python -c "import openvino, pillow_heif, pipelines.catalog"
# Without this variable, a worker creates a virtual environment at each start.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]
