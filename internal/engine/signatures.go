package engine

import (
	"regexp"
	"slices"
	"sync"

	"github.com/nebula-serve/nebula/api"
)

// signaturesOf returns the failure signatures of an engine. The patterns of llama.cpp were recorded from the real program
// (testdata/failures/llamacpp); those of vLLM and SGLang come from their sources and issue trackers.
func signaturesOf(kind string) []signature {
	switch kind {
	case api.EngineLlamaCPP:
		return llamaSignatures()
	case api.EngineVLLM:
		return vllmSignatures()
	case api.EngineSGLang:
		return sglangSignatures()
	}
	return nil
}

// sig is a cause that a retry may cure; fatal is one that it cannot.
func sig(pattern string, code api.FailureCode, say string) signature {
	return signature{rank: cause, pattern: regexp.MustCompile(`(?i)` + pattern), code: code, say: say}
}

func fatal(pattern string, code api.FailureCode, say string) signature {
	s := sig(pattern, code, say)
	s.final = true
	return s
}

// anytime marks a signature that explains the end of a serving engine too.
func anytime(s signature) signature { s.served = true; return s }

func ranked(r rank, s signature) signature { s.rank = r; return s }

const (
	lessMemory = ": lower max_model_len, use a smaller quantization, or give the model more memory"
	gpuDriver  = "the engine and the GPU driver of this node do not fit ($1): update the driver or install an engine build for it"
)

var llamaSignatures = sync.OnceValue(func() []signature {
	return []signature{
		ranked(specific, fatal(`failed to load lora adapter '(.+?)'`, api.FailLoRA,
			"the LoRA adapter $1 could not be loaded: it must be a GGUF adapter file on the node, made for this base model")),
		ranked(specific, fatal(`failed to load multimodal model, '(.+?)'`, api.FailInvalidModel,
			"the vision projector $1 could not be loaded: it must be the mmproj GGUF file of this model")),
		sig(`couldn't bind HTTP server socket, hostname: .*, port: (\d+)`, api.FailPortInUse,
			"port $1 is taken by another program; another one is tried"),
		fatal(`failed to open GGUF file '(.+)' \(No such file`, api.FailModelMissing,
			"the file $1 does not exist on this node: put it there, or correct the model's path"),
		fatal(`failed to open GGUF file '(.+)' \(Permission denied`, api.FailModelMissing,
			"Nebula's user may not read $1: give it read permission on the file and its folders"),
		fatal(`invalid magic characters: (.*), expected 'GGUF'`, api.FailNotGGUF,
			"the model's file is not GGUF (it begins with $1): llama.cpp needs a GGUF file; other formats run with vLLM or SGLang"),
		fatal(`failed to read magic`, api.FailNotGGUF, "the model's path is an empty file or a folder, not a GGUF file: name the .gguf file itself"),
		fatal(`tensor '(.+?)' data is not within the file bounds`, api.FailModelTruncated,
			"the model's file ends too early (tensor $1 is missing): download or copy it again"),
		fatal(`failed to read (?:key-value pairs|tensor info)`, api.FailModelTruncated,
			"the model's file ends within its header: download or copy it again"),
		fatal(`unknown model architecture: '(.+?)'`, api.FailUnsupportedArch,
			"this llama-server does not know the architecture $1: install a newer llama.cpp, or use vLLM or SGLang"),
		fatal(`error: invalid argument: (.+)`, api.FailBadFlag,
			"llama-server does not know the argument $1: if it is not an extra argument of the model, llama-server is too old for Nebula; install a newer one"),
		fatal(`error while handling argument "(.+?)": (.+)`, api.FailBadFlag,
			"llama-server refused the value of $1 ($2): correct the model's extra arguments"),
		fatal(`no backends are loaded`, api.FailBadInstall,
			"llama-server found none of its compute libraries (libggml-*.so): reinstall llama.cpp, or name one in GGML_BACKEND_PATH"),
		anytime(sig(`cudaMalloc failed: out of memory|ErrorOutOfDeviceMemory|CUDA error: out of memory`, api.FailOutOfMemory,
			"the GPU has too little free memory for the model"+lessMemory)),
		sig(`insufficient memory \(attempted to allocate ([\d.]+ MB)`, api.FailOutOfMemory, "the engine could not get $1 of memory"+lessMemory),
		sig(`failed to allocate (?:\w+ )?buffer of size (\d+)`, api.FailOutOfMemory, "a buffer of $1 bytes could not be allocated"+lessMemory),
		sig(`failed to allocate buffer for kv cache`, api.FailOutOfMemory, "there is too little memory for the context: lower max_model_len or the number of slots"),
		sig(`unable to allocate (\w+) buffer`, api.FailOutOfMemory, "there is too little $1 memory for the model"+lessMemory),
		anytime(sig(`std::bad_alloc`, api.FailOutOfMemory, "the engine could not allocate memory"+lessMemory)),
		fatal(`error while loading shared libraries: (.+?):`, api.FailBadInstall, "llama-server misses the library $1: reinstall llama.cpp"),
		anytime(sig(`(GGML_ASSERT\(.+)`, api.FailEngineCrash, "llama-server found an error in itself and ended: $1")),
		ranked(wrapper, sig(`error loading model: (.+)`, api.FailInvalidModel, "llama-server cannot load the model: $1")),
	}
})

// pythonSignatures are shared by the engines written in Python: CUDA, NCCL, the hub and Python itself.
func pythonSignatures() []signature {
	return []signature{
		sig(`\[Errno 98\]|address already in use`, api.FailPortInUse, "the reserved port was taken by another program; another one is tried"),
		fatal(`No module named '?(sglang|vllm)\b`, api.FailEngineMissing, "the Python that Nebula found does not have $1 installed: install it there, or put its command on the PATH"),
		anytime(sig(`CUDA out of memory\. Tried to allocate ([\d.]+ \w+)`, api.FailOutOfMemory,
			"the GPU had no $1 left: lower max_model_len or gpu_memory_utilization, or use more GPUs or a smaller quantization")),
		anytime(sig(`(?:HIP|torch\.OutOfMemoryError|OutOfMemoryError).*out of memory`, api.FailOutOfMemory,
			"the GPU ran out of memory: lower max_model_len or gpu_memory_utilization, or use more GPUs")),
		fatal(`Bfloat16 is only supported on GPUs with compute capability`, api.FailBadFlag, "this GPU cannot compute in bfloat16: add the extra arguments --dtype half"),
		fatal(`(no kernel image is available|driver .{0,40}is too old|CUDA driver version is insufficient)`, api.FailNoGPU, gpuDriver),
		fatal(`(Failed to infer device type|No CUDA GPUs are available|no NVIDIA driver)`, api.FailNoGPU,
			"the engine sees no GPU ($1): give the model one, or use an engine build for CPUs"),
		fatal(`GatedRepoError|401 Client Error|RepositoryNotFoundError`, api.FailHubAuth, "the hub refused the model: its licence must be accepted and Nebula given a token"),
		sig(`couldn't connect to '?https://huggingface\.co|LocalEntryNotFoundError|OfflineModeIsEnabled`, api.FailHub,
			"the engine wanted to load a file from the hub that is not on this node: the model's folder is incomplete"),
		anytime(sig(`(NCCL error|ncclUnhandledCudaError|ncclSystemError)`, api.FailEngineCrash, "the GPUs could not talk to each other ($1): check the links between them, or use one GPU")),
		anytime(sig(`Bus error|No space left on device.*shm|unable to mmap .* shm`, api.FailEngineCrash, "/dev/shm is too small for the engine: enlarge it (10 GiB for several GPUs)")),
		anytime(sig(`No space left on device`, api.FailDiskFull, "the disk is full: free space and start the model again")),
		fatal(`unrecognized arguments?: (.+)`, api.FailBadFlag, "the engine does not know the arguments $1: if they are not extra arguments of the model, the engine is too old for Nebula; install a newer one"),
		fatal(`error: argument (\S+): (.+)`, api.FailBadFlag, "the engine refused the value of $1 ($2): correct the model's configuration or extra arguments"),
		fatal(`Model architectures \[(.+?)\] are not supported`, api.FailUnsupportedArch, "this engine does not know the architecture $1: install a newer one, or choose another engine"),
		fatal(`model type .(\w+). but Transformers does not recognize`, api.FailUnsupportedArch, "this engine does not know models of type $1: install a newer one, or choose another engine"),
		fatal(`(?:does not appear to have a file named|No such file or directory:) '?(\S*config\.json)`, api.FailInvalidModel, "the model's folder has no $1: name the folder of a complete safetensors model"),
	}
}

var vllmSignatures = sync.OnceValue(func() []signature {
	return append([]signature{
		sig(`Free memory on device (?:\S+ )?\(([\d.]+)/([\d.]+) GiB\) on startup is less than desired GPU memory utilization \(([\d.]+), ([\d.]+) GiB\)`, api.FailOutOfMemory,
			"the GPU has $1 GiB of $2 free, and the model wants $4 GiB ($3 of it): stop what else uses the GPU, or lower gpu_memory_utilization"),
		fatal(`max seq len \((\d+)\), \(?([\d.]+) GiB KV cache is needed.*available KV cache memory \(([\d.]+) GiB\).*estimated maximum model length is (\d+)`, api.FailOutOfMemory,
			"max_model_len $1 needs $2 GiB of KV cache and $3 GiB are there: set max_model_len to at most $4"),
		fatal(`max seq len \((\d+)\), \(?([\d.]+) GiB KV cache is needed.*available KV cache memory \(([\d.]+) GiB\)`, api.FailOutOfMemory,
			"max_model_len $1 needs $2 GiB of KV cache and $3 GiB are there: lower max_model_len"),
		fatal(`No available memory for the cache blocks`, api.FailOutOfMemory, "the model leaves no GPU memory for its KV cache: raise gpu_memory_utilization, use more GPUs or a smaller quantization"),
		fatal(`(\d+).{0,40}must be divisible by tensor parallel size \(?(\d+)`, api.FailBadFlag, "a model with $1 attention heads cannot be split over $2 GPUs: choose a tensor_parallel_size that divides it"),
		fatal(`must be divisible by tensor parallel size`, api.FailBadFlag, "the model cannot be split over that many GPUs: choose another tensor_parallel_size"),
		fatal(`max_model_len \(?(\d+)\)? is greater than the derived max_model_len \((?:max_position_embeddings|model_max_length)?=?(\d+)?`, api.FailBadFlag,
			"max_model_len $1 is more than the model was made for ($2): lower it"),
		fatal(`greater than the derived max_model_len`, api.FailBadFlag, "max_model_len is more than the model was made for: lower it"),
		ranked(wrapper, anytime(sig(`Engine core initialization failed|EngineCore failed to start|EngineDeadError`, api.FailEngineCrash,
			"the core of vLLM ended; its log says why further up"))),
	}, pythonSignatures()...)
})

var sglangSignatures = sync.OnceValue(func() []signature {
	own := []signature{
		fatal(`Not enough memory\. Please try to increase --mem-fraction-static`, api.FailOutOfMemory,
			"the model's weights leave no room for its KV cache: raise gpu_memory_utilization, use more GPUs or a smaller quantization"),
		sig(`Capture cuda graph failed`, api.FailOutOfMemory, "there was no memory left for CUDA graphs: lower gpu_memory_utilization, or add the extra argument --disable-cuda-graph"),
		sig(`memory capacity is unbalanced`, api.FailOutOfMemory, "another program uses memory on one of the GPUs: stop it, or use other GPUs"),
		fatal(`(\d+).{0,40}divisible by (?:tp_size|tensor parallel size)`, api.FailBadFlag, "the model cannot be split over that many GPUs: choose another tensor_parallel_size"),
	}
	return slices.Concat(own, pythonSignatures())
})
