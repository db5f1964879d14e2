# skythaw with its repository, for a machine without Python.
#
#   docker build -t skythaw .                                  on processors
#   docker build -t skythaw --build-arg TORCH=cu128 .          on GPUs of NVIDIA; run it with --gpus all
#
#   docker run --rm skythaw                                    make demo: an answer, a report and a classifier
#   docker run --rm skythaw make test                          the tests
#   docker run --rm -v "$PWD:/data" -w /data --user "$(id -u)" skythaw skythaw tune my-images
FROM python:3.12-slim

# which build of PyTorch: cpu, or a version of CUDA as https://pytorch.org names it
ARG TORCH=cpu
ENV PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/${TORCH} PIP_NO_CACHE_DIR=1

RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home sky && mkdir /skythaw && chown sky /skythaw
USER sky
WORKDIR /skythaw
COPY --chown=sky . .
RUN make .venv/demo.stamp .venv/dev.stamp
ENV PATH=/skythaw/.venv/bin:$PATH XDG_CACHE_HOME=/tmp/cache
CMD ["make", "demo"]
