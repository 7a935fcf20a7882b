# NvidiaPython: MWALIMU_NVIDIA_PYTHON is the folder of NVIDIA's Python packages (nvidia/cudnn,
# nvidia/cublas, ...), which come with a PyTorch wheel; empty where there is none.
if(NOT DEFINED MWALIMU_NVIDIA_PYTHON)
  find_program(mwalimu_python NAMES python3 python)
  set(folder "")
  if(mwalimu_python)
    execute_process(
      COMMAND ${mwalimu_python} -c "import nvidia; print(list(nvidia.__path__)[0])"
      OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  set(MWALIMU_NVIDIA_PYTHON "${folder}" CACHE PATH "Folder of NVIDIA's Python packages")
endif()
