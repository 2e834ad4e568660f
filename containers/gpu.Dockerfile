# A worker that runs models with TensorFlow on a GPU: about 7 GB, 3.8 GB to pull. The requirements were measured like
# those for CPUs; most of their size is CUDA.
# TensorFlow's wheels bring CUDA 12 and cuDNN in the versions that TensorFlow was built for, so the base image needs no
# CUDA. Dataflow installs the driver on the machine (install-nvidia-driver; CUDA 12 needs 525 or newer) and mounts it at
# /usr/local/nvidia.
FROM apache/beam_python3.11_sdk:2.77.0 AS beam

FROM python:3.11-slim
COPY --from=beam /opt/apache/beam /opt/apache/beam
RUN --mount=source=containers/gpu-requirements.txt,target=/requirements.txt \
    pip install --no-cache-dir --no-deps --requirement /requirements.txt
RUN --mount=target=/beamsight,rw pip install --no-cache-dir --no-deps /beamsight
RUN python -c "import tensorflow, pillow_heif, pipelines.catalog"
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64 \
    RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
ENTRYPOINT ["/opt/apache/beam/boot"]
