# docker buildx bake [--set worker.args.MODEL_NAME=org/name]
# Every argument of the Dockerfile can be given as an environment variable of the same name.

variable "IMAGE" { default = "runpod-vllm-worker" }
variable "TAG" { default = "latest" }

# null leaves the Dockerfile's own default.
variable "VLLM_VERSION" { default = null }
variable "VLLM_IMAGE" { default = null }
variable "MODEL_NAME" { default = null }
variable "MODEL_REVISION" { default = null }
variable "TOKENIZER_NAME" { default = null }
variable "TOKENIZER_REVISION" { default = null }
variable "QUANTIZATION" { default = null }
variable "PROFILE" { default = null }
variable "BASE_PATH" { default = null }
variable "WORKER_CUDA_VERSION" { default = null }

group "default" { targets = ["worker"] }

target "worker" {
  context    = "."
  dockerfile = "Dockerfile"
  platforms  = ["linux/amd64"]
  tags       = ["${IMAGE}:${TAG}"]
  secret     = ["id=HF_TOKEN,env=HF_TOKEN"]
  args = {
    VLLM_VERSION        = VLLM_VERSION
    VLLM_IMAGE          = VLLM_IMAGE
    MODEL_NAME          = MODEL_NAME
    MODEL_REVISION      = MODEL_REVISION
    TOKENIZER_NAME      = TOKENIZER_NAME
    TOKENIZER_REVISION  = TOKENIZER_REVISION
    QUANTIZATION        = QUANTIZATION
    PROFILE             = PROFILE
    BASE_PATH           = BASE_PATH
    WORKER_CUDA_VERSION = WORKER_CUDA_VERSION
  }
}
