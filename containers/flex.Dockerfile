# The launcher of the Flex Template: the image of the CPU worker with Dataflow's launcher, which calls launch.py with the
# parameters. It is based on the worker's image so that the same packages create the graph and run it.
ARG IMAGE
ARG VERSION
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:latest AS launcher

FROM ${IMAGE}:${VERSION}-cpu
ARG IMAGE
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY containers/launch.py /template/launch.py
# Workers run BEAMSIGHT_IMAGE unless the parameter container_image names another image.
ENV BEAMSIGHT_IMAGE=${IMAGE} \
    FLEX_TEMPLATE_PYTHON_PY_FILE=/template/launch.py
ENTRYPOINT ["/opt/google/dataflow/python_template_launcher"]
