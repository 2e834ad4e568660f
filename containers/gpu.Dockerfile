# A worker that runs models with TensorFlow on a GPU: about 7 GB, 3.8 GB to pull; its requirements were measured as those
# for CPUs, and most of them is CUDA.
# CUDA 12 and cuDNN are those of TensorFlow's wheels, in the versions it was built for, so no CUDA image is needed below
# it. The driver is the machine's: Dataflow installs one (install-nvidia-driver; 525 or newer runs CUDA 12) and shows it
# in /usr/local/nvidia.
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
