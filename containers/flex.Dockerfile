# What a launch of the Flex Template starts first: the CPU worker's image, so that the graph is made with the packages
# that run it, with Dataflow's launcher in front, which calls launch.py with the parameters.
ARG IMAGE
ARG VERSION
FROM gcr.io/dataflow-templates-base/python311-template-launcher-base:latest AS launcher

FROM ${IMAGE}:${VERSION}-cpu
ARG IMAGE
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY containers/launch.py /template/launch.py
# BEAMSIGHT_IMAGE is what workers run unless the parameter container_image says otherwise.
ENV BEAMSIGHT_IMAGE=${IMAGE} \
    FLEX_TEMPLATE_PYTHON_PY_FILE=/template/launch.py
ENTRYPOINT ["/opt/google/dataflow/python_template_launcher"]
