# Configures, builds and runs one consumer project in a fresh folder, as a user would:
#     cmake -DPROJECT=... -DFOLDER=... -DGENERATOR=... -DCOMPILER=... [-DLAUNCHER=...]
#           [-DCUDA_COMPILER=...] (-DINSTALL_FROM=<our build tree> | -DMWALIMU_SOURCE_DIR=<our source>) -P consumer.cmake
file(REMOVE_RECURSE ${FOLDER})
set(options -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${COMPILER} -DCMAKE_BUILD_TYPE=Debug)
if(LAUNCHER)
  list(APPEND options -DCMAKE_CXX_COMPILER_LAUNCHER=${LAUNCHER})
endif()
if(CUDA_COMPILER)
  list(APPEND options -DCMAKE_CUDA_COMPILER=${CUDA_COMPILER})
endif()
if(INSTALL_FROM)
  execute_process(COMMAND ${CMAKE_COMMAND} --install ${INSTALL_FROM} --prefix ${FOLDER}/prefix
                  OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  list(APPEND options -DCMAKE_PREFIX_PATH=${FOLDER}/prefix -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF)
else()
  list(APPEND options -DMWALIMU_SOURCE_DIR=${MWALIMU_SOURCE_DIR})
endif()
execute_process(COMMAND ${CMAKE_COMMAND} -S ${PROJECT} -B ${FOLDER}/build ${options}
                COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${CMAKE_COMMAND} --build ${FOLDER}/build COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND ${FOLDER}/build/consumer COMMAND_ERROR_IS_FATAL ANY)
